"""Paired differences, text by text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from results import result, scored, write

from lvexp.errors import ConfigError, RunError
from lvexp.report import compare
from lvexp.report.paired import Difference, paired

RUNS = [
    result("a", 1, ["arm=rnnlm"], nll=1.0),
    *(result("b", seed, ["arm=linear"], nll=1.0) for seed in (1, 2)),
    result("c", 1, ["arm=ae"]),
]
DRAW = np.random.default_rng(5)
TEXTS = 400
BASE = DRAW.gamma(9.0, 3.0, TEXTS)  # texts differ far more than models do
GAIN = DRAW.normal(0.2, 1.0, TEXTS)
NOISE = DRAW.normal(0.0, 0.5, TEXTS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, RUNS)
    scored(tmp_path, {"svae-a1": BASE.tolist(), "svae-b1": (BASE + GAIN + NOISE).tolist()})
    scored(tmp_path, {"svae-b2": (BASE + GAIN - NOISE).tolist()})
    scored(tmp_path, {"svae-c1": BASE.tolist()}, "distortion")
    return tmp_path


def table(folder: Path) -> compare.Table:
    return compare.tables(compare.finished(folder))[0]


def test_the_interval_is_that_of_the_mean_difference_with_seeds_averaged_first(folder: Path):
    found = paired(table(folder), "nll")
    assert found is not None
    assert (found.against, found.texts) == ("rnnlm", TEXTS)
    assert set(found.by_group) == {"svae-a", "svae-b"}  # the figure of svae-c is another one
    assert found.by_group["svae-a"] == Difference(0.0, 0.0, 0.0)
    one = found.by_group["svae-b"]
    assert one.mean == pytest.approx(GAIN.mean())
    half = 1.96 * GAIN.std() / TEXTS**0.5  # normal theory
    assert (one.mean - one.low, one.high - one.mean) == (pytest.approx(half, rel=0.08), pytest.approx(half, rel=0.08))


def test_the_bootstrap_resamples_texts_with_replacement(tmp_path: Path):
    """All resamples of three texts can be listed."""
    values = [0.0, 1.0, 5.0]
    write(tmp_path, RUNS[:2])
    scored(tmp_path, {"svae-a1": [3.0, 3.0, 3.0], "svae-b1": [3.0 + value for value in values]})
    means = sorted((a + b + c) / 3 for a in values for b in values for c in values)
    found = paired(table(tmp_path), "nll")
    assert found is not None
    one = found.by_group["svae-b"]
    assert (one.low, one.high) == (pytest.approx(means[0]), pytest.approx(means[-1]))  # 1/27 is more than 2.5 %


def test_the_reference_may_be_named_and_the_seed_decides(folder: Path):
    found = paired(table(folder), "nll", against="linear")
    assert found is not None
    assert found.by_group["svae-a"].mean == pytest.approx(-GAIN.mean())
    assert found == paired(table(folder), "nll", against="linear")
    assert found != paired(table(folder), "nll", against="linear", seed=1)
    assert paired(table(folder), "nll", against="nowhere") is None
    other = paired(table(folder), "distortion")
    assert other is not None
    assert other.against == "ae"


def test_texts_that_differ_are_refused(folder: Path):
    scored(folder, {"svae-b2": BASE[:-1].tolist()})
    with pytest.raises(RunError, match=r"not the same texts, 400 and 399 texts"):
        paired(table(folder), "nll")
    scored(folder, {"svae-b2": BASE.tolist()}, start=3)
    with pytest.raises(RunError, match=r"line 1 is text 0 in the one and 3 in the other"):
        paired(table(folder), "nll")


@pytest.mark.parametrize("text", ["", "{}\n", "[1]\n", "nothing\n", '{"index": "one"}\n'])
def test_damaged_scores_are_told(folder: Path, text: str):
    (folder / "svae-b1" / "scores.jsonl").write_text(text)
    with pytest.raises(RunError, match=r"svae-b1/scores.jsonl: cannot be used"):
        paired(table(folder), "nll")


def test_figures_that_the_texts_do_not_have_are_told(folder: Path, tmp_path: Path):
    with pytest.raises(
        ConfigError, match=r"--paired mi: no group has this figure for every text\ntry  distortion \| nll"
    ):
        paired(table(folder), "mi")
    with pytest.raises(ConfigError, match=r"--against ae: its texts have no nll"):
        paired(table(folder), "nll", against="ae")
    rows = [{"index": number, "nll": None if number == 7 else 1.0} for number in range(TEXTS)]
    (folder / "svae-b1" / "scores.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = paired(table(folder), "nll")
    assert found is not None
    assert set(found.by_group) == {"svae-a"}
    rows = [{"index": number, "nll": True} for number in range(TEXTS)]  # is no number, although Python counts with it
    (folder / "svae-b1" / "scores.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = paired(table(folder), "nll")
    assert found is not None
    assert set(found.by_group) == {"svae-a"}
    for scores in folder.glob("*/scores.jsonl"):
        scores.unlink()
    with pytest.raises(RunError, match="none of these runs has scores of single texts"):
        paired(table(folder), "nll")
