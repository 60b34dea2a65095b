"""A user's own findings reach the report, and what a model leaves out is not measured."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import tiny
import torch
from rich.console import Console

from lvexp.instruments.base import Instrument
from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.settings import EvaluationSettings
from lvexp.models.sentence import SentenceModel
from lvexp.report.figures import draw
from lvexp.report.findings import Findings, Section
from lvexp.report.table import show
from lvexp.report.text import samples_text

SETTINGS = EvaluationSettings(iw_samples=2, samples=2, max_decode=4)


class Silent(SentenceModel):
    """Writes no texts."""

    reported = frozenset({"use"})


class Counting(Instrument):
    """Says how many texts each split has, and whether the model is judged as it should be."""

    order = 0

    @classmethod
    def applies(cls, model):
        return isinstance(model, Silent)

    def report(self, scores):
        sizes = {f"{name}_texts": sum(map(len, batches)) for name, batches in self.context.splits.items()}
        judged = not self.model.training and not torch.is_grad_enabled()
        return Findings(
            scores={**sizes, "judged": judged, "drawn": float(torch.rand(())), "odd": math.nan},
            groups=[("Counted", [("texts", str(sizes["test_texts"]), "texts", "one by one")])],
            verdict="counted: all of them",
            sections=[Section("Longest", [("", "a b c d e f")])],
            pictures={"dot": lambda path: path.write_bytes(b"png")},
        )


@pytest.fixture(scope="module")
def found():
    model = tiny.model()
    model.__class__ = Silent
    corpus = list(tiny.corpus())
    return evaluate(model, corpus, SETTINGS, others={"train": corpus[:1]}, more=[Counting])


def test_scores_and_verdict_stand_among_the_usual(found):
    scores = found.scores
    assert (scores["test_texts"], scores["train_texts"], scores["judged"], scores["odd"]) == (11, 4, True, None)
    torch.manual_seed(SETTINGS.seed)
    assert scores["drawn"] == float(torch.rand(()))
    assert found.verdict == "counted: all of them"


def test_what_the_model_leaves_out_is_not_measured(found):
    usual = evaluate(tiny.model(), tiny.corpus(), SETTINGS)
    for left_out in ("nll", "nll_iw", "ppl_iw", "recon_bleu", "distinct_1", "self_bleu"):
        assert found.scores[left_out] is None
        assert usual.scores[left_out] is not None
    for kept in ("distortion", "rate", "active_units", "sentences", "tokens"):
        assert found.scores[kept] == usual.scores[kept]
    assert [part.title for part in found.sections] == ["Longest"]
    assert found.reported == ["use"]


def test_groups_texts_and_figures_are_shown(found, tmp_path: Path):
    out = io.StringIO()
    result = {"test": found.scores, "reported": found.reported, "groups": found.groups}
    show(result, Console(file=out, width=80))
    told = out.getvalue()
    assert told.index("Counted") < told.index("Use of z")
    for left_out in ("Bound", "Likelihood", "reconstruction", "distinct-1"):
        assert left_out not in told
    assert "Longest\n=======\na b c d e f\n" in samples_text(found.verdict, found.sections)
    drawn = draw(tmp_path / "figures", [], found.pictures, found.monitor)
    assert tmp_path / "figures" / "dot.png" in drawn
    assert (tmp_path / "figures" / "dot.png").read_bytes() == b"png"
