"""Base class of all models: a model reads texts, scores them given z, and may write them."""

from __future__ import annotations

import abc
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Protocol, cast, runtime_checkable

import torch
from torch import nn

from lvexp.data.bag import Bag
from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.vocabulary import Vocabulary
from lvexp.distributions.rate import rate
from lvexp.draws import expect
from lvexp.errors import Diverged, RunError
from lvexp.estimators.base import AbstractEstimator
from lvexp.latents.base import AbstractLatent
from lvexp.networks.writing import Decoding
from lvexp.reading import Reading
from lvexp.report.findings import BOUND, PARTS
from lvexp.shapes import Float, Int, Tensor
from lvexp.terms import Terms

#: the parameter groups of a model with one loss: encoder and posterior; decoder, prior and parameters of regularizers
GROUPS = ("inference", "generative")


@dataclasses.dataclass(frozen=True)
class Turn:
    """The loss that an optimiser step minimises, and the parameters that it trains.

    Attributes:
        name: of the loss. groups: the parameter groups that the step trains; None for all of them.
        bound: whether the loss includes the bound, D + beta R' + penalties.
    """

    name: str = "bound"
    groups: tuple[str, ...] | None = None
    bound: bool = True


@runtime_checkable
class Constraint(Protocol):
    """What a model knows of its regularizers; the rest is for training.

    Attributes:
        group: the parameter group of its own parameters.
    """

    group: str

    def constrain(self, params: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]: ...


