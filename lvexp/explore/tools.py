"""What the page can ask of a model. Each tool is a form and an answer in rows; one that a kind of model cannot use says
why."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import LvexpError, RunError
from lvexp.explore import texts
from lvexp.explore.shelf import Shelf
from lvexp.instruments.base import seeded
from lvexp.latents.base import AbstractLatent
from lvexp.latents.mixed import Mixed
from lvexp.latents.sequence import AbstractSequence
from lvexp.loading import Run, load
from lvexp.models.attributes import AttributeModel
from lvexp.models.base import LatentModel
from lvexp.models.document import DocumentModel
from lvexp.models.records import batch
from lvexp.networks.writing import Decoding
from lvexp.reading import Reading
from lvexp.shapes import Float, Tensor

#: tokens after which a text is cut
LONGEST = 60
_OPEN = 4  # runs that stay in memory
_MOST = 100  # texts of one answer
_BESIDE, _TAGS = "=>", "|"  # source | tags => text

Answer = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Tool:
    """A form of the page.

    Attributes:
        name: as it is asked for. title: of the form. hint: what it does.
        fields: name, label, and kind: ``record`` (a text, typed or clicked on the map), ``text``, ``area``, ``number``
            with ``min``, ``max``, ``step``, or ``choice`` with ``options``, each a value and its label.
        why_not: why this model cannot do it.
    """

    name: str
    title: str
    hint: str
    fields: Sequence[Mapping[str, Any]] = ()
    why_not: str | None = None


class Rooms:
    """The runs that were opened last."""

    def __init__(self, shelf: Shelf, trust: Collection[str] = ()):
        self.shelf, self.trust = shelf, trust
        self.open: collections.OrderedDict[str, Room] = collections.OrderedDict()

    def ask(self, question: Mapping[str, Any]) -> Any:
        """The answer to ``{"run": …, "tool": …, …}``; ``open`` asks for the tools, ``map`` for the map.

        Raises:
            LvexpError, ValueError: it cannot be answered.
        """
        room, tool = self.room(str(question["run"])), str(question["tool"])
        if tool == "open":
            return {
                "about": repr(room.run),
                "form": room.form,
                "tools": [dataclasses.asdict(one) for one in room.tools],
            }
        if tool == "map":
            return room.texts.map()
        return room.use(tool, question)

    def room(self, run: str) -> Room:
        file = self.shelf.file(run, "checkpoints/best.ckpt")
        if run not in self.open:
            self.open[run] = Room(load(file.parent.parent, trust=self.trust), self.trust)
            if len(self.open) > _OPEN:
                self.open.popitem(last=False)
        self.open.move_to_end(run)
        return self.open[run]


class Room:
    """One opened run.

    Attributes:
        form: how a text is typed for its model.
    """

    def __init__(self, run: Run, trust: Collection[str] = ()):
        self.run, self.trust = run, trust
        self.model: LatentModel = run.model
        self._texts: texts.Texts | LvexpError | None = None
        reads = [part for part in self.model.reads if part in ("source", "tags")]
        self.form = {(): "text", ("source",): "source => text"}.get(tuple(reads), "source | tags => text")

    @property
    def texts(self) -> texts.Texts:
        """The test set; raises the same error every time if it is not there."""
        if self._texts is None:
            try:
                self._texts = texts.read(self.run, self.trust)
            except LvexpError as error:
                self._texts = error
        if isinstance(self._texts, LvexpError):
            raise self._texts
        return self._texts

    def use(self, name: str, asked: Mapping[str, Any]) -> Answer:
        """The answer of a tool: ``columns`` and ``rows``, and sometimes a ``note``."""
        tool = next((tool for tool in self.tools if tool.name == name), None)
        if tool is None:
            raise RunError(f"there is no tool {name}")
        if tool.why_not:
            raise RunError(tool.why_not)
        with torch.no_grad(), seeded(_whole(asked.get("seed", 1), 0, 2**31)):
            return getattr(self, f"_{name}")(asked)

    # --- what there is -------------------------------------------------------------------------------------------

    @property
    def tools(self) -> list[Tool]:
        """What can be asked; ordered by variance once the test set is known."""
        model, latent, offers = self.model, self.model.latent, self.model.offers
        placed = texts.unplaced(model)
        silent = None if model.writes or isinstance(model, DocumentModel) else "the model writes no texts"
        discrete = "z is discrete: between two of its values lies nothing"
        line = placed or silent or (None if latent.continuous else discrete)
        sequence = "z is a sequence" if isinstance(latent, AbstractSequence) else None
        record, steps = _field("a", "record", "text"), _number("steps", 7, 2, 25)
        found = [
            Tool(
                "sample", "Sample", "z from its prior, then words from p(x|z)",
                [*self._sample_fields(), *_SAMPLING],
                self._unsampled(),
            ),
            Tool(
                "between", "Interpolate", "texts on the line between two; click both on the map",
                [{**record, "name": "a", "label": "from"}, {**record, "name": "b", "label": "to"}, steps],
                line,
            ),
            Tool(
                "along", "Move along a dimension", "one dimension of z changes, the others stay those of a text",
                [{**record, "name": "a"}, {**_field("knob", "choice", "dimension"), "options": self._knobs()}, steps],
                placed or silent or sequence,
            ),
            Tool(
                "near", "Nearest neighbours", "texts of the test set with the nearest z",
                [{**record, "name": "a"}, _number("count", 10, 1, 50)],
                placed,
            ),
            Tool(
                "sum", "Vector arithmetic", "a − b + c, written out, and the nearest texts",
                [{**record, "name": name, "label": name} for name in "abc"],
                line,
            ),
        ]  # fmt: skip
        for name, tool in _OWN.items():
            if name in offers or (name == "write" and "source" in model.reads and model.writes):
                fields = [
                    {**field, "options": self._classes()} if field["name"] == "class" else field
                    for field in tool.fields
                ]
                typed = None
                if name == "write" and (isinstance(model.sources, Features) or "tags" in model.reads):
                    continue
                if name == "analyse" and not getattr(model, "infers", False):
                    typed = "the model was not trained to infer tags"
                found.append(dataclasses.replace(tool, fields=fields, why_not=typed))
        return found

    def _unsampled(self) -> str | None:
        model, latent = self.model, self.model.latent
        if not model.writes:
            return "the model writes no texts"
        if latent.dim is not None and not latent.has_prior:
            return "an auto-encoder has no prior to draw from"
        return None

    def _sample_fields(self) -> list[dict[str, Any]]:
        if "source" in self.model.reads:
            return [{"name": "a", "kind": "record", "label": "given the source of"}]
        if isinstance(self.model, AttributeModel):
            options = [["", "any"], *self._classes()]
            return [{"name": "class", "kind": "choice", "label": "class", "options": options}]
        return []

    def _classes(self) -> list[list[str]]:
        named = self.model.named if isinstance(self.model, AttributeModel) else {}
        return [[f"{name}={label}", f"{name}={label}"] for name, labels in named.items() for label in labels]

    def _knobs(self) -> list[list[str]]:
        """What can be moved: each continuous dimension, each discrete variable. Those that vary most come first, once
        the test set is known."""
        latent, found = self.model.latent, []
        if latent.dim is None or isinstance(latent, AbstractSequence):
            return []
        for name, part in _parts(latent).items():
            kind = "variable" if part.values else "dimension"
            told = f"{name}: {kind}" if name else kind
            found += [[f"{name}:{at}", f"{told} {at}"] for at in range(part.dim or 0)]
        if isinstance(self._texts, texts.Texts) and not latent.values:
            spread = self._texts.places.var(0).tolist()
            order = sorted(range(len(found)), key=lambda at: -spread[at])
            found = [[found[at][0], f"{found[at][1]} (variance {spread[at]:.3f})"] for at in order]
        return found

    # --- texts and places ----------------------------------------------------------------------------------------

    def _batch(self, asked: Any) -> Batch:
        """The batch of a text: a row of the map, ``{"row": 3}``, or what was typed, ``{"typed": "…"}``."""
        if not isinstance(asked, Mapping) or not (asked.get("row") is not None or str(asked.get("typed", "")).strip()):
            raise RunError("a text is missing\ntry  click one on the map, or type it")
        if asked.get("row") is not None:
            known = self.texts
            return known.batches[_whole(asked["row"], 0, len(known.batches) - 1)]
        typed, model = str(asked["typed"]).strip(), self.model
        if isinstance(model.sources, Features):
            raise RunError("the model reads vectors, which cannot be typed\ntry  click on the map")
        record: dict[str, Any] = {"text": typed}
        if "source" in model.reads:
            source, _, text = typed.partition(_BESIDE)
            source, _, tags = source.partition(_TAGS)
            record = {"source": source.strip(), "text": text.strip(), "tags": tags.strip()}
        if "label" in model.reads:
            record["label"] = 0  # not looked at: places() has p(z|x) then
        names = model.attribute_names
        return batch(self.run.vocabulary, [record], model.reads, model.labels, model.sources, names).to(model.device)

    def _point(self, asked: Any) -> tuple[Tensor, Float[Tensor, " D"], Reading | None]:
        """The value of z of a text, its place, and what its writing depends on beside z."""
        batch = self._batch(asked)
        value, place, _ = texts.places(self.model, batch)
        return value[0], place[0], self.model.read(batch) if "source" in self.model.reads else None

    def _written(self, values: Tensor, reading: Reading | None) -> list[str]:
        """A text for each value of z; of a document model, its most probable words."""
        model = self.model
        code = model.latent.code(values[None])[0]
        if isinstance(model, DocumentModel):
            best = model.decoder.words(code).topk(min(10, model.vocabulary.size)).indices
            return [model.vocabulary.decode(row) for row in best.tolist()]
        assert isinstance(model.vocabulary, Vocabulary), "a model that writes texts"
        given = None if reading is None else reading[torch.zeros(len(code), dtype=torch.long)]
        return [model.vocabulary.decode(ids) for ids in model.write(code, Decoding(max_length=LONGEST), given)]

    def _nearest(self, place: Float[Tensor, " D"], count: int) -> list[list[str]]:
        known = self.texts
        far = (known.places - place).square().sum(-1).sqrt()
        rows = far.argsort()[:count].tolist()
        label: dict[int, str] = {}
        for names, of in [*known.classes.values()][:1]:
            label = {row: str(names[of[row]]) for row in rows if 0 <= of[row] < len(names)}
        return [[f"{float(far[row]):.3f}", label.get(row, ""), str(known.shown[row])] for row in rows]

    # --- the tools -----------------------------------------------------------------------------------------------

    def _sample(self, asked: Mapping[str, Any]) -> Answer:
        how = {
            "temperature": _real(asked, "temperature", 1.0),
            "top_p": _real(asked, "top_p", 1.0),
            "max_length": LONGEST,
        }
        count, model = _whole(asked.get("count", 10), 1, _MOST), self.model
        if "source" in model.reads:
            reading = model.read(self._batch(asked.get("a")))[torch.zeros(count, dtype=torch.long)]
            ids = model.write(model.code(reading, draw=True), Decoding(method="sample", **how), reading)
            found = [model.vocabulary.decode(text) for text in ids]
        else:
            chosen = str(asked.get("class") or "")
            c = dict([chosen.split("=", 1)]) if chosen else None
            found = self.run.sample(count, seed=_whole(asked.get("seed", 1), 0, 2**31), c=c, **how)
        return _rows(["sample"], [[text] for text in found])

    def _between(self, asked: Mapping[str, Any]) -> Answer:
        (a, _, reading), (b, _, _) = self._point(asked.get("a")), self._point(asked.get("b"))
        steps = _whole(asked.get("steps", 7), 2, _MOST)
        shares = [step / (steps - 1) for step in range(steps)]
        values = torch.stack([self.model.latent.between(a, b, share) for share in shares])
        rows = [[f"{share:.2f}", text] for share, text in zip(shares, self._written(values, reading), strict=True)]
        note = "the source is that of the first text" if reading is not None else ""
        if self.model.latent.values:
            note = "what is discrete keeps its value of the first text"
        return _rows(["share", "text"], rows, note)

    def _along(self, asked: Mapping[str, Any]) -> Answer:
        value, _, reading = self._point(asked.get("a"))
        name, _, at = str(asked.get("knob", "")).rpartition(":")
        parts, latent = _parts(self.model.latent), self.model.latent
        if name not in parts:
            raise RunError("there is no such dimension")
        part, split = parts[name], _split(latent, value)
        moved, index = [], _whole(at, 0, (part.dim or 1) - 1)
        if part.values:
            settings = [float(k) for k in range(part.values[index])]
        else:
            points = [_split(latent, point)[name] for point in self.texts.points]
            low, high = part.span(index, torch.stack(points))
            steps = _whole(asked.get("steps", 7), 2, _MOST)
            settings = [low + (high - low) * step / (steps - 1) for step in range(steps)]
        for setting in settings:
            moved.append(_joined(latent, {**split, name: part.moved(split[name], index, setting)}))
        written = self._written(torch.stack(moved), reading)
        form = "{:.0f}" if part.values else "{:.2f}"
        now = int(split[name][index].argmax() if split[name].ndim > 1 else split[name][index]) if part.values else None
        own = f"the text itself has {now}" if part.values else f"the text itself is at {float(split[name][index]):.2f}"
        return _rows(["z", "text"], [[form.format(x), text] for x, text in zip(settings, written, strict=True)], own)

    def _near(self, asked: Mapping[str, Any]) -> Answer:
        _, place, _ = self._point(asked.get("a"))
        return _rows(["distance", "class", "text"], self._nearest(place, _whole(asked.get("count", 10), 1, _MOST)))

    def _sum(self, asked: Mapping[str, Any]) -> Answer:
        (a, x, reading), (b, y, _), (c, z, _) = (self._point(asked.get(name)) for name in "abc")
        latent = self.model.latent
        each = [_split(latent, value) for value in (a, b, c)]
        total = {
            name: each[0][name] if part.values else part.onto(each[0][name] - each[1][name] + each[2][name])
            for name, part in _parts(latent).items()
        }
        (text,) = self._written(_joined(latent, total)[None], reading)
        rows = [["", "", text], *self._nearest(x - y + z, 5)]
        return _rows(["distance", "class", "text"], rows, "first what is written, then the nearest texts")

    def _write(self, asked: Mapping[str, Any]) -> Answer:
        found = self.run.n_best([_typed(asked, "source")], _whole(asked.get("count", 5), 1, 20), max_length=LONGEST)[0]
        return _rows(["log p", "text"], [[f"{score:.2f}", text] for text, score in found])

    def _transfer(self, asked: Mapping[str, Any]) -> Answer:
        name, _, label = str(asked.get("class", "")).partition("=")
        return _rows(["text"], [self.run.transfer([_typed(asked, "text")], {name: label}, max_length=LONGEST)])

    def _attributes(self, asked: Mapping[str, Any]) -> Answer:
        (found,) = self.run.attributes([_typed(asked, "text")])
        return _rows(
            ["attribute", "class", "probability"], [[name, str(c), f"{p:.3f}"] for name, (c, p) in found.items()]
        )

    def _compress(self, asked: Mapping[str, Any]) -> Answer:
        text, most = _typed(asked, "text"), self.model.latent.dim or 1
        counts = range(1, min(len(text.split()), most) + 1)
        return _rows(["words", "text"], [[str(n), self.run.compress([text], words=n)[0]] for n in counts])

    def _rank(self, asked: Mapping[str, Any]) -> Answer:
        answers = [line.strip() for line in _typed(asked, "answers").splitlines() if line.strip()][:_MOST]
        found = self.run.rank(_typed(asked, "question"), answers)
        return _rows(["p(right)", "answer"], [[f"{p:.4f}", answer] for answer, p in found])

    def _topics(self, asked: Mapping[str, Any]) -> Answer:
        found = self.run.topics(_whole(asked.get("count", 10), 1, _MOST))
        return _rows(["topic", "words"], [[str(at), " ".join(words)] for at, words in enumerate(found)])

    def _inflect(self, asked: Mapping[str, Any]) -> Answer:
        return _rows(["form"], [self.run.inflect([_typed(asked, "word")], _typed(asked, "tags"), max_length=LONGEST)])

    def _analyse(self, asked: Mapping[str, Any]) -> Answer:
        (found,) = self.run.analyse([_typed(asked, "word")])
        return _rows(["key", "value", "probability"], [[key, value, f"{p:.3f}"] for key, (value, p) in found.items()])


# --- values of z, block by block ---------------------------------------------------------------------------------


def _parts(latent: AbstractLatent) -> Mapping[str, AbstractLatent]:
    return latent.parts if isinstance(latent, Mixed) else {"": latent}


def _split(latent: AbstractLatent, value: Tensor) -> dict[str, Tensor]:
    return latent.prior().split(value) if isinstance(latent, Mixed) else {"": value}


def _joined(latent: AbstractLatent, parts: Mapping[str, Tensor]) -> Tensor:
    return latent.prior().joined(parts) if isinstance(latent, Mixed) else parts[""]


# --- questions and answers ---------------------------------------------------------------------------------------


def _number(
    name: str, value: float, low: float, high: float, step: float = 1, label: str | None = None
) -> dict[str, Any]:
    return {
        "name": name, "label": label or name, "kind": "number", "value": value, "min": low, "max": high, "step": step,
    }  # fmt: skip


def _field(name: str, kind: str = "text", label: str | None = None) -> dict[str, Any]:
    return {"name": name, "kind": kind, "label": label or name}


_SAMPLING = [
    _number("count", 10, 1, _MOST, label="texts"), _number("temperature", 1, 0.1, 3, 0.1),
    _number("top_p", 1, 0.05, 1, 0.05, "top-p"), _number("seed", 1, 0, 2**31),
]  # fmt: skip
#: what models of one kind offer
_OWN = {
    tool.name: tool
    for tool in (
        Tool(
            "write", "Write", "the best texts for a source, by beam search",
            [_field("source"), _number("count", 5, 1, 20, label="texts")],
        ),
        Tool(
            "rank", "Rank answers", "by the probability that they are right",
            [_field("question"), _field("answers", "area", "answers, one a line")],
        ),
        Tool("topics", "Topics", "the words with the largest weights", [_number("count", 10, 1, _MOST, label="words")]),
        Tool(
            "transfer", "Another class", "the text, written with another class",
            [_field("text"), _field("class", "choice")],
        ),
        Tool("attributes", "Classify", "the most probable class of each attribute", [_field("text")]),
        Tool("compress", "Compress", "a text in fewer words", [_field("text")]),
        Tool(
            "inflect", "Inflect", "the form of a word with these tags",
            [_field("word"), _field("tags", label="tags, KEY=VALUE,…")],
        ),
        Tool("analyse", "Analyse", "the most probable tags of a word", [_field("word")]),
    )
}  # fmt: skip


def _rows(columns: Sequence[str], rows: Sequence[Sequence[str]], note: str = "") -> Answer:
    return {"columns": list(columns), "rows": [list(row) for row in rows], "note": note}


def _typed(asked: Mapping[str, Any], name: str) -> str:
    text = str(asked.get(name) or "").strip()
    if not text:
        raise RunError(f"{name} is missing\ntry  type it")
    return text


def _whole(typed: Any, low: int, high: int) -> int:
    try:
        number = int(typed)
    except (TypeError, ValueError, OverflowError) as error:
        raise RunError(f"{typed!r} is no whole number") from error
    if not low <= number <= high:
        raise RunError(f"{number} is not between {low} and {high}")
    return number


def _real(asked: Mapping[str, Any], name: str, usual: float) -> float:
    try:
        return float(asked.get(name, usual))
    except (TypeError, ValueError) as error:
        raise RunError(f"{name}={asked[name]!r} is no number") from error
