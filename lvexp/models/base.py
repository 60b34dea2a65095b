"""The one training and evaluation path of every model."""

from __future__ import annotations

import abc
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import lightning as L
import torch
from torch import distributed, nn
from torchmetrics import Metric

from lvexp.anneal.base import AbstractAnneal
from lvexp.data.batch import Batch
from lvexp.distributions.rate import rate
from lvexp.draws import expect
from lvexp.errors import Diverged, RunError
from lvexp.estimators.base import AbstractEstimator
from lvexp.latents.base import AbstractLatent
from lvexp.networks.writing import Decoding
from lvexp.regularizers.base import GROUPS, Progress, Regularizer, Terms
from lvexp.report.findings import BOUND, PARTS, Findings
from lvexp.shapes import Float, Int, Tensor

if TYPE_CHECKING:
    from lvexp.data.bag import Bag
    from lvexp.data.vocabulary import Vocabulary
    from lvexp.instruments.evaluate import EvaluationSettings


class LatentModel(L.LightningModule, abc.ABC):
    r"""A model of texts with a latent variable.

    A subclass says how x is read (:meth:`features`, :meth:`condition`) and how it is scored
    (:meth:`log_likelihood`, :meth:`generate`); all else is here. The training loss is the mean over the batch of

    .. math:: D + \beta R' + \sum \text{penalties}

    where R' is the rate after the remedy that owns it. Validation always measures the true bound,
    -ELBO = D + R with beta = 1, no floor, no corruption, no dropout.

    Args:
        vocabulary: of the texts.
        latent: q(z|x) and p(z).
        estimator: of the gradient of E_q.
        anneal: beta(step).
        regularizers: the remedies, in the order they act.
        optimizer: makes the optimiser from parameter groups.
        samples: S, draws of z for a text in training.

    Attributes:
        reported: the parts of the usual report that make sense for the model, of
            :data:`lvexp.report.findings.PARTS`.
        sees_labels: whether q(z|x) is given the labels of a test text: that it tells them apart then shows nothing, and
            is neither drawn nor measured.
    """

    reported: ClassVar[frozenset[str]] = frozenset(PARTS)
    sees_labels: ClassVar[bool] = False

    def __init__(
        self,
        vocabulary: Vocabulary | Bag,
        latent: AbstractLatent,
        estimator: AbstractEstimator,
        anneal: AbstractAnneal,
        regularizers: Sequence[Regularizer] = (),
        optimizer: Callable[[Iterable[dict]], torch.optim.Optimizer] | None = None,
        samples: int = 1,
    ):
        super().__init__()
        self.vocabulary, self.latent, self.estimator, self.anneal = vocabulary, latent, estimator, anneal
        self.regularizers = nn.ModuleList(regularizers)
        self.optimizer, self.samples = optimizer, samples
        self.measured: dict[str, Tensor] = {}  # what the last training step measured, for the progress bar
        self.parts: list[tuple[str, Tensor | float]] = []  # what the last training loss is the sum of
        self.weight: float | None = None  # beta of the schedule at the last training step
        self.spent: tuple[Tensor | float, int] = (0.0, 0)  # loss and words since the last optimiser step
        self.validated: dict[str, float] = {}  # the last validation's metrics, which a resumed run would not know
        self.renew: Callable[[], nn.Module] | None = None  # makes the decoder anew
        estimator.attach(vocabulary.size)

    # --- what a model says ---------------------------------------------------------------------------------------

    @abc.abstractmethod
    def features(self, batch: Batch) -> Float[Tensor, "B H"]:
        """What the posterior is made from."""

    def condition(self, batch: Batch) -> Float[Tensor, "B C"] | None:
        """What the prior is conditioned on."""
        return None

    @abc.abstractmethod
    def log_likelihood(
        self, batch: Batch, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        """log p(x|z), nats per text; ``inputs`` stands for ``batch.inputs`` where a remedy corrupted them."""

    def generate(self, code: Float[Tensor, "N W"], how: Decoding) -> list[list[int]]:
        """Texts for codes, without ``<bos>`` and ``<eos>``; :class:`RunError` from a model that writes none."""
        raise RunError(f"{type(self).__name__} writes no texts")

    # --- what a finished run may be asked (lvexp.load), beside what every model answers ----------------------------

    def batch(self, texts: Sequence[str]) -> Batch:
        """Texts as the model reads them; :class:`RunError` from one that reads no single texts."""
        return self.vocabulary.batch(texts)

    def topics(self, words: int = 10) -> list[list[str]]:
        """The words that each entry of the code speaks for most; :class:`RunError` from a model without topics."""
        raise RunError("topics: this model has none\ntry  a run of model=nvdm, prodlda or neurallda")

    def rank(self, question: str, answers: Sequence[str]) -> list[tuple[str, float]]:
        """Answers with the probability that each is right, best first; :class:`RunError` from other models."""
        raise RunError("rank: this model does not judge answers\ntry  a run of model=nasm")

    # --- what the report says of it ------------------------------------------------------------------------------

    def assess(self, splits: Mapping[str, Iterable[Batch]], settings: EvaluationSettings) -> Findings:
        """What the report says of this kind of model beside the usual. Called in evaluation mode, without gradients,
        with the global generator seeded; never where the figures on the test set are not finite.

        Args:
            splits: the batches of ``test`` and, where they are at hand, of ``train`` and ``valid``, each text once.
                They may be read more than once, and lie where the data module left them.
            settings: of the evaluation.
        """
        return Findings()

    @property
    def monitor(self) -> tuple[str, str]:
        """The figure, the lower the better, that picks the best validation, and its name in print: the true -ELBO; of
        an auto-encoder, which has none, the distortion. A model may name one of its own :meth:`judge`."""
        return ("distortion", "D") if self.latent.dim is not None and not self.latent.has_prior else BOUND

    def judge(self) -> Metric | None:
        """A metric of the model's own for its validations: updated with the terms of each batch, it computes a dict of
        figures, logged as ``val/…``; its attribute ``figures`` names them."""
        return None

    def check(self, labels: Sequence[str]) -> None:
        """Refuses a corpus with classes of these names, by a :class:`ConfigError`, where the model cannot learn them.
        Called once before training."""

    def prepare(self) -> None:
        """Called once before training, and not where a finished run is loaded."""
        for remedy in self.remedies:
            remedy.prepare(self)

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        """The parameters of q(z|x); all others are the generative model's."""
        return self.latent.inference_parameters()

    def observe(self, batch: Batch, params: Float[Tensor, "B P"]) -> tuple[Float[Tensor, "B P"], Tensor | float]:
        """The posterior's parameters in training, where something of z is observed, and what that adds to the loss."""
        return params, 0.0

    def classify(self, params: Float[Tensor, "B P"]) -> Int[Tensor, " B"] | None:
        """The most probable class of each text, where the model learned classes from labels."""
        return None

    @property
    def remedies(self) -> list[Regularizer]:
        """The regularizers, in the order they act."""
        return cast(list[Regularizer], list(self.regularizers))

    @property
    def preparing(self) -> bool:
        """Whether a remedy only prepares the training yet, so that validations are not to be judged by their bound."""
        return any(remedy.preparing for remedy in self.remedies)

    # --- the bound -----------------------------------------------------------------------------------------------

    def params(self, batch: Batch) -> Float[Tensor, "B P"]:
        """The posterior's parameters, after the remedies that constrain them."""
        params = self.latent.params(self.features(batch))
        for remedy in self.remedies:
            params = remedy.constrain(params)
        return params

    def terms(
        self,
        batch: Batch,
        samples: int = 1,
        params: Float[Tensor, "B P"] | None = None,
        inputs: Int[Tensor, "B T_1"] | None = None,
    ) -> Terms:
        """Distortion and rate of a batch, and all that led to them."""
        params = self.params(batch) if params is None else params
        try:
            q = self.latent.posterior(params)
            draw = self.estimator(q, samples)
        except (RuntimeError, ValueError) as error:
            if torch.isfinite(params).all():
                raise
            raise Diverged("parameters of the posterior not finite") from error
        p = self.latent.prior(self.condition(batch))
        code = self.latent.code(draw.value)
        cost = -self.log_likelihood(batch, code, inputs)
        control = self.estimator.control(cost, batch)
        distortion = expect(cost, draw, control.baseline, control.scale) + control.fit
        total, split = (None, None) if p is None else rate(q, p, draw)
        return Terms(batch, distortion, total, split, draw, code, params, q, p)

    def loss(self, terms: Terms, beta: float) -> Float[Tensor, " B"]:
        """The training loss of each text: D + beta R' + penalties."""
        parts: list[tuple[str, Tensor | float]] = [("distortion", terms.distortion)]
        if terms.rate is not None:
            priced = terms.rate
            for remedy in self.remedies:
                priced = remedy.rate(priced, terms.rate_per_dimension)
            parts.append(("rate", beta * priced))
        parts += [(f"penalty of {type(remedy).__name__}", remedy.penalty(terms)) for remedy in self.remedies]
        self.parts = [(name, part.detach() if isinstance(part, Tensor) else part) for name, part in parts]
        loss = terms.distortion
        for _, part in parts[1:]:
            loss = loss + part
        return loss

    @property
    def beta(self) -> float:
        """The weight of the rate in the last training step, whoever set it, or the first one's before any: what the
        progress bar shows and ``train/beta`` logs."""
        if "beta" in self.measured:  # a remedy's own
            return float(self.measured["beta"])
        return self.scheduled if self.weight is None else self.weight

    @property
    def scheduled(self) -> float:
        """The weight of the rate that the schedule has for the next step."""
        return 0.0 if self.clock is None else self.anneal(self.clock)

    @property
    def clock(self) -> int | None:
        """The step at which the schedule of beta stands; None while the rate is left out of the loss."""
        step: int | None = self.global_step
        for remedy in self.remedies:
            step = None if step is None else remedy.clock(step)
        return step

    def refined(self, batch: Batch, params: Float[Tensor, "B P"]) -> Float[Tensor, "B P"] | None:
        """The posterior's parameters after the remedies that refine them by the true bound; None without any."""

        def nelbo(params: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
            terms = self.terms(batch, params=params)
            return terms.distortion if terms.rate is None else terms.distortion + terms.rate

        found = params
        for remedy in self.remedies:
            found = remedy.refine(found, nelbo)
        return None if found is params else found

    # --- training ------------------------------------------------------------------------------------------------

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.estimator.begin(self.global_step)
        for remedy in self.remedies:
            remedy.begin(self)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        inputs, beta = batch.inputs, self.scheduled
        self.weight = beta
        for remedy in self.remedies:
            inputs = remedy.corrupt(inputs)
        params, observed = self.observe(batch, self.params(batch))
        for remedy in self.remedies:
            params = remedy.refine(params, lambda p: self.loss(self.terms(batch, self.samples, p, inputs), beta))
        terms = self.terms(batch, self.samples, params, inputs)
        losses = self.loss(terms, beta) + observed
        loss = losses.mean()
        if self.looks and not math.isfinite(loss.item()):
            self.parts.append(("cost of the observed labels", observed))
            raise Diverged(self.broken() or f"loss {loss.item()}")
        self.spent = (self.spent[0] + losses.detach().sum(), self.spent[1] + batch.predicted())
        self.measured = {"loss": loss.detach(), "distortion": terms.distortion.detach().mean()}
        if terms.rate is not None:
            self.measured["rate"] = terms.rate.detach().mean()
        for remedy in self.remedies:
            self.measured |= remedy.watch()
        return loss

    @property
    def looks(self) -> bool:
        """Whether every step looks for figures that are not finite. A GPU would be waited for, and of several processes
        one that ended alone would leave the others waiting: they all look at the parameters, now and then."""
        return self.device.type == "cpu" and not (distributed.is_available() and distributed.is_initialized())

    def broken(self) -> str:
        """The parts of the last training loss that are not finite, with what they are instead; empty without any."""
        means = {name: float(torch.as_tensor(part, dtype=torch.float32).mean()) for name, part in self.parts}
        return ", ".join(f"{name} {mean}" for name, mean in means.items() if not math.isfinite(mean))

    def require_finite(self) -> None:
        """Raises :class:`Diverged` where a parameter is not finite."""
        bad = [name for name, parameter in self.named_parameters() if not torch.isfinite(parameter).all()]
        if bad:
            found = ", ".join(filter(None, (self.broken(), f"{len(bad)} parameters ({bad[0]} the first)")))
            raise Diverged(found, place=f"step {self.global_step} or before")

    def validation_step(self, batch: Batch, batch_idx: int) -> Terms:
        """The true bound with one draw, in full precision; the metrics are kept by whoever watches validation."""
        with torch.autocast(self.device.type, enabled=False):
            return self.terms(batch)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Rests the groups that no remedy's plan trains: without gradients even Adam's state stays as it is. Clears
        that state where the schedule of beta restarts; as this hangs on the step alone, a resumed run does the same."""
        step, trained = self.clock, self._planned()
        # while the generative group rests the schedule may stand still: it restarts once, not at every such step
        if step is not None and "generative" in trained and self.anneal.restarts(step):
            optimizer.state.clear()
        for group in optimizer.param_groups:
            if group["name"] not in trained:
                for parameter in group["params"]:
                    parameter.grad = None

    def progress(self, loss: float = 0.0, words: int = 0) -> Progress:
        """Where training stands, for a remedy that plans; loss and words of the step's texts, summed."""
        self.validated |= {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        batches = int(self.trainer.num_training_batches)
        return Progress(self.global_step, self.current_epoch, batches, self.validated, loss, words)

    def _planned(self) -> set[str]:
        """The groups that this optimiser step trains."""
        (loss, words), self.spent = self.spent, (0.0, 0)
        trained: set[str] = set(GROUPS)
        planning = [remedy for remedy in self.remedies if type(remedy).plan is not Regularizer.plan]
        if not planning:  # on a GPU, to look at the loss would be to wait for it
            return trained
        progress = self.progress(float(loss), words)
        for remedy in planning:
            trained &= set(remedy.plan(progress))
        return trained

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        checkpoint["validated"] = self.validated | metrics
        # by name: the order of remedies is the user's, and the same job whatever it is
        checkpoint["remedies"] = {
            type(remedy).__name__: {name: getattr(remedy, name) for name in remedy.memory} for remedy in self.remedies
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.validated = dict(checkpoint.get("validated", {}))
        for remedy in self.remedies:
            for name, value in checkpoint.get("remedies", {}).get(type(remedy).__name__, {}).items():
                setattr(remedy, name, value)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()  # not only before the next backward pass: the next forward pass needs the memory

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning refuses to clip for a fused optimiser in any mixed precision, but only "16-mixed" scales the
        # gradients; compat refuses that one
        if not gradient_clip_val:
            return
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if self.looks and not math.isfinite(norm.item()):
            raise Diverged(f"gradient norm {norm.item()}")
        # on a CPU a look costs less than a pass over all gradients that multiplies them by 1
        if self.device.type != "cpu" or norm > gradient_clip_val:
            nn.utils.clip_grads_with_norm_(self.parameters(), gradient_clip_val, norm)

    def configure_optimizers(self) -> Any:
        # what constrains the posterior is part of it, and a baseline serves it alone
        constraints = [remedy for remedy in self.remedies if type(remedy).constrain is not Regularizer.constrain]
        serving = [self.estimator, *constraints]
        inference = [*self.inference_parameters(), *itertools.chain(*(part.parameters() for part in serving))]
        known = {id(parameter) for parameter in inference}
        generative = [parameter for parameter in self.parameters() if id(parameter) not in known]
        groups = [
            {"name": name, "params": params}
            for name, params in zip(GROUPS, (inference, generative), strict=True)
            if params
        ]
        assert self.optimizer is not None
        return self.optimizer(groups)

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)
