"""How well a game is played, and what language it is played in."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence

import torch
from torchmetrics import MeanMetric

from lvexp.data.batch import Batch
from lvexp.distributions.sequences import Policy
from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.exhibits import spread
from lvexp.latents.sequence import AbstractSequence
from lvexp.metrics import compositionality
from lvexp.models.base import LatentModel
from lvexp.models.game import GameModel
from lvexp.report import figures
from lvexp.report.findings import Findings, Group, Score, Section, number, row
from lvexp.report.protocol import Protocol
from lvexp.shapes import Shaped, Tensor

Message = compositionality.Message
_SHOWN = 8  # games that are shown


@dataclasses.dataclass(frozen=True)
class _Game:
    """A game that was played with the most probable symbols.

    Attributes:
        seen: features that the object has. task: number. message: what was said. wanted: the answer.
        right: which of its words were told.
    """

    seen: Message
    task: int
    message: Message
    wanted: str
    right: tuple[bool, ...]


class Game(Instrument):
    """Everybody takes the most probable symbol. ``game_both``: share of the games of the test set, whose objects are
    new, with an answer that is right as a whole (with two attributes asked for: both); ``game_one``: with at least one
    right word; the same of the training objects as ``train_both``, ``train_one``. ``game_picked``: share of the games
    whose answer is more probable than that of any other game of its batch with the same task; ``train_picked``.

    Of the language, over all objects and as a mean over tasks if what is said depends on the task:
    ``topographic_similarity``, ``positional_disentanglement``, ``bag_disentanglement``
    (:mod:`lvexp.metrics.compositionality`), ``message_entropy``, nats, ``messages``, how many there are,
    ``message_length`` and ``symbols_used``. The picture shows the share of the objects with each value of an attribute
    among those for which a symbol is said.

    Validations measure ``game_both``, ``game_one`` and ``game_loss``, which selects the best one: 1 - ``game_both``; if
    it is picking that is trained, also ``game_picked``, and ``game_loss`` is 1 - ``game_picked``.
    """

    order = 0

    def __init__(self, context: Context):
        super().__init__(context)
        self.both, self.one, self.picked = (MeanMetric(**context.metric).to(self.model.device) for _ in range(3))
        self.games: list[_Game] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return isinstance(model, GameModel)

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        if not isinstance(model, GameModel):
            return ()
        return ("game_both", "game_one", *(("game_picked",) if model.loss == "pick" else ()), "game_loss")

    def update(self, look: Look) -> None:
        model, batch = self.model, look.terms.batch
        assert isinstance(model, GameModel)
        value, right = model.played(batch, look.terms.reading)
        self.both.update(right.all(1).float())
        self.one.update(right.any(1).float())
        if self._picks:
            self.picked.update(model.picked(batch, look.terms.reading).float())
        if self.context.alone:
            self.games += self._told(batch, value, right)

    def measure(self) -> dict[str, Score]:
        assert isinstance(self.model, GameModel)
        found: dict[str, Score] = {"game_both": float(self.both.compute()), "game_one": float(self.one.compute())}
        if self._picks:
            found["game_picked"] = float(self.picked.compute())
        won = self.picked if self.model.loss == "pick" else self.both
        return found if self.context.alone else {**found, "game_loss": 1 - float(won.compute())}

    @property
    def _picks(self) -> bool:
        """Whether the others of the batch are looked at, which takes as many passes as there are."""
        assert isinstance(self.model, GameModel)
        return self.context.alone or self.model.loss == "pick"

    def _told(self, batch: Batch, value: Shaped[Tensor, "B L K"], right: Tensor) -> list[_Game]:
        assert batch.source is not None
        vectors, texts = batch.source.cpu(), batch.tokens.tolist()
        return [
            _Game(
                tuple(vectors[at, 0].nonzero()[:, 0].tolist()), int(vectors[at, 1].argmax()), message,
                self.model.vocabulary.decode(texts[at]), tuple(right[at].tolist()),
            )
            for at, message in enumerate(self._messages(value))
        ]  # fmt: skip

    def _messages(self, value: Shaped[Tensor, "B L K"]) -> list[Message]:
        """The symbols, without the end; those of the one who answers have numbers of their own."""
        sides, size, end = self._sides, self._policy.size, self._policy.end
        found = []
        for symbols in value.argmax(-1).tolist():
            kept = symbols[: symbols.index(end)] if end in symbols else symbols
            found.append(tuple(symbol + size * (at % sides) for at, symbol in enumerate(kept)))
        return found

    @property
    def _policy(self) -> Policy:
        return self._latent.speaker

    @property
    def _sides(self) -> int:
        return self._latent.sides

    @property
    def _latent(self) -> AbstractSequence:
        assert isinstance(self.model, GameModel)
        return self.model.latent

    # --- the report ----------------------------------------------------------------------------------------------

    def report(self, scores: Scores) -> Findings:
        train = self._played(self.context.splits.get("train", ()))
        found: dict[str, Score] = {}
        if train:
            found["train_both"] = sum(all(game.right) for game in train) / len(train)
            found["train_one"] = sum(any(game.right) for game in train) / len(train)
            found["train_picked"] = self._share_picked(self.context.splits["train"])
        valid = self._played(self.context.splits.get("valid", ()))
        languages = self._languages([*train, *valid, *self.games])
        found |= self._measured(languages)
        return Findings(
            found, self.groups({**scores, **found}), self._verdict({**scores, **found}), [self._section()],
            pictures={"protocol": functools.partial(figures.protocol, *self._protocols(languages))},
        )  # fmt: skip

    def _played(self, batches: Iterable[Batch]) -> list[_Game]:
        model, found = self.model, []
        assert isinstance(model, GameModel)
        for batch in batches:
            batch = batch.to(model.device)
            found += self._told(batch, *model.played(batch, model.read(batch)))
        return found

    def _share_picked(self, batches: Iterable[Batch]) -> float:
        model = self.model
        assert isinstance(model, GameModel)
        each = [model.picked(batch, model.read(batch)) for batch in (one.to(model.device) for one in batches)]
        return float(torch.cat(each).float().mean())

    def _languages(self, games: Sequence[_Game]) -> Mapping[int, dict[Message, _Game]]:
        """Task → object → game; a single task if what is said does not depend on it."""
        found: dict[int, dict[Message, _Game]] = {}
        for game in games:
            found.setdefault(game.task if self._sides > 1 else 0, {})[game.seen] = game
        return dict(sorted(found.items()))

    def _measured(self, languages: Mapping[int, Mapping[Message, _Game]]) -> dict[str, Score]:
        policy = self._policy
        every: list[dict[str, float | None]] = []
        for games in languages.values():
            meanings, messages = [*games], [game.message for game in games.values()]
            columns = compositionality.positions(messages, policy.length)
            every.append({
                "topographic_similarity": compositionality.topographic_similarity(messages, meanings),
                "positional_disentanglement": compositionality.disentanglement(columns, meanings),
                "bag_disentanglement": compositionality.disentanglement(
                    compositionality.counts(messages, policy.size * self._sides), meanings
                ),
                "message_entropy": compositionality.entropy(messages),
                "messages": len(set(messages)),
                "message_length": sum(map(len, messages)) / len(messages),
            })  # fmt: skip
        said = {symbol for games in languages.values() for game in games.values() for symbol in game.message}
        means: dict[str, Score] = {}
        for name in every[0]:
            known = [value for found in every if (value := found[name]) is not None]
            means[name] = sum(known) / len(known) if known else None
        return {**means, "symbols_used": len(said)}

    @staticmethod
    def groups(scores: Scores) -> Sequence[Group]:
        def percent(name: str) -> str:
            return number(None if scores.get(name) is None else 100 * float(scores[name] or 0), ".1f")

        found = {name: number(scores[name]) for name in ("topographic_similarity", "message_entropy", "message_length")}
        found |= {name: number(scores[f"{name}_disentanglement"]) for name in ("positional", "bag")}
        none, messages = "one message for all", f"{number(scores['messages'], '.0f')} messages"
        return [
            ("Game", [
                row("all right", percent("game_both"), "% of games", "new objects; the most probable symbols"),
                row("one or more", percent("game_one"), "% of games", "new objects"),
                row("  trained on", percent("train_both"), "% all right", "objects of training", "no training texts"),
                row("picked", percent("game_picked"), "% of games", "told apart from the others of its batch"),
                row("  trained on", percent("train_picked"), "% of games", "objects of training", "no training texts"),
            ]),
            ("Language", [
                row("topographic sim.", found["topographic_similarity"], "of 1", "edits against attributes", none),
                row("positional dis.", found["positional"], "of 1", "", none),
                row("bag-of-symbols dis.", found["bag"], "of 1", "", none),
                row("entropy", found["message_entropy"], "nats", messages),
                row("length", found["message_length"], "symbols", f"{scores['symbols_used']} symbols in use"),
            ]),
        ]  # fmt: skip

    @staticmethod
    def _verdict(scores: Scores) -> str:
        both, one = (100 * float(scores[name] or 0) for name in ("game_both", "game_one"))
        line = f"game: {both:.1f}% of new objects all right, {one:.1f}% at least in part"
        if scores.get("train_both") is not None:
            line += f" (objects of training: {100 * float(scores['train_both'] or 0):.1f}%)"
        return f"{line}; topographic similarity {number(scores['topographic_similarity'])}"

    def _section(self) -> Section:
        shown = [self.games[at] for at in spread(len(self.games), _SHOWN)]
        rows = [
            (game.wanted, " ".join(map(str, game.message)) or "(nothing)", "right" if all(game.right) else
             "in part" if any(game.right) else "wrong")
            for game in shown
        ]  # fmt: skip
        return Section(
            "Games", [("", f"{wanted} ← {said}: {told}") for wanted, said, told in rows],
            "what is to be told, what is said, and whether the answer is right", ("answer", "said", "told"), rows,
        )  # fmt: skip

    def _protocols(self, languages: Mapping[int, Mapping[Message, _Game]]) -> tuple[list[Protocol], list[str]]:
        policy, names, sides = self._policy, self._names(languages), self._sides
        features, symbols = sorted(names), policy.size - (policy.end is not None)

        def shares(games: Mapping[Message, _Game], place: int, symbol: int) -> list[float] | None:
            own = (symbol + policy.size * (place % sides),)
            here = [seen for seen, game in games.items() if game.message[place : place + 1] == own]
            return [sum(feature in seen for seen in here) / len(here) for feature in features] if here else None

        found = []
        for games in languages.values():
            one = next(iter(games.values()))
            asked = [1 + at for word in one.wanted.split() for at, seen in enumerate(one.seen) if names[seen] == word]
            title = f"attributes {', '.join(map(str, asked))}" if sides > 1 else "message"
            table = [[shares(games, place, one) for one in range(symbols)] for place in range(policy.length)]
            found.append(Protocol(title, [names[feature] for feature in features], table))
        turns = [f"{'question' if at % 2 == 0 else 'answer'} {1 + at // 2}" for at in range(policy.length)]
        return found, turns if sides > 1 else [f"symbol {at + 1}" for at in range(policy.length)]

    def _names(self, languages: Mapping[int, Mapping[Message, _Game]]) -> dict[int, str]:
        """Feature → the word that is told of exactly the objects that have it, otherwise its number."""
        told: dict[str, set[int]] = {}
        games = [game for part in languages.values() for game in part.values()]
        for game in games:
            for word in game.wanted.split():
                told[word] = told.get(word, {*game.seen}) & {*game.seen}
        found = {feature: str(feature) for game in games for feature in game.seen}
        return found | {next(iter(of)): word for word, of in told.items() if len(of) == 1}
