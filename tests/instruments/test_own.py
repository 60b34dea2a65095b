"""An instrument of a user's own: a figure, a row, a text, a picture and a figure of validations."""

from __future__ import annotations

import functools
import io
from pathlib import Path

import kinds
import pytest
import torch
from rich.console import Console
from validating import validations

from lvexp.instruments.base import Instrument
from lvexp.instruments.evaluate import evaluate
from lvexp.report.figures import draw
from lvexp.report.findings import Findings, Section
from lvexp.report.table import show
from lvexp.report.text import samples_text


class Lengths(Instrument):
    """The longest text; acts before all others, and draws wherever it can."""

    order = -1

    def __init__(self, context, least: int = 0):
        super().__init__(context)
        self.longest = least
        torch.rand(3)

    @classmethod
    def applies(cls, model):
        return True

    @classmethod
    def validates(cls, model):
        return ("longest",)

    def update(self, look):
        torch.rand(5)
        self.longest = max(self.longest, int(look.terms.batch.lengths.max()))

    def measure(self):
        torch.rand(7)
        return {"longest": self.longest}

    def report(self, scores):
        torch.rand(11)
        return Findings(
            scores={"seen": scores["sentences"]},
            groups=[("Lengths", [("longest text", str(self.longest), "tokens", "all of them")])],
            sections=[Section("Longest", [("→ ", f"of {self.longest} tokens")])],
            pictures={"lengths": lambda path: path.write_bytes(b"png")},
        )


def found(kind: str, *more):
    model = kinds.MODELS[kind]()
    return evaluate(model, kinds.texts(kind), kinds.SETTINGS, kinds.CLASSES, kinds.others(kind), more=more)


@pytest.mark.parametrize("kind", ["gaussian", "none", "nvdm", "nasm"])
def test_it_gives_all_that_shipped_ones_give_and_moves_no_other_figure(kind: str, tmp_path: Path):
    usual, with_it = found(kind), found(kind, Lengths)
    longest = max(int(batch.lengths.max()) for batch in kinds.texts(kind))
    assert with_it.scores == {**usual.scores, "longest": longest, "seen": usual.scores["sentences"]}
    row = ("longest text", str(longest), "tokens", "all of them")
    assert list(with_it.groups) == [("Lengths", [row]), *usual.groups]
    assert with_it.verdict == usual.verdict
    (own,) = (part for part in with_it.sections if part.title == "Longest")
    assert [part for part in with_it.sections if part is not own] == list(usual.sections)
    assert list(with_it.pictures) == ["lengths", *usual.pictures]

    out = io.StringIO()
    show({"test": with_it.scores, "groups": with_it.groups}, Console(file=out, width=80))
    assert "longest text" in out.getvalue()
    assert f"→ of {longest} tokens" in samples_text(with_it.verdict, with_it.sections)
    assert tmp_path / "lengths.png" in draw(tmp_path, [], {"lengths": with_it.pictures["lengths"]}, with_it.monitor)
    assert (tmp_path / "lengths.png").read_bytes() == b"png"


def test_a_partial_call_of_it_has_settings_of_its_own():
    assert found("none", functools.partial(Lengths, least=50)).scores["longest"] == 50


def test_it_may_be_for_some_models_only():
    class Elsewhere(Lengths):
        @classmethod
        def applies(cls, model):
            return model.latent.dim is None

    assert "longest" not in found("gaussian", Elsewhere).scores
    assert "longest" in found("none", Elsewhere).scores


@pytest.mark.parametrize("kind", ["gaussian", "nasm"])
def test_validations_log_it_and_nothing_else_moves(kind: str, tmp_path: Path):
    usual, with_it = validations(kind, tmp_path), validations(kind, tmp_path, Lengths)
    longest = max(int(batch.lengths.max()) for batch in kinds.texts(kind))
    assert with_it == {**usual, "val/longest": longest}
