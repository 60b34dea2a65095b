"""A dialogue: one asks, the other answers."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import ClassVar, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.distributions.sequences import Sequences
from lvexp.latents.sequence import AbstractSequence
from lvexp.networks.alike import alike, told_apart
from lvexp.networks.speaker import NEVER
from lvexp.shapes import Float, Int, Shaped, Tensor

Cell = tuple[Tensor, Tensor]  # of an LSTM, both [M, H]


class Side(NamedTuple):
    """What one of the two knows. Games in which the same was heard have one state.

    Attributes:
        cell: a row for each state that occurs, [M, H] both.
        seen: what was seen in each, [M, E].
        of: the state of each game, [N].
    """

    cell: Cell
    seen: Float[Tensor, "M E"]
    of: Int[Tensor, " N"]


class Heard(NamedTuple):
    """The state of a dialogue: of the questioner, who saw the task, and of the answerer, who saw the object; of the
    answerer before anything was said; and how many symbols have been said."""

    questioner: Side
    answerer: Side
    before: Side
    turn: int


class Talk(nn.Module):
    """The two that talk (Kottur et al. 2017, section 4). Each hears what it says itself.

    Args:
        features: width of the vectors of object and task. rounds, questions, answers, hidden, embedding, memory: as
            :class:`Dialogue` has them.
    """

    end: int | None = None
    least: int = 0

    def __init__(
        self, features: int, rounds: int, questions: int, answers: int, hidden: int, embedding: int, memory: bool
    ):
        super().__init__()
        self.length, self.size = 2 * rounds, max(questions, answers)
        self.sizes, self.hidden, self.memory = (questions, answers), hidden, memory
        self.task = nn.Linear(features, embedding, bias=False)
        # what each hears: of itself, and of the other
        self.question, self.asked, self.answer = (nn.Linear(self.size, embedding, bias=False) for _ in range(3))
        self.told = nn.Linear(self.size, embedding, bias=False) if memory else None
        self.questioner = nn.LSTMCell(embedding, hidden)
        self.answerer = nn.LSTMCell(embedding + features, hidden)
        self.outputs = nn.ModuleList(nn.Linear(hidden, size) for size in self.sizes)
        for layer in (part for part in self.modules() if isinstance(part, nn.Linear)):
            nn.init.xavier_uniform_(layer.weight)

    def start(self, params: Float[Tensor, "N P"]) -> Heard:
        seen, task = (self._seen(part) for part in params.chunk(2, -1))
        return Heard(task._replace(cell=self.questioner(self.task(task.seen), task.cell)), seen, seen, 0)

    def _seen(self, vectors: Float[Tensor, "N E"]) -> Side:
        """Nothing was heard yet."""
        first, of = alike(vectors)
        nothing = vectors.new_zeros(len(first), self.hidden)
        return Side((nothing, nothing), vectors[first], of)

    def speak(self, state: Heard) -> Float[Tensor, "N K"]:
        turn = state.turn % 2
        side = state.answerer if turn else state.questioner
        return _padded(self.outputs[turn](side.cell[0]), self.size)[side.of]

    def listen(self, symbol: Float[Tensor, "N K"], state: Heard) -> Heard:
        questioner, answerer = state.questioner, state.answerer
        if state.turn % 2 == 0:
            side, heard = _hearing(questioner, symbol, self.question)
            questioner = side._replace(cell=self.questioner(heard, side.cell))
            if not self.memory:  # what was heard before is forgotten: only what was seen is left
                answerer = state.before
            side, heard = _hearing(answerer, symbol, self.asked)
            answerer = side._replace(cell=self.answerer(torch.cat([heard, side.seen], -1), side.cell))
        else:
            side, heard = _hearing(questioner, symbol, self.answer)
            questioner = side._replace(cell=self.questioner(heard, side.cell))
            if self.told is not None and state.turn + 1 < self.length:  # the last answer is for the other alone
                side, heard = _hearing(answerer, symbol, self.told)
                answerer = side._replace(cell=self.answerer(torch.cat([heard, side.seen], -1), side.cell))
        return Heard(questioner, answerer, state.before, state.turn + 1)


def _hearing(side: Side, symbol: Float[Tensor, "N K"], layer: nn.Linear) -> tuple[Side, Float[Tensor, "M E"]]:
    """The states that one has been in before, one for each that will differ, and the vector of the symbol that each
    hears. A relaxed symbol is heard by each game for itself, and so is any on a GPU, which would be waited for."""
    alone = symbol.device.type != "cpu" or symbol.requires_grad
    if alone or not bool((symbol.amax(-1) == 1).all()):
        states, of, heard = side.of, torch.arange(len(symbol), device=symbol.device), layer(symbol)
    else:
        states, words, of = told_apart(side.of, symbol.argmax(-1), symbol.shape[-1])
        heard = layer.weight.t()[words]
    hidden, cell = (part[states] for part in side.cell)
    return Side((hidden, cell), side.seen[states], of), heard


class Anything(nn.Module):
    """Both say any of their symbols with the same probability."""

    end: int | None = None
    least: int = 0

    def __init__(self, talk: Talk):
        super().__init__()
        self.length, self.size, self.sizes = talk.length, talk.size, talk.sizes

    def start(self, params: Float[Tensor, "N P"]) -> tuple[Tensor, int]:
        return params, 0

    def speak(self, state: tuple[Tensor, int]) -> Float[Tensor, "N K"]:
        params, turn = state
        return _padded(params.new_zeros(len(params), self.sizes[turn % 2]), self.size)

    def listen(self, symbol: Float[Tensor, "N K"], state: tuple[Tensor, int]) -> tuple[Tensor, int]:
        return state[0], state[1] + 1


def _padded(logits: Float[Tensor, "N M"], size: int) -> Float[Tensor, "N K"]:
    """log p of all symbols, of which only the first can come."""
    return F.pad(logits.log_softmax(-1), (0, size - logits.shape[-1]), value=NEVER)


class Dialogue(AbstractSequence):
    r"""z = q_1 a_1 … q_R a_R: questions of one agent, who knows the task, and answers of another, who sees the object
    (Kottur et al. 2017). Both are LSTMs; the questioner's last state is what the answer to the task is told from.

    The prior is uniform: the rate is what the dialogue tells, and its weight keeps both from settling on a language too
    early. Parameters P = 2H: object and task.

    Args:
        features: H, width of the vectors of object and task.
        dim: R, rounds. questions: number of symbols of the questioner. answers: of the answerer.
        memory: whether the answerer remembers earlier rounds.
        hidden: width of both states. embedding: width of the vectors of symbols and tasks.
    """

    sides: ClassVar[int] = 2
    speaker: Talk  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        features: int,
        dim: int = 2,
        questions: int = 3,
        answers: int = 4,
        memory: bool = False,
        hidden: int = 100,
        embedding: int = 20,
    ):
        super().__init__()
        self.speaker = Talk(features, dim, questions, answers, hidden, embedding, memory)
        self.before = Anything(self.speaker)
        self.register_buffer("nothing", torch.zeros(0), persistent=False)
        self.dim, self.width = 2 * dim, self.speaker.length * self.speaker.size
        self._last: weakref.ref[Sequences] | None = None

    @property
    def heard(self) -> int:
        return 2 * self.speaker.hidden

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return self.speaker.parameters()

    def params(self, features: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        return features

    def posterior(self, params: Float[Tensor, "B P"]) -> Sequences:
        found = super().posterior(params)
        self._last = weakref.ref(found)
        return found

    def code(self, value: Shaped[Tensor, "S B L K"]) -> Float[Tensor, "S B W"]:
        return value.flatten(-2)

    def listened(self, code: Float[Tensor, "S B W"], params: Float[Tensor, "B P"]) -> Float[Tensor, "S B H"]:
        """What the questioner knows after the last answer, its h and its c. If z was drawn from the last posterior,
        nothing of it has to be heard again."""
        q = None if self._last is None else self._last()
        if q is None or q.params is not params:
            q = self.posterior(params)
        walk = q.read(code.unflatten(-1, q.event_shape))
        end = self.speaker.listen(walk.value[:, -1], walk.state).questioner
        return torch.cat(end.cell, -1)[end.of].view(*code.shape[:-1], self.heard)