class LatentModel(nn.Module, abc.ABC):
    r"""A model of texts with a latent variable: :math:`p(x|z)\,p(z)` and :math:`q(z|x)`.

    A subclass defines how a batch is read (:meth:`read`), how a text is scored (:meth:`log_likelihood`) and, if the
    model can write, how a text is written (:meth:`write`). This class does the rest: posterior, prior, and the terms
    of the bound. Training is done by :class:`lvexp.training.module.Training`.

    Args:
        vocabulary: of the texts, or the shape of feature vectors in their place.
        latent: q(z|x) and p(z).
        estimator: of the gradient of E_q.
        samples: S, draws of z for each text in training.

    Attributes:
        regularizers: the chosen regularizers, in the order in which they act.
        reported: the parts of the usual report that make sense for the model, a subset of
            :data:`lvexp.report.findings.PARTS`.
        sees_labels: whether q(z|x) is given the label of a text. If so, a posterior that separates the classes proves
            nothing, and its separation is neither drawn nor measured.
        attribute_names: attribute → names of its classes, if they are known; the first is that of the labels.
        offers: names of the model's own methods that a finished run offers (:func:`lvexp.load`).
        reads: the columns that the model needs in each record.
        writes: whether it can write texts.
        unit: what one x is called in a report.
        remembers: names of the memories that its readings have, for a decoder that attends to them.
        sources: the vocabulary of sources, or the shape of their feature vectors: that of the texts, unless a model has
            another.
    """

    reported: ClassVar[frozenset[str]] = frozenset(PARTS)
    sees_labels: ClassVar[bool] = False
    offers: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[str, ...]] = ("text",)
    writes: ClassVar[bool] = True
    unit: ClassVar[str] = "text"
    remembers: ClassVar[tuple[str, ...]] = ()
    attribute_names: Mapping[str, Sequence[str]] = {}

    def __init__(
        self,
        vocabulary: Vocabulary | Bag | Features,
        latent: AbstractLatent,
        estimator: AbstractEstimator,
        samples: int = 1,
    ):
        super().__init__()
        self.vocabulary, self.latent, self.estimator, self.samples = vocabulary, latent, estimator, samples
        self.sources: Vocabulary | Bag | Features = vocabulary
        self.regularizers = nn.ModuleList()
        estimator.attach(vocabulary.size)

    @classmethod
    def code_width(cls, latent: AbstractLatent, encoder: nn.Module) -> int:
        """Width of the decoder's input: that of z's code, unless a model adds something to it."""
        return latent.width

    # --- what a model defines ------------------------------------------------------------------------------------

    @abc.abstractmethod
    def read(self, batch: Batch) -> Reading:
        """The part of a batch that posterior, prior and decoder use."""

    @abc.abstractmethod
    def log_likelihood(
        self, batch: Batch, reading: Reading, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        """log p(x|z), nats per text; ``inputs`` replaces ``batch.inputs`` if a regularizer has corrupted them."""

    def write(self, code: Float[Tensor, "N W"], how: Decoding, reading: Reading | None = None) -> list[list[int]]:
        """Texts for codes (for each, ``how.n_best``), without ``<bos>`` and ``<eos>``; ``reading`` is that of their
        sources, if they have any.

        Raises:
            RunError: the model cannot write texts.
        """
        raise RunError(f"{type(self).__name__} writes no texts")

    def code(self, reading: Reading, draw: bool = False) -> Float[Tensor, "B W"]:
        """The code for writing a text when only its source is known: at the mean (or mode) of p(z|x); with ``draw``, at
        a draw from it."""
        if self.latent.dim is None:
            return reading.features[:, :0]
        prior = self.latent.prior(reading.condition)
        if prior is None:
            raise RunError(f"{type(self.latent).__name__} has no prior, from which z could be known")
        size = torch.Size((len(reading.features),))
        known = prior if prior.batch_shape == size else prior.expand(size)
        return self.latent.code((known.sample() if draw else self.latent.point(known))[None])[0]

    @property
    def labels(self) -> Sequence[str]:
        """Names of the classes that labels are of, if they are known."""
        return next(iter(self.attribute_names.values()), ())

    @property
    def monitor(self) -> tuple[str, str]:
        """The validation figure that selects the best parameters (lower is better), and its printed name: the true
        -ELBO, or the distortion for an auto-encoder, which has no ELBO."""
        return ("distortion", "D") if self.latent.dim is not None and not self.latent.has_prior else BOUND

    def check(self, attributes: Mapping[str, Sequence[str]]) -> None:
        """Raises :class:`ConfigError` if the model cannot learn the attributes of a corpus (attribute → names of its
        classes). Called once before training."""

    def prepare(self) -> None:
        """Called once before training, but not when a finished run is loaded."""

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        """The parameters of q(z|x); all others belong to the generative model."""
        return self.latent.inference_parameters()

    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters by group. Those of the estimator's baseline and of regularizers that constrain the posterior
        belong to inference."""
        constraints = [part for part in self.regularizers if cast(Constraint, part).group == "inference"]
        serving = [self.estimator, *constraints]
        inference = [*self.inference_parameters(), *itertools.chain(*(part.parameters() for part in serving))]
        known = {id(parameter) for parameter in inference}
        generative = [parameter for parameter in self.parameters() if id(parameter) not in known]
        return dict(zip(GROUPS, (inference, generative), strict=True))

    # --- additional losses ---------------------------------------------------------------------------------------

    def observe(self, batch: Batch, params: Float[Tensor, "B P"]) -> tuple[Float[Tensor, "B P"], Tensor | float]:
        """The posterior's parameters in training when part of z is observed, and the loss that this adds."""
        return params, 0.0

    def resampled(self, batch: Batch) -> Batch | None:
        """What a training step learns from: the batch itself, unless a model draws from it. None if nothing is left to
        learn: then no step is made, and training ends once that holds for every batch of an epoch."""
        return batch

    def weighted(self, loss: Float[Tensor, " B"], batch: Batch) -> Float[Tensor, " B"]:
        """The weighted training loss of each text; nats per text unless a model overrides this."""
        return loss

    def turn(self, step: int, epoch: int) -> Turn:
        """The loss that the optimiser step after ``step`` others minimises. Called before the forward pass, which then
        computes gradients only for the groups that the step trains."""
        return Turn()

    def added(self, turn: Turn, batch: Batch, terms: Terms | None, beta: Tensor | float) -> Float[Tensor, " B"] | float:
        """A loss of the model's own, added in ``turn``; ``terms`` are those of the bound, None if the turn has none;
        ``beta`` is the weight of the rate."""
        return 0.0

    def prepares(self, epoch: int) -> bool:
        """Whether validations in an epoch are to be disregarded, since the training proper begins later."""
        return False

    def watch(self) -> Mapping[str, Tensor]:
        """Its own figures to log as ``train/…``, with the values used in the last loss."""
        return {}

    # --- the bound -----------------------------------------------------------------------------------------------

    @property
    def device(self) -> torch.device:
        """The device of the parameters."""
        return next(self.parameters()).device

    def inferred(self, reading: Reading) -> Float[Tensor, "B P"]:
        """The posterior's parameters, before any regularizer constrains them."""
        return self.latent.params(reading.features)

    def params(self, reading: Reading) -> Float[Tensor, "B P"]:
        """The posterior's parameters, after the regularizers that constrain them."""
        params = self.inferred(reading)
        for part in cast(Iterable[Constraint], self.regularizers):
            params = part.constrain(params)
        return params

    def terms(
        self,
        batch: Batch,
        samples: int = 1,
        params: Float[Tensor, "B P"] | None = None,
        inputs: Int[Tensor, "B T_1"] | None = None,
        reading: Reading | None = None,
    ) -> Terms:
        """Distortion and rate of a batch, with all intermediate results; arguments that are not given are computed.

        Raises:
            Diverged: the parameters of the posterior are not finite.
        """
        reading = self.read(batch) if reading is None else reading
        params = self.params(reading) if params is None else params
        try:
            q = self.latent.posterior(params)
            draw = self.estimator(q, samples)
        except (RuntimeError, ValueError) as error:
            if torch.isfinite(params).all():
                raise
            raise Diverged("parameters of the posterior not finite") from error
        p = self.latent.prior(reading.condition)
        code = self.latent.code(draw.value)
        cost = -self.log_likelihood(batch, reading, code, inputs)
        control = self.estimator.control(cost, batch)
        distortion = expect(cost, draw, control.baseline, control.scale) + control.fit
        total, split = (None, None) if p is None else rate(q, p, draw)
        return Terms(batch, reading, distortion, total, split, draw, code, params, q, p)
