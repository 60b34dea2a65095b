"""What the page can ask of a model of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import made
import pytest
import torch

from lvexp.errors import LvexpError
from lvexp.explore.shelf import Shelf
from lvexp.explore.tools import Room, Rooms
from lvexp.loading import load

#: kind → what its page offers; of the usual tools the others are greyed, with a reason
OFFERED = {
    "svae": "sample between along near sum",
    "rnnlm": "sample",
    "ae": "between along near sum",
    "vmf": "sample between along near sum",
    "categoricals": "sample along near",
    "binary": "sample along near",
    "symbols": "sample near",
    "m2": "sample between along near sum transfer attributes",
    "control": "sample between along near sum transfer attributes",
    "prodlda": "between along near sum topics",
    "dirichlet": "between along near sum topics",
    "nasm": "near rank",
    "seq2seq": "sample write",
    "cvae": "sample between along near sum write",
    "msved": "sample between along near sum inflect analyse",
    "codec": "sample compress",
    "toy": "near",
    "game": "sample near",
}
TYPED = {
    "text": "the cat and dog", "source": "what is 3", "question": "what is 3", "answers": "the cat\nthe box",
    "word": "what is 3", "tags": "num=sg",
}  # fmt: skip


def question(room: Room, tool: Any) -> dict[str, Any]:
    """Something to ask of a tool, as the page would."""
    asked: dict[str, Any] = {"tool": tool.name}
    for field in tool.fields:
        name = field["name"]
        if field["kind"] == "record":
            mapped = room.model.latent.dim is not None
            asked[name] = {"row": "abc".index(name)} if mapped else {"typed": "what is 3 => the"}
        elif field["kind"] == "choice":
            asked[name] = field["options"][-1][0]
        else:
            asked[name] = str(field.get("value", TYPED.get(name)))
    return asked


#: trained for this test alone, with reports that take long
LATE = ("symbols", "vmf", "m2", "game", "control", "cvae", "codec")


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in LATE else kind for kind in made.KINDS]
)
def test_every_tool_answers_or_says_why_not(kind: str, trained: Callable[[str], Path]):
    shelf = Shelf(trained(kind))
    (run,) = shelf.runs()
    rooms = Rooms(shelf)
    room = rooms.room(run)
    if room.model.latent.dim is not None and kind != "codec":
        found = rooms.ask({"run": run, "tool": "map"})
        assert len(found["x"]) == len(found["texts"]) == len(found["rates"]) == found["total"] > 10
        assert all(texts.strip() for texts in found["texts"])
    else:
        with pytest.raises(LvexpError):
            rooms.ask({"run": run, "tool": "map"})
    tools = {tool.name: tool for tool in room.tools}
    assert " ".join(name for name, tool in tools.items() if not tool.why_not) == OFFERED[kind]
    for tool in tools.values():
        if tool.why_not:
            with pytest.raises(LvexpError, match=tool.why_not):
                rooms.ask({"run": run, "tool": tool.name})
            continue
        asked = {"run": run, **question(room, tool)}
        answer = rooms.ask(asked)
        assert answer["rows"]
        assert all(len(row) == len(answer["columns"]) for row in answer["rows"])
        assert rooms.ask(asked) == answer, "the same question, the same answer"


@pytest.fixture
def room(trained: Callable[[str], Path]) -> Room:
    (folder,) = trained("svae").glob("*/*")
    return Room(load(folder))


def test_the_map_is_that_of_the_posterior_means(room: Room):
    known = room.texts
    assert torch.equal(known.points, known.places)
    words = [text for text in known.shown if "<unk>" not in text]
    again = room.run.encode(words)
    rows = [known.shown.index(text) for text in words]
    assert torch.allclose(known.places[rows], again, atol=1e-5)
    assert known.lengths == [len(text.split()) for text in known.shown]


def test_ends_of_a_line_are_the_reconstructions(room: Room):
    a, b = room.texts.shown[0], room.texts.shown[5]
    rows = room.use("between", {"a": {"row": 0}, "b": {"typed": b}, "steps": "4"})["rows"]
    assert [row[0] for row in rows] == ["0.00", "0.33", "0.67", "1.00"]
    assert [rows[0][1], rows[-1][1]] == room.run.reconstruct([a, b], max_length=60)


def test_a_dimension_moves_alone(room: Room, monkeypatch: pytest.MonkeyPatch):
    moved: list[torch.Tensor] = []
    monkeypatch.setattr(room, "_written", lambda values, reading: moved.append(values) or [""] * len(values))
    room.use("along", {"a": {"row": 2}, "knob": ":1", "steps": 5})
    others = [0, 2, 3]
    assert torch.allclose(moved[0][:, others], room.texts.points[2, others].expand(5, -1), atol=1e-5)
    assert moved[0][:, 1].diff().min() > 0


def test_a_text_is_its_own_neighbour(room: Room):
    rows = room.use("near", {"a": {"typed": room.texts.shown[3]}, "count": 3})["rows"]
    assert rows[0][0] == "0.000"
    assert [float(row[0]) for row in rows] == sorted(float(row[0]) for row in rows)
    # a - a + c is c
    rows = room.use("sum", {"a": {"row": 1}, "b": {"row": 1}, "c": {"row": 4}})["rows"]
    assert rows[0][2] == room.run.reconstruct([room.texts.shown[4]], max_length=60)[0]
    assert rows[1][0] == "0.000"


def test_samples_are_those_of_the_run(room: Room):
    rows = room.use("sample", {"count": 4, "temperature": "0.5", "top_p": 0.9, "seed": 3})["rows"]
    assert [row[0] for row in rows] == room.run.sample(4, seed=3, temperature=0.5, top_p=0.9, max_length=60)


@pytest.mark.parametrize(
    ("tool", "asked", "said"),
    [
        ("between", {"a": {"row": 0}}, "a text is missing"),
        ("between", {"a": {"row": 0}, "b": {"row": 10**6}}, "is not between"),
        ("between", {"a": {"row": 0}, "b": {"typed": "the"}, "steps": "many"}, "'many' is no whole number"),
        ("along", {"a": {"row": 0}, "knob": ":99"}, "is not between"),
        ("along", {"a": {"row": 0}, "knob": "x:1"}, "no such dimension"),
        ("sample", {"temperature": "0"}, "temperature=0.0"),
        ("sample", {"top_p": "x"}, "top_p='x' is no number"),
        ("sample", {"count": 10**9}, "is not between 1 and 100"),
        ("sample", {"seed": -1}, "is not between"),
        ("__init__", {}, "there is no tool"),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_line(room: Room, tool: str, asked: dict[str, Any], said: str):
    with pytest.raises(LvexpError, match=said):
        room.use(tool, asked)


def test_without_its_corpus_there_is_no_map_but_the_rest(trained: Callable[[str], Path], monkeypatch, tmp_path: Path):
    (folder,) = trained("svae").glob("*/*")
    monkeypatch.setenv("LVEXP_CACHE", str(tmp_path))
    room = Room(load(folder))
    room.run.config["data"]["files"]["train"] = "gone.tsv"
    with pytest.raises(LvexpError, match=r"gone\.tsv"):
        _ = room.texts
    assert room.use("sample", {"count": 2})["rows"]
    assert len(room.use("between", {"a": {"typed": "the cat"}, "b": {"typed": "the box"}})["rows"]) == 7
