"""A game: one sees an object and speaks, another must tell what a task asks about it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import nn

from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.vocabulary import Vocabulary
from lvexp.draws import expect
from lvexp.errors import ConfigError, DataError
from lvexp.latents.base import AbstractLatent
from lvexp.latents.sequence import AbstractSequence
from lvexp.models.base import LatentModel, Turn
from lvexp.networks.alike import alike, told_apart
from lvexp.networks.base import AbstractDecoder, StateEncoder
from lvexp.networks.speaker import NEVER
from lvexp.networks.writing import Decoding, select, write
from lvexp.reading import Reading
from lvexp.shapes import Bool, Float, Int, Shaped, Tensor
from lvexp.terms import Terms

LOSSES = ("likelihood", "reward", "pick")
#: the loss of rewards
REWARD = Turn("reward", bound=False)


class GameModel(LatentModel):
    r"""p(y|z, t) with q(z|o, t): o is an object, t a task, z what is said, and y what the task asks for.

    ``batch.source`` holds two vectors, o and t, and ``batch.tokens`` is y. With ``latent=symbols`` it is a one-round
    game: the sender q(z|o) sees the object, the receiver reads z and the task. With ``latent=dialogue`` it is that of
    Kottur et al. 2017: z is a dialogue of one who knows the task with one who sees the object, and what the first knows
    at its end is what the receiver reads.

    ``loss=likelihood`` is the bound, whose distortion is :math:`-E_q \log p(y|z, t)`. ``loss=reward`` is minus the
    expected reward of Kottur et al., :math:`-E_{q(z|o,t)\,p(y'|z,t)}\,r(y')`: R for a y' that is right as a whole, -m R
    for any other, plus beta times the rate. The words of y' are drawn as the symbols are, and share their
    score-function gradient.

    Args:
        encoder: reads o and t, each by itself. decoder: tells y.
        loss: "likelihood", "reward" or "pick".
        reward: R. wrong: m.
        games: number of games that are drawn for a training step from those of the batch, with replacement; 0: as many
            as it has. Kottur et al. have 1,000.
        hard: share of them that is drawn from the games of objects of which any game is lost when everybody takes the
            most probable symbol; the rest is drawn from all. Kottur et al. have .8. Training ends when none is lost.
            If both are 0, none are drawn: a step has every game once, and training does not end so.
        sources: the shape of the vectors.
        parts: arguments of every :class:`LatentModel`.
    """

    latent: AbstractSequence
    silent: Tensor
    reported: ClassVar[frozenset[str]] = frozenset({"bound"})
    reads: ClassVar[tuple[str, ...]] = ("source", "text")

    def __init__(
        self,
        encoder: StateEncoder,
        decoder: AbstractDecoder,
        loss: str = "likelihood",
        reward: float = 1.0,
        wrong: float = 10.0,
        games: int = 0,
        hard: float = 0.0,
        sources: Vocabulary | Features | None = None,
        **parts: Any,
    ):
        super().__init__(**parts)
        if loss not in LOSSES:
            raise ConfigError(f"model.loss={loss}: it is one of {', '.join(LOSSES)}")
        self.encoder, self.decoder, self.sources = encoder, decoder, sources or self.vocabulary
        self.loss, self.reward, self.wrong = loss, reward, wrong
        self.games, self.hard = games, hard
        self.register_buffer("silent", torch.tensor(self.vocabulary.special.silent), persistent=False)

    @classmethod
    def code_width(cls, latent: AbstractLatent, encoder: nn.Module) -> int:
        width = encoder.width
        assert isinstance(width, int)
        assert isinstance(latent, AbstractSequence), "the configuration requires a message"
        return latent.heard + width

    def check(self, attributes: Mapping[str, Sequence[str]]) -> None:
        if not isinstance(self.sources, Features) or self.sources.shape[0] != 2:
            raise ConfigError(
                "model=game: needs two vectors for each text, an object and a task\n"
                "try  data=world | data.sources.train=FILE.npy with an array N × 2 × F"
            )

    # --- reading and telling -------------------------------------------------------------------------------------

    def read(self, batch: Batch) -> Reading:
        if batch.source is None:
            raise DataError("a game needs an object and a task for each text\ntry  data=world")
        states = self.encoder.states(batch.source, batch.sourced.sum(1))
        seen, task = states[:, 0], states[:, 1]
        return Reading(torch.cat([seen, task], -1) if self.latent.sides > 1 else seen, condition=task)

    def log_likelihood(
        self, batch: Batch, reading: Reading, code: Float[Tensor, "S B W"], inputs: Int[Tensor, "B T_1"] | None = None
    ) -> Float[Tensor, "S B"]:
        known = self._beside(self._listened(code, reading), reading)
        if self.loss != "pick":
            return self.decoder(batch.inputs if inputs is None else inputs, batch.targets, batch.lengths, known)
        scores = self._scores(batch, known)
        return scores[0] - scores.logsumexp(0)

    def _scores(self, batch: Batch, known: Float[Tensor, "S B W"]) -> Float[Tensor, "N S B"]:
        """log p(y|z, t) of each game's own y, then of those of the other games of the batch; the smallest number for a
        y that is the same or of another task."""
        assert batch.source is not None
        rows, found = torch.arange(len(batch), device=known.device), []
        for step in range(len(batch)):
            other = batch[(rows + step) % len(batch)]
            assert other.source is not None
            score = self.decoder(other.inputs, other.targets, other.lengths, known)
            if step:
                same = (other.tokens == batch.tokens).all(1)
                alike = (other.source[:, 1] == batch.source[:, 1]).all(-1)
                score = score.masked_fill(same | ~alike, torch.finfo(score.dtype).min)
            found.append(score)
        return torch.stack(found)

    def write(self, code: Float[Tensor, "N W"], how: Decoding, reading: Reading | None = None) -> list[list[int]]:
        if reading is None:
            raise DataError("what is told depends on the task\ntry  a reading of object and task")
        told = self._beside(self._listened(code[None], reading), reading)[0]
        if how.method != "greedy":
            return write(self.decoder, told, how, special=self.vocabulary.special)
        first, of = alike(told)
        written = write(self.decoder, told[first], how, special=self.vocabulary.special)
        return [written[kind] for kind in of.tolist()]

    def _listened(self, code: Float[Tensor, "S B W"], reading: Reading) -> Float[Tensor, "S B W2"]:
        """What the receiver knows of z."""
        return self.latent.listened(code, self.params(reading))

    def _beside(self, heard: Float[Tensor, "S B W"], reading: Reading) -> Float[Tensor, "S B W2"]:
        """The task beside what was heard."""
        assert reading.condition is not None
        return torch.cat([heard, reading.condition.expand(len(heard), -1, -1)], -1)

    @torch.no_grad()
    def played(self, batch: Batch, reading: Reading) -> tuple[Shaped[Tensor, "B L K"], Bool[Tensor, "B T_2"]]:
        """The most probable symbols, and which words of y are then told, also with the most probable ones."""
        latent = self.latent
        q = latent.posterior(self.params(reading))  # kept: what is heard is then known
        value = latent.point(q)
        heard = self._listened(latent.code(value[None]), reading)
        return value, self._told(self._beside(heard, reading), batch.targets[:, :-1], _most_probable)[1][0]

    @torch.no_grad()
    def picked(self, batch: Batch, reading: Reading) -> Bool[Tensor, " B"]:
        """Whether each game's y is more probable than that of any other game of the batch with the same task, when the
        most probable symbols are sent."""
        latent = self.latent
        q = latent.posterior(self.params(reading))
        code = latent.code(latent.point(q)[None])
        scores = self._scores(batch, self._beside(self._listened(code, reading), reading))[:, 0]
        return (scores[1:] < scores[0]).all(0)

    # --- training ------------------------------------------------------------------------------------------------

    def turn(self, step: int, epoch: int) -> Turn:
        return REWARD if self.loss == "reward" else Turn()

    def added(self, turn: Turn, batch: Batch, terms: Terms | None, beta: Tensor | float) -> Float[Tensor, " B"] | float:
        """Minus the expected reward, and beta times the rate."""
        if turn is not REWARD:
            return 0.0
        reading = self.read(batch)
        q = self.latent.posterior(self.params(reading))
        draw = self.estimator(q, self.samples)
        heard = self._listened(self.latent.code(draw.value), reading)
        log_p, right = self._told(self._beside(heard, reading), batch.targets[:, :-1], _drawn)
        cost = torch.where(right.all(-1), -self.reward, self.wrong * self.reward).to(log_p)
        control = self.estimator.control(cost, batch)
        scored = dataclasses.replace(draw, score=draw.score + log_p)
        lost = expect(cost, scored, control.baseline, control.scale) + control.fit
        return lost + beta * q.rate(self.latent.prior(), draw)[0] if beta else lost

    def _told(
        self, code: Float[Tensor, "S B W"], wanted: Int[Tensor, "B T"], choose: Callable[[Tensor], Tensor]
    ) -> tuple[Float[Tensor, "S B"], Bool[Tensor, "S B T"]]:
        """log p of the words that ``choose`` makes of log p, and which of them are right."""
        first, of = alike(code.flatten(0, 1))
        words = torch.full((len(first),), self.vocabulary.special.bos, device=code.device)
        state, scores, right = self.decoder.start(code.flatten(0, 1)[first]), [], []
        for column in wanted.repeat(len(code), 1).unbind(1):
            log_p, state = self.decoder.step(words, state)
            log_p = self._words(log_p)[of]
            told = choose(log_p)
            scores.append(log_p.gather(1, told[:, None])[:, 0])
            right.append(told == column)
            kinds, words, of = told_apart(of, told, self.vocabulary.size)
            state = select(state, kinds)
        shape = code.shape[:2]
        return torch.stack(scores).sum(0).view(shape), torch.stack(right, -1).view(*shape, -1)

    def _words(self, log_p: Float[Tensor, "N V"]) -> Float[Tensor, "N V"]:
        """For the reward, log p given that it is a word: an answer has the number of words that is asked for."""
        return log_p if self.loss != "reward" else log_p.index_fill(1, self.silent, NEVER).log_softmax(-1)

    @torch.no_grad()
    def resampled(self, batch: Batch) -> Batch | None:
        if not (self.hard or self.games):
            return batch
        assert batch.source is not None
        won = self.played(batch, self.read(batch))[1].all(1).to(batch.source)
        _, of = batch.source[:, 0].unique(dim=0, return_inverse=True)
        lost = 1 - won.scatter_reduce(0, of, won, "amin", include_self=False)[of]
        if not lost.any():
            return None
        chances = self.hard * lost / lost.sum() + (1 - self.hard) / len(batch)
        return batch[chances.multinomial(self.games or len(batch), replacement=True)]

    @property
    def monitor(self) -> tuple[str, str]:
        return ("game_loss", "1−picked") if self.loss == "pick" else ("game_loss", "1−both")

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        """Of what speaks, and of what reads o; the task is read by both sides."""
        return itertools.chain(self.encoder.parameters(), self.latent.inference_parameters())


def _drawn(log_p: Float[Tensor, "N V"]) -> Int[Tensor, " N"]:
    return log_p.detach().exp().multinomial(1)[:, 0]


def _most_probable(log_p: Float[Tensor, "N V"]) -> Int[Tensor, " N"]:
    return log_p.argmax(-1)
