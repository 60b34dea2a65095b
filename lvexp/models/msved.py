"""Reinflection: forms of a word given its tags, with a latent variable for the lemma."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.distributions import Distribution
from torch.nn import functional as F

from lvexp.data.batch import Batch
from lvexp.distributions.rate import rate
from lvexp.draws import Draw, expect
from lvexp.errors import ConfigError, DataError, RunError
from lvexp.estimators.base import AbstractEstimator
from lvexp.latents.base import AbstractLatent
from lvexp.models import records
from lvexp.models.base import LatentModel, Turn
from lvexp.networks.base import AbstractDecoder, StateEncoder
from lvexp.networks.tags import Tags
from lvexp.networks.writing import Decoding, write
from lvexp.reading import Memory, Reading
from lvexp.shapes import Bool, Float, Int, Tensor
from lvexp.terms import Terms

BEST = ("bound", "accuracy")
#: tags of a form, as they are written in a file or key by key
Tagged = str | Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class _Words:
    """What is written, given what: a text for each of N codes, tags and sources."""

    tokens: Int[Tensor, "N T"]
    code: Float[Tensor, "N W"]
    tags: Float[Tensor, "N K V"]
    source: Memory


class MSVED(LatentModel):
    r"""p(x_t | z, y_t) with q(z|x_s): the multi-space variational encoder–decoder (Zhou & Neubig 2017).

    x_t (``batch.tokens``) is the form of a word with the tags y_t (``batch.attributes``), and x_s (``batch.source``) a
    form whose tags y_s are not known. z, with the prior N(0, I), is for the lemma; one encoder and one decoder serve
    both. The bound of a pair, which is what validations and reports measure, is that of

    .. math:: \log p(x_t|y_t; x_s) \ge E_{q(z|x_s)} \log p(x_t|z, y_t) - KL(q(z|x_s) \| p(z))

    With ``reconstruct``, training adds for every pair

    .. math::
        R(s{\to}s) + R(t{\to}s) + R(t{\to}t) + KL(q(y_s|x_s) \| p(y)) + \lambda\,KL(q(z|x_t) \| p(z))
        - \alpha \log q(y_t|x_t)

    with :math:`R(a{\to}b) = -E \log p(x_b|z_a, y_b)`, y_s drawn from q(y_s|x_s) by ``inference``, and λ the schedule's
    beta. A word u whose tags are not known is read as its own source. Its bound, times ``unlabelled``, is

    .. math:: R(u{\to}u) + KL(q(y|u) \| p(y)) + \lambda\,KL(q(z|u) \| p(z)),\quad y \sim q(y|u)

    p(y) is uniform over the values of each key, "none" included; the constant -log p(y_t) is left out. The decoder's
    code is z and tanh of the sum of the tags' embeddings. What it attends to, tags or the source too, is its own option
    (``decoder.attends``); the published model attends to tags alone.

    A text in "nats per text" is a form x_t.

    Args:
        encoder: reads x. decoder: scores and writes x.
        inference: makes the estimator of the gradient with respect to y.
        attributes: key → its values, "none" first.
        reconstruct: whether training adds the terms above; without, it is Zhou & Neubig's purely supervised model.
        unlabelled: weight of a word whose tags are not known.
        alpha: α, weight of -log q(y_t|x_t).
        tag_samples: draws of y for a word in training.
        best: what selects the best validation, "bound" or "accuracy" (of greedy decoding).
        rest: what every :class:`LatentModel` takes.
    """

    reported: ClassVar[frozenset[str]] = frozenset({"bound", "likelihood", "use"})
    reads: ClassVar[tuple[str, ...]] = ("source", "text", "tags")
    offers: ClassVar[tuple[str, ...]] = ("inflect", "analyse")
    remembers: ClassVar[tuple[str, ...]] = ("tags", "source")

    def __init__(
        self,
        encoder: StateEncoder,
        decoder: AbstractDecoder,
        inference: Callable[[], AbstractEstimator],
        attributes: Mapping[str, Sequence[str]],
        reconstruct: bool = True,
        unlabelled: float = 0.7,
        alpha: float = 1.0,
        tag_samples: int = 1,
        best: str = "accuracy",
        **rest: Any,
    ):
        super().__init__(**rest)
        if best not in BEST:
            raise ConfigError(f"model.best={best}: it is one of {', '.join(BEST)}")
        if not attributes:
            raise ConfigError("data.columns.tags: no text has a tag\ntry  the column that holds KEY=VALUE,KEY=VALUE")
        self.encoder, self.decoder, self.inference = encoder, decoder, inference()
        self.inference.attach(self.vocabulary.size)
        self.tags = Tags([len(values) for values in attributes.values()], encoder.width, encoder.width)
        self.reconstruct, self.unlabelled, self.alpha = reconstruct, unlabelled, alpha
        self.tag_samples, self.best = tag_samples, best
        self.watched: dict[str, Tensor] = {}

    @classmethod
    def code_width(cls, latent: AbstractLatent, encoder: nn.Module) -> int:
        width = encoder.width
        assert isinstance(width, int)
        return latent.width + width

    @property
    def infers(self) -> bool:
        """Whether q(y|x) was trained with known tags."""
        return self.reconstruct and self.alpha > 0

    @property
    def labels(self) -> Sequence[str]:
        return ()

    @property
    def monitor(self) -> tuple[str, str]:
        return ("inflection_loss", "100−acc.") if self.best == "accuracy" else super().monitor

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        heads = (self.tags.heads, self.inference, self.encoder)
        return itertools.chain(*(part.parameters() for part in heads), self.latent.inference_parameters())

    # --- reading and writing -------------------------------------------------------------------------------------

    def read(self, batch: Batch) -> Reading:
        if batch.source is None or batch.attributes is None:
            raise DataError("this model writes forms of words given their tags\ntry  data.columns.tags=COLUMN")
        source, unknown = batch.source, ~_known(batch)
        if unknown.device.type != "cpu" or unknown.any():  # a GPU would be waited for
            width, pad = max(source.shape[1], batch.tokens.shape[1]), self.vocabulary.special.pad
            source, own = (F.pad(part, (0, width - part.shape[1]), value=pad) for part in (source, batch.tokens))
            source = torch.where(unknown[:, None], own, source)
        memory = self._memory(source)
        return Reading(memory.summary, None, {"source": memory, "tags": self.tags.memory(self._tags(batch))})

    def _memory(self, tokens: Int[Tensor, "B T"]) -> Memory:
        there = tokens != self.vocabulary.special.pad
        states = self.encoder.states(tokens, there.sum(1))
        return Memory(states, there, self.encoder.summary(states, there.sum(1)))

    def _tags(self, batch: Batch) -> Float[Tensor, "B K V"]:
        assert batch.attributes is not None
        return self.tags.values(batch.attributes)

    @staticmethod
    def _beside(code: Float[Tensor, "S B W"], tags: Memory) -> Float[Tensor, "S B V"]:
        """z's code and the summary of the tags."""
        return torch.cat([code, tags.summary.expand(len(code), -1, -1).to(code.dtype)], -1)

    def log_likelihood(
        self, batch: Batch, reading: Reading, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        words, known = batch.inputs if inputs is None else inputs, _known(batch)
        if known.all():
            code = self._beside(code, reading.memories["tags"])
            return self.decoder(words, batch.targets, batch.lengths, code, reading.memories)
        found = code.new_zeros(code.shape[:2])
        for rows, alone in ((known.nonzero()[:, 0], False), ((~known).nonzero()[:, 0], True)):
            if len(rows):
                part, own = batch[rows], reading[rows]
                if alone:
                    scored = -self._expected(part, own, code[:, rows])
                else:
                    scored = self.log_likelihood(part, own, code[:, rows], None if inputs is None else inputs[rows])
                found = found.index_copy(1, rows, scored.to(found.dtype))
        return found

    def _expected(self, batch: Batch, reading: Reading, code: Float[Tensor, "S B W"]) -> Float[Tensor, "S B"]:
        """-E log p(x|z, y), y from q(y|x), of words whose tags are not known."""
        draw = self.inference(self.tags.posterior(reading.features), self.tag_samples)
        draws, size = len(draw.value), len(code)
        word = _Words(
            batch.tokens.repeat(size * draws, 1), code.repeat_interleave(draws, 0).flatten(0, 1),
            draw.value.repeat(size, 1, 1, 1).flatten(0, 1), _repeated(reading.memories["source"], size * draws),
        )  # fmt: skip
        cost = self._costs([word])[0].unflatten(0, (size, draws, len(batch)))
        return self._over_tags(cost, draw, batch)

    def _over_tags(self, cost: Float[Tensor, "S Y B"], draw: Draw, batch: Batch) -> Float[Tensor, "S B"]:
        """The expectation over y, for each draw of z."""
        control = self.inference.control(cost.mean(0), batch)
        return torch.stack([expect(each, draw, control.baseline, control.scale) for each in cost]) + control.fit

    def _costs(self, wanted: Sequence[_Words]) -> list[Float[Tensor, " N"]]:
        """-log p of each text, in one pass of the decoder."""
        pad, sizes = self.vocabulary.special.pad, [len(words.tokens) for words in wanted]
        tokens = _stacked([words.tokens for words in wanted], pad)
        sources = [words.source for words in wanted]
        states = _stacked([memory.states for memory in sources], 0.0)
        source = Memory(
            states, _stacked([memory.mask for memory in sources], False), torch.cat([each.summary for each in sources])
        )
        tags = self.tags.memory(torch.cat([words.tags for words in wanted]))
        code = self._beside(torch.cat([words.code for words in wanted])[None], tags)
        lengths = (tokens != pad).sum(1)
        found = self.decoder(tokens[:, :-1], tokens[:, 1:], lengths, code, {"source": source, "tags": tags})[0]
        return list((-found).split(sizes))

    def write(self, code: Float[Tensor, "N W"], how: Decoding, reading: Reading | None = None) -> list[list[int]]:
        if reading is None:
            raise RunError("this model writes forms given their tags\ntry  inflect(words, tags)")
        code = self._beside(code[None], reading.memories["tags"])[0]
        return write(self.decoder, code, how, reading.memories, self.vocabulary.special)

    def code(self, reading: Reading, draw: bool = False) -> Float[Tensor, "B W"]:
        """The code for writing a form: at the mean (or mode) of q(z|x_s), or at a draw from it."""
        q = self.latent.posterior(self.params(reading))
        return self.latent.code((q.sample() if draw else self.latent.point(q))[None])[0]

    # --- training ------------------------------------------------------------------------------------------------

    def weighted(self, loss: Float[Tensor, " B"], batch: Batch) -> Float[Tensor, " B"]:
        known = _known(batch)
        return loss if known.all() else torch.where(known, loss, self.unlabelled * loss)

    def turn(self, step: int, epoch: int) -> Turn:
        self.inference.begin(step)
        return super().turn(step, epoch)

    def added(self, turn: Turn, batch: Batch, terms: Terms | None, beta: Tensor | float) -> Float[Tensor, " B"] | float:
        assert terms is not None
        known, found = _known(batch), torch.zeros(len(batch), device=self.device)
        pairs, alone = known.nonzero()[:, 0], (~known).nonzero()[:, 0]
        self.watched = {}
        if self.reconstruct and len(pairs):
            found = found.index_copy(0, pairs, self._pairs(batch[pairs], terms, pairs, beta).to(found.dtype))
        if len(alone):  # the rest is part of the bound
            q = self.tags.posterior(terms.reading.features[alone])
            found = found.index_copy(0, alone, self.unlabelled * self._tag_rate(q, terms.draw).to(found.dtype))
        return found

    def watch(self) -> Mapping[str, Tensor]:
        return {name: value.detach().mean() for name, value in self.watched.items()}

    def _pairs(self, batch: Batch, terms: Terms, rows: Int[Tensor, " N"], beta: Tensor | float) -> Float[Tensor, " N"]:
        """What ``reconstruct`` adds."""
        assert batch.source is not None
        assert batch.attributes is not None
        source, target = terms.reading.memories["source"][rows], self._memory(batch.tokens)
        known_tags = self._tags(batch)
        q_tags = self.tags.posterior(source.summary)
        tags = self.inference(q_tags, self.tag_samples)
        draws = len(tags.value)
        params = self.params(Reading(target.summary))
        q_target, prior = self.latent.posterior(params), self.latent.prior()
        assert prior is not None, "the configuration requires a rate"
        own, other = self.estimator(self.latent.posterior(terms.params[rows]), 1), self.estimator(q_target, 1)
        found = self._tag_rate(q_tags, tags) + self.alpha * self._missed(target, batch.attributes)
        found = found + beta * rate(q_target, prior, other)[0]
        codes = [self.latent.code(draw.value) for draw in (own, other)]
        backward = [
            _Words(
                batch.source.repeat(len(code) * draws, 1), code.repeat_interleave(draws, 0).flatten(0, 1),
                tags.value.repeat(len(code), 1, 1, 1).flatten(0, 1), _repeated(memory, len(code) * draws),
            )
            for code, memory in zip(codes, (source, target), strict=True)
        ]  # fmt: skip
        size = len(codes[1])
        again = _Words(
            batch.tokens.repeat(size, 1), codes[1].flatten(0, 1), known_tags.repeat(size, 1, 1), _repeated(target, size)
        )
        source_source, target_source, target_target = self._costs([*backward, again])
        sources = _as_texts(batch)
        for cost, draw, there in ((source_source, own, None), (target_source, other, target_target)):
            each = self._over_tags(cost.unflatten(0, (len(draw.value), draws, len(batch))), tags, sources)
            if there is not None:
                each = each + there.unflatten(0, (len(draw.value), len(batch)))
            control = self.estimator.control(each, batch)
            found = found + expect(each, draw, control.baseline, control.scale) + control.fit
        return found

    def _tag_rate(self, q: Distribution, draw: Draw) -> Float[Tensor, " B"]:
        """KL(q(y|x)‖p(y)), nats per text, in closed form."""
        return rate(q, self.tags.prior(), draw)[0]

    def _missed(self, memory: Memory, classes: Int[Tensor, "B K"]) -> Float[Tensor, " B"]:
        """-log q(y|x) of tags that are known, summed over keys."""
        logits = self.tags.logits(memory.summary)
        missed = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none").view_as(classes).sum(1)
        self.watched = {"tags": missed}
        return missed

    # --- a finished run ------------------------------------------------------------------------------------------

    @torch.no_grad()
    def inflect(self, words: Sequence[str], tags: Tagged | Sequence[Tagged], batch_size: int = 64, **how: Any) -> list:
        """The form of each word with its tags, at the mean of q(z|x).

        Args:
            words: any forms. tags: of the forms that are wanted, ``"pos=N,case=DAT"`` or ``{"pos": "N"}``: one for
                each word, or one for all. A key that is not given has no tag.
            how: of :class:`~lvexp.networks.writing.Decoding`; greedy without. With ``n_best``, the result has a list of
                forms for each word, best first.

        Raises:
            RunError: a tag is not known, or there are as many tags as words neither one.
        """
        alone = isinstance(tags, str | Mapping)
        wanted = [tags] * len(words) if alone else [*tags]
        if len(wanted) != len(words):
            raise RunError(
                f"inflect: {len(words)} words and tags for {len(wanted)}\ntry  tags for each word, or for all"
            )
        decoding, found = Decoding(**how), dict[int, Any]()
        asked = [{"source": word, "text": "", "tags": each} for word, each in zip(words, wanted, strict=True)]
        for rows in records.parts(asked, batch_size, by="source"):
            reading = self.read(self.gathered([asked[row] for row in rows]))
            written = [self.vocabulary.decode(ids) for ids in self.write(self.code(reading), decoding, reading)]
            for at, row in enumerate(rows):
                several = written[at * decoding.n_best : (at + 1) * decoding.n_best]
                found[row] = several if "n_best" in how else several[0]
        return [found[row] for row in range(len(words))]

    @torch.no_grad()
    def analyse(self, words: Sequence[str], batch_size: int = 64) -> list[dict[str, tuple[str, float]]]:
        """For each word: key → its most probable value under q(y|x), and that probability; keys of value "none" are
        left out.

        Raises:
            RunError: the model has not learnt tags from words.
        """
        if not self.infers:
            raise RunError("analyse: this model was not trained to infer tags\ntry  a run with model.reconstruct=true")
        found: dict[int, dict[str, tuple[str, float]]] = {}
        for rows in records.parts(words, batch_size):
            batch = records.batch(self.vocabulary, [words[row] for row in rows]).to(self.device)
            share, best = self.tags.logits(self._memory(batch.tokens).summary).softmax(-1).max(-1)
            for row, values, shares in zip(rows, best.tolist(), share.tolist(), strict=True):
                each = zip(self.attribute_names.items(), values, shares, strict=True)
                found[row] = {key: (str(names[value]), float(p)) for (key, names), value, p in each if value}
        return [found[row] for row in range(len(words))]

    def gathered(self, words: Sequence[Mapping[str, Any]]) -> Batch:
        """Words, each with the columns source, text and tags, as a batch."""
        return records.batch(self.vocabulary, words, self.reads, tags=self.attribute_names).to(self.device)

    def inferred_tags(self, tokens: Int[Tensor, "B T"]) -> Int[Tensor, "B K"]:
        """The most probable value of each key under q(y|x)."""
        return self.tags.logits(self._memory(tokens).summary).argmax(-1)


def _known(batch: Batch) -> Bool[Tensor, " B"]:
    """Whether the tags of each text are known."""
    assert batch.attributes is not None
    return (batch.attributes >= 0).all(1)


def _as_texts(batch: Batch) -> Batch:
    """The sources of a batch as its texts, for an estimator's baseline."""
    assert batch.source is not None
    return dataclasses.replace(batch, tokens=batch.source, lengths=batch.sourced.sum(1))


def _repeated(memory: Memory, times: int) -> Memory:
    return Memory(memory.states.repeat(times, 1, 1), memory.mask.repeat(times, 1), memory.summary.repeat(times, 1))


def _stacked(found: Sequence[Tensor], value: float) -> Tensor:
    """Texts of different lengths, [N, T, …], one after the other, padded."""
    width = max(each.shape[1] for each in found)
    padded = [F.pad(part, (*[0, 0] * (part.ndim - 2), 0, width - part.shape[1]), value=value) for part in found]
    return torch.cat(padded)
