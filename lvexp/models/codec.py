"""Sentence compression: a text is written again from a shorter one, which is the latent variable."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.distributions.sequences import lengths
from lvexp.errors import ConfigError, RunError
from lvexp.latents.base import AbstractLatent
from lvexp.latents.pointer import PointerLatent
from lvexp.models import records
from lvexp.models.base import LatentModel, Turn
from lvexp.networks.base import AbstractDecoder, StateEncoder
from lvexp.networks.pointer import Given, as_words
from lvexp.networks.speaker import NEVER
from lvexp.networks.writing import Decoding, write
from lvexp.reading import Memory, Reading
from lvexp.shapes import Bool, Float, Int, Shaped, Tensor
from lvexp.terms import Terms

BEST = ("bound", "f1")
#: the loss without a bound
PAIRS = Turn("pairs", bound=False)


class Codec(LatentModel):
    r"""p(s|c) p(c) with q(c|s): auto-encoding sentence compression (Miao & Blunsom 2016).

    c, a short text, is all that the decoder reads of the text s (``batch.tokens``); q points at words of s, and p(c) is
    a language model (:class:`~lvexp.latents.pointer.PointerLatent`). With ``latent.mixed`` q is their forced-attention
    model. The bound is

    .. math:: \log p(s) \ge E_{q(c|s)} \log p(s|c) - KL(q(c|s) \| p(c))

    and ``anneal.beta`` is their λ. Where a compression c* of s is known (``batch.source``), training adds -α log
    q(c*|s), with the number of its words given if ``share`` gives it; words that q cannot say are left out. Without
    ``reconstruct`` this is the whole loss.

    Args:
        encoder: reads s. new_encoder: makes another encoder of the same kind, which reads c. decoder: scores and writes
            s.
        share: the number of words of c, as a share of those of s, rounded; 0 leaves it free.
        alpha: α.
        reconstruct: whether the bound is part of the loss.
        best: what selects the best validation, "bound" or "f1" (of the words of c and of c*).
        rest: what every :class:`LatentModel` takes.
    """

    latent: PointerLatent
    vocabulary: Vocabulary
    reported: ClassVar[frozenset[str]] = frozenset({"bound", "likelihood"})
    offers: ClassVar[tuple[str, ...]] = ("compress",)
    remembers: ClassVar[tuple[str, ...]] = ("source",)

    def __init__(
        self,
        encoder: StateEncoder,
        decoder: AbstractDecoder,
        new_encoder: Callable[[], StateEncoder],
        share: float = 0.0,
        alpha: float = 1.0,
        reconstruct: bool = True,
        best: str = "bound",
        **rest: Any,
    ):
        super().__init__(**rest)
        if best not in BEST:
            raise ConfigError(f"model.best={best}: it is one of {', '.join(BEST)}")
        self.encoder, self.decoder, self.listener = encoder, decoder, new_encoder()
        self.share, self.alpha, self.reconstruct, self.best = share, alpha, reconstruct, best
        self.watched: dict[str, Tensor] = {}

    @classmethod
    def code_width(cls, latent: AbstractLatent, encoder: nn.Module) -> int:
        """That of what was read of c."""
        width = encoder.width
        assert isinstance(width, int)
        return width

    @property
    def monitor(self) -> tuple[str, str]:
        return ("compression_loss", "1−F1") if self.best == "f1" else super().monitor

    def prepare(self) -> None:
        self.latent.prepare(self.vocabulary)

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return itertools.chain(self.encoder.parameters(), self.latent.inference_parameters())

    # --- reading and writing -------------------------------------------------------------------------------------

    def read(self, batch: Batch) -> Reading:
        return self._reading(batch, self._length(batch.lengths - 2, self.share) if self.share else None)

    def _length(self, words: Int[Tensor, " B"], share: float) -> Float[Tensor, " B"]:
        """How many words a compression has that has a share of the words."""
        assert self.latent.dim is not None
        return (share * words).round().clamp(max(1, self.latent.speaker.least), self.latent.dim)

    def _reading(self, batch: Batch, wanted: Float[Tensor, " B"] | None) -> Reading:
        special, states = self.vocabulary.special, self.encoder.states(batch.tokens, batch.lengths)
        pointed = batch.tokens.masked_fill(batch.tokens == special.bos, special.pad)
        free = torch.zeros_like(batch.lengths) if wanted is None else wanted
        given = Given(self.encoder.summary(states, batch.lengths), states, pointed, free)
        return Reading(given.packed(), None if wanted is None else wanted[:, None].float())

    def log_likelihood(
        self, batch: Batch, reading: Reading, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        draws, words = len(code), batch.inputs if inputs is None else inputs
        heard = self._heard(code.flatten(0, 1))
        found = self.decoder(
            words.repeat(draws, 1), batch.targets.repeat(draws, 1), batch.lengths.repeat(draws), heard.summary[None],
            {"source": heard},
        )  # fmt: skip
        return found[0].view(draws, -1)

    def write(self, code: Float[Tensor, "N W"], how: Decoding, reading: Reading | None = None) -> list[list[int]]:
        heard = self._heard(code)
        return write(self.decoder, heard.summary, how, {"source": heard}, self.vocabulary.special)

    def _heard(self, code: Float[Tensor, "N W"]) -> Memory:
        """What is read of c. A relaxed text ends where ``<eos>`` is its most probable word."""
        special, value = self.vocabulary.special, code.unflatten(-1, (self.latent.speaker.length, -1))
        ids = value.argmax(-1)
        count = (ids != special.eos).cumprod(1).sum(1) + 2
        words = as_words(value)
        first, last = (_column(words, token) for token in (special.bos, special.eos))
        states = self.listener.states(torch.cat([first, words, last], 1), count)
        mask = torch.arange(states.shape[1], device=states.device) < count[:, None]
        return Memory(states, mask, self.listener.summary(states, count))

    # --- training ------------------------------------------------------------------------------------------------

    def turn(self, step: int, epoch: int) -> Turn:
        return Turn() if self.reconstruct else PAIRS

    def added(self, turn: Turn, batch: Batch, terms: Terms | None, beta: Tensor | float) -> Float[Tensor, " B"] | float:
        """-α log q(c*|s) of the texts whose compression c* is known."""
        rows = known(batch, self.vocabulary).nonzero()[:, 0]
        self.watched = {}
        if not len(rows) or not self.alpha:
            return 0.0 if turn.bound else 0.0 * self.params(self.read(batch)).sum(-1)
        assert batch.source is not None
        value = self.value(batch.source[rows, 1:])
        part = batch[rows]
        if self.share:
            reading = self._reading(part, lengths(self.latent.speaker, value))
        else:
            reading = self.read(part) if terms is None else terms.reading[rows]
        each = self.latent.posterior(self.params(reading)).steps(value)
        missed = -(each * (each > NEVER / 2)).sum(-1)
        self.watched = {"pairs": missed}
        found = torch.zeros(len(batch), device=self.device)
        return found.index_copy(0, rows, self.alpha * missed.to(found.dtype))

    def watch(self) -> Mapping[str, Tensor]:
        return {name: value.detach().mean() for name, value in self.watched.items()}

    def value(self, words: Int[Tensor, "N T"]) -> Float[Tensor, "N L K"]:
        """Short texts as values of z, cut after L words; ``<eos>`` or ``<pad>`` ends one."""
        special, length = self.vocabulary.special, self.latent.speaker.length
        words = F.pad(words[:, :length], (0, max(0, length - words.shape[1])), value=special.eos)
        return F.one_hot(words.masked_fill(words == special.pad, special.eos), self.latent.speaker.size).float()

    # --- a finished run ------------------------------------------------------------------------------------------

    def compressed(self, batch: Batch, words: int | None = None, share: float | None = None) -> Shaped[Tensor, "B L K"]:
        """The most probable words, one after the other, of the compression of each text."""
        wanted = None
        if words is not None:
            wanted = torch.full((len(batch),), float(words), device=self.device)
        elif share is not None:
            wanted = self._length(batch.lengths - 2, share)
        reading = self.read(batch) if wanted is None else self._reading(batch, wanted)
        return self.latent.point(self.latent.posterior(self.params(reading)))

    @torch.no_grad()
    def compress(
        self, texts: Sequence[str], words: int | None = None, share: float | None = None, batch_size: int = 64
    ) -> list[str]:
        """The compression of each text, of the most probable words. An unknown word is written as the text has it.

        Args:
            words: their number, at most ``latent.dim``. share: their number as a share of the text's. Without both it
                is as the model was trained.
            batch_size: texts at a time.

        Raises:
            RunError: both are given, or the model cannot say so many.
        """
        most = self.latent.dim or 0
        if words is not None and share is not None:
            raise RunError(f"compress: words={words} and share={share}\ntry  one of them")
        if words is not None and not 1 <= words <= most:
            raise RunError(f"compress: words={words}, and this model writes 1 to {most} words\ntry  words={most}")
        if share is not None and not 0 < share <= 1:
            raise RunError(f"compress: share={share}: it is above 0 and at most 1\ntry  share=0.5")
        found: dict[int, str] = {}
        for rows in records.parts(texts, batch_size):
            batch = records.batch(self.vocabulary, [texts[row] for row in rows]).to(self.device)
            spoken = self.written(self.compressed(batch, words, share))
            for row, ids in zip(rows, spoken, strict=True):
                found[row] = self._named(ids, texts[row])
        return [found[row] for row in range(len(texts))]

    def written(self, value: Shaped[Tensor, "N L K"]) -> list[list[int]]:
        """The ids of each value's words."""
        eos = self.vocabulary.special.eos
        return [row[: row.index(eos)] if eos in row else row for row in value.argmax(-1).tolist()]

    def _named(self, ids: Sequence[int], text: str) -> str:
        unk = self.vocabulary.special.unk
        if unk not in ids:
            return self.vocabulary.decode(ids)
        words = text.split()
        strange = iter([word for word in words if self.vocabulary.encode([word])[0][1] == unk])
        each = [
            next(strange, self.vocabulary.decode([unk])) if one == unk else self.vocabulary.decode([one]) for one in ids
        ]
        return " ".join(each)


def known(batch: Batch, vocabulary: Vocabulary) -> Bool[Tensor, " B"]:
    """Whether the compression of each text is known."""
    if batch.source is None:
        return torch.zeros(len(batch), dtype=torch.bool, device=batch.tokens.device)
    special = vocabulary.special
    return ~torch.isin(batch.source, batch.source.new_tensor(special.silent)).all(1)


def _column(words: Int[Tensor, "N L"] | Float[Tensor, "N L K"], token: int) -> Tensor:
    """A position of the same word in all texts."""
    if words.ndim == 2:
        return words.new_full((len(words), 1), token)
    one = F.one_hot(torch.tensor(token, device=words.device), words.shape[-1]).to(words)
    return one.expand(len(words), 1, -1)
