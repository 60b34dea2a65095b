"""Controllable generation: a sentence VAE whose classes c are imposed on what it writes by a discriminator."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.data.batch import Batch
from lvexp.errors import ConfigError
from lvexp.estimators.base import AbstractEstimator
from lvexp.estimators.blocks import Blocks
from lvexp.estimators.score import Score
from lvexp.latents.mixed import Mixed
from lvexp.models.attributes import AttributeModel, observed
from lvexp.models.base import GROUPS, Turn
from lvexp.networks.base import AbstractEncoder, Words
from lvexp.networks.relaxed import relax
from lvexp.networks.writing import Decoding, write
from lvexp.reading import Reading
from lvexp.shapes import Float, Int, Shaped, Tensor
from lvexp.terms import Terms

_INFERENCE, _GENERATIVE = GROUPS
_DISCRIMINATOR = "discriminator"
#: of the first epochs
BASE = Turn("base")
#: afterwards: each step takes the next of these turns
CYCLE = JUDGING, WRITING, READING = (
    Turn("discriminator", (_DISCRIMINATOR,), bound=False),
    Turn("generator", (_GENERATIVE,)),
    Turn("encoder", (_INFERENCE,)),
)
CODES = ("prior", "posterior")
BEST = ("generator", "transfer", "bound")


class ControlModel(AttributeModel):
    r"""p(x|z, c) with q(z|x) and a discriminator q_D(c|x), learned by the wake–sleep procedure of Hu et al. 2017.

    z is the content of a text, c its attributes, each with a discriminator and labelled texts of its own. After
    ``base_epochs`` of the first line together with the labelled part of the second, each optimiser step minimises the
    loss of one part, in turn, and trains no other (Hu et al. 2017, algorithm 1):

    .. math::
        L_{VAE} &= -E_{q(z|x)} \log p(x|z, c) + KL(q(z|x) \| p(z)) + KL(q_D(c|x) \| p(c))
            && \text{encoder} \\
        L_D &= -\log q_D(y|x) + \lambda_u\,[-\log q_D(c|\hat x) + \beta H(q_D(\cdot|\hat x))]
            && \text{discriminator} \\
        L_G &= L_{VAE} - \lambda_c \log q_D(c|\tilde x) - \lambda_z \log q(z|\tilde x)
            && \text{generator}

    In the bound, c is the label where it is shown, and a draw of q_D(c|x) elsewhere; it does not train q_D. x̂ is drawn
    from the model with z and c from their priors. x̃ is relaxed (:func:`lvexp.networks.relaxed.relax`), from z and c of
    the priors or, with ``codes=posterior``, from q(z|x) and a c of its prior: the text with another attribute, as in
    transfer. H is the entropy :math:`-\sum_c q \log q`; a discriminator that is sure of the model's texts lowers it.

    λ_c, λ_z, λ_u = 0 makes it a semi-supervised VAE with a separate classifier. A "text" in nats per text of L_D and of
    the terms with λ is one written text for each text of the batch.

    Differences from the paper: in its first phase c is drawn from p(c), so that c is ignored; here it is the label.

    Args:
        discriminator: makes the network of each q_D, given the size of the vocabulary.
        lambda_c: weight of finding c again in what is written. lambda_z: of finding z again.
        lambda_u: weight of the model's texts in the discriminator's loss. entropy: β, of their entropy within it.
        temperature: τ of relaxed words, or where it ends.
        temperature_rate: r of max(τ, exp(-r t)), t in epochs after the first phase; 0 fixes τ.
        straight_through: relaxed words are draws, one-hot, instead of softmax(·/τ).
        codes: "prior" or "posterior", where z of relaxed texts is from.
        base_epochs: epochs of the first phase.
        max_length: words after which a text that is written in training is cut.
        best: what selects the best validation after the first phase: "generator", L_G; "transfer", the geometric mean
            of accuracy and self-BLEU of transferred texts, as the discriminator judges them; or "bound".
        latent: z and c, as blocks.
        estimator: of the gradient with respect to z.
        parts: arguments of every :class:`~lvexp.models.sentence.SentenceModel`.
    """

    latent: Mixed

    def __init__(
        self,
        discriminator: Callable[..., AbstractEncoder],
        lambda_c: float = 0.1,
        lambda_z: float = 0.1,
        lambda_u: float = 0.1,
        entropy: float = 0.1,
        temperature: float = 0.1,
        temperature_rate: float = 0.7,
        straight_through: bool = False,
        codes: str = "prior",
        base_epochs: int = 5,
        max_length: int = 20,
        best: str = "generator",
        *,
        latent: Mixed,
        estimator: AbstractEstimator,
        **parts: Any,
    ):
        # c carries no gradient to its posterior: it is drawn
        drawn = {name: Score(baseline="none") for name in latent.class_blocks}
        blocks = Blocks(**{name: drawn.get(name, estimator) for name in latent.blocks})
        super().__init__(latent=latent, estimator=blocks, **parts)
        for key, value, known in (("codes", codes, CODES), ("best", best, BEST)):
            if value not in known:
                raise ConfigError(f"model.{key}={value}: it is one of {', '.join(known)}")
        self.lambda_c, self.lambda_z, self.lambda_u, self.entropy = lambda_c, lambda_z, lambda_u, entropy
        self.temperature, self.temperature_rate, self.straight_through = temperature, temperature_rate, straight_through
        self.codes, self.base_epochs, self.max_length, self.best = codes, base_epochs, max_length, best
        width, size = self.encoder.width, self.vocabulary.size

        def network() -> nn.Module:
            made = discriminator(vocabulary=size)
            if not made.width:
                raise ConfigError(
                    "encoder@model.discriminator=none: a discriminator that reads nothing tells no class\n"
                    "try  encoder@model.discriminator=cnn"
                )
            return nn.ModuleDict({"read": made, "fit": nn.Linear(made.width, width)})

        self.discriminators = nn.ModuleDict({name: network() for name in self.latent.class_blocks})
        self.relaxation = 1.0  # τ of the current step
        self.watched: dict[str, Tensor] = {}

    # --- reading -------------------------------------------------------------------------------------------------

    def read(self, batch: Batch) -> Reading:
        own = self.encoder(batch.tokens, batch.lengths)
        return Reading(torch.cat([own, *self._judged(batch.tokens, batch.lengths)], -1))

    def logits(self, tokens: Words, lengths: Int[Tensor, " B"]) -> list[Float[Tensor, "B _"]]:
        """log q_D(c|x) of each attribute, up to a constant, with gradients for the discriminators."""
        return self._fitted(self._judged(tokens, lengths))

    def _judged(self, tokens: Words, lengths: Int[Tensor, " B"]) -> list[Float[Tensor, "B H"]]:
        """The features from which each q_D(c|x) is made."""
        parts: Any = self.discriminators.values()
        return [F.relu(part["fit"](part["read"](tokens, lengths))) for part in parts]

    def _fitted(self, features: Sequence[Float[Tensor, "B H"]]) -> list[Float[Tensor, "B _"]]:
        """The logits, given the features of each discriminator."""
        blocks = self.latent.class_blocks.values()
        return [part.class_logits(part.params(own))[0] for part, own in zip(blocks, features, strict=True)]

    def inferred(self, reading: Reading) -> Float[Tensor, "B P"]:
        own, *judged = reading.features.chunk(1 + len(self.discriminators), -1)
        features = dict(zip(self.discriminators, judged, strict=True))
        parts = {name: block.params(features.get(name, own)) for name, block in self.latent.parts.items()}
        # the bound does not train the discriminators
        return torch.cat([part.detach() if name in features else part for name, part in parts.items()], -1)

    # --- training ------------------------------------------------------------------------------------------------

    def groups(self) -> dict[str, list[nn.Parameter]]:
        heads = (part.inference_parameters() for part in self.latent.class_blocks.values())
        judge = [*self.discriminators.parameters(), *itertools.chain(*heads)]
        known = {id(parameter) for parameter in judge}
        others = {name: [part for part in parts if id(part) not in known] for name, parts in super().groups().items()}
        return {**others, _DISCRIMINATOR: judge}

    def check(self, attributes: Mapping[str, Sequence[str]]) -> None:
        super().check(attributes)
        for (name, labels), (option, count) in zip(attributes.items(), self.latent.classes, strict=True):
            if len(labels) < count:
                raise ConfigError(
                    f"{option}={count}: texts of each class are written in training, and {name} has {len(labels)}\n"
                    f"try  {option}={len(labels)}"
                )

    def prepares(self, epoch: int) -> bool:
        return epoch < self.base_epochs

    def turn(self, step: int, epoch: int) -> Turn:
        rate, since = self.temperature_rate, max(0, epoch - self.base_epochs)
        self.relaxation = max(self.temperature, math.exp(-rate * since)) if rate else self.temperature
        return BASE if self.prepares(epoch) else CYCLE[step % len(CYCLE)]

    def observe(self, batch: Batch, params: Float[Tensor, "B P"]) -> tuple[Float[Tensor, "B P"], Tensor | float]:
        known = observed(batch)
        return (params if known is None else self.latent.observe(params, known)), 0.0

    def added(self, turn: Turn, batch: Batch, terms: Terms | None, beta: Tensor | float) -> Float[Tensor, " B"] | float:
        if turn is READING:
            return 0.0
        if turn is WRITING:
            assert terms is not None
            return self.guidance(terms)
        labelled = self._labelled(batch, self.read(batch) if terms is None else terms.reading)
        return labelled if turn is BASE or not self.lambda_u else labelled + self.lambda_u * self._written(len(batch))

    def watch(self) -> Mapping[str, Tensor]:
        return {name: value.detach().mean() for name, value in self.watched.items()}

    def _labelled(self, batch: Batch, reading: Reading) -> Float[Tensor, " B"]:
        """-log q_D(y|x) of the labels that are shown."""
        known = observed(batch)
        if known is None:
            return torch.zeros(len(batch), device=self.device)
        missed = _missed(self._fitted(reading.features.chunk(1 + len(self.discriminators), -1)[1:]), known)
        self.watched = {"discriminator": missed}
        return missed

    def _written(self, count: int) -> Float[Tensor, " B"]:
        """-log q_D(c|x̂) + β H(q_D(·|x̂)) of texts drawn from the model."""
        value, classes = self._drawn(count)
        texts = self._texts(self.latent.code(value[None])[0], Decoding("sample", max_length=self.max_length))
        logits = self.logits(texts.tokens, texts.lengths)
        entropy = torch.stack([torch.distributions.Categorical(logits=part).entropy() for part in logits]).sum(0)
        return _missed(logits, classes) + self.entropy * entropy

    def guidance(self, terms: Terms) -> Float[Tensor, " B"] | float:
        """-λ_c log q_D(c|x̃) - λ_z log q(z|x̃)."""
        if not self.lambda_c and not self.lambda_z:
            return 0.0
        value, classes = self._drawn(len(terms.batch))
        if self.codes == "posterior":
            value = self.latent.fixed(terms.draw.value[0].detach(), classes)
        code = self.latent.code(value[None])[0]
        text = relax(
            self.decoder, code, self.relaxation, self.max_length, self.straight_through, self.vocabulary.special
        )
        missed = _missed(self.logits(text.tokens, text.lengths), classes)
        lost = -self._found(value, self.encoder(text.tokens, text.lengths))
        self.watched = {"attribute": missed, "content": lost}
        return self.lambda_c * missed + self.lambda_z * lost

    def _found(self, value: Shaped[Tensor, "B E"], features: Float[Tensor, "B H"]) -> Float[Tensor, " B"]:
        """log q(z|x) of what the values have besides classes."""
        values = self.latent.prior().split(value)
        content = {name: block for name, block in self.latent.parts.items() if name not in self.discriminators}
        found = [part.posterior(part.params(features)).log_prob(values[name]) for name, part in content.items()]
        return torch.stack(found).sum(0)

    @torch.no_grad()
    def _drawn(self, count: int) -> tuple[Shaped[Tensor, "B E"], Int[Tensor, "B A"]]:
        """Values from the prior, and their classes."""
        prior = self.latent.prior()
        value = prior.sample(torch.Size((count,)))
        parts = prior.split(value)
        return value, torch.stack([parts[name].flatten(1).argmax(-1) for name in self.discriminators], 1)

    @torch.no_grad()
    def _texts(self, code: Float[Tensor, "N W"], how: Decoding) -> Batch:
        """What the decoder writes, without dropout, as a batch."""
        mode, special = self.decoder.training, self.vocabulary.special
        self.decoder.eval()
        found = write(self.decoder, code, how, special=special)
        self.decoder.train(mode)
        return Batch.of([[special.bos, *ids, special.eos] for ids in found]).to(self.device)

    @property
    def monitor(self) -> tuple[str, str]:
        own = {"generator": ("generator_loss", "L_G"), "transfer": ("transfer_loss", "100−G")}
        return own.get(self.best, super().monitor)


def _missed(logits: list[Float[Tensor, "B _"]], classes: Int[Tensor, "B A"]) -> Float[Tensor, " B"]:
    """-log q(c|x) of the classes, summed over attributes; 0 where a class is not known."""
    parts = zip(logits, classes.unbind(1), strict=True)
    return torch.stack([F.cross_entropy(part, one, ignore_index=-1, reduction="none") for part, one in parts]).sum(0)
