"""Runs side by side."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from lvexp.errors import RunError
from lvexp.report import compare


def result(group: str, seed: int, overrides: list[str], **test: float | None) -> dict:
    scores = {"nll": None, "elbo": None, "distortion": None, "rate": None, "mi": None} | test
    return {
        "group_id": group, "run_id": f"{group}{seed}", "seconds": 10.0 * seed,
        "overrides": [*overrides, f"seed={seed}"],
        "choices": {"model": "svae"}, "test": scores,
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    runs = [
        result("a", seed, ["data=ptb", "anneal=linear"], nll=float(seed), elbo=-2.0 - seed, distortion=4.0, rate=2.0)
        for seed in (1, 2, 4)
    ] + [result("b", 1, ["data=ptb", "model=rnnlm"], nll=1.5, elbo=-1.5, distortion=1.5)]
    for number, run in enumerate(runs):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "result.json").write_text(json.dumps(run))
    return tmp_path


def test_seeds_make_a_group_named_by_what_sets_it_apart(folder: Path):
    named = compare.groups(compare.finished(folder))
    assert {name: len(runs) for name, runs in named.items()} == {"anneal=linear": 3, "model=rnnlm": 1}


def test_mean_and_deviation_are_over_seeds_and_absent_where_a_score_is(folder: Path):
    named = compare.groups(compare.finished(folder))
    assert compare.spread(named["anneal=linear"], "nll") == (
        pytest.approx(7 / 3),
        pytest.approx(statistics.stdev([1, 2, 4])),
    )
    assert compare.spread(named["model=rnnlm"], "nll") == (1.5, None)
    assert compare.spread(named["model=rnnlm"], "rate") is None


def test_the_table_is_in_order_of_the_nll_with_elbo_as_a_cost(folder: Path):
    rows = compare.markdown(compare.groups(compare.finished(folder))).splitlines()[2:]
    assert rows[0] == "| model=rnnlm | 1 | 1.50 | 1.50 | 1.50 | – | – | – | – | 10 |"
    assert rows[1].startswith("| anneal=linear | 3 | 2.33 ± 1.53 | 4.33 ± 1.53 | 4.00 ± 0.00 | 2.00 ± 0.00 | –")


def test_the_picture_holds_a_point_for_each_group_with_a_rate(folder: Path):
    figure = compare.picture(compare.groups(compare.finished(folder)))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["1  anneal=linear  (6.00)"]


def test_kept_results_compare_as_the_runs_do_and_each_counts_once(folder: Path, tmp_path: Path):
    results = compare.finished(folder)
    kept = tmp_path / "kept.jsonl"
    kept.write_text(compare.lines(results))
    table = compare.markdown(compare.groups(results))
    assert compare.markdown(compare.groups(compare.finished(kept))) == table
    assert compare.markdown(compare.groups(compare.finished(kept, folder))) == table


def test_a_group_far_above_all_others_is_told_in_words_and_does_not_press_them_together(tmp_path: Path):
    rows = [("a", 30.0), ("b", 30.5), ("c", 29.5), ("d", 29.8), ("far", 60.0)]
    runs = [result(name, 1, [f"arm={name}"], distortion=height, rate=1.0, mi=0.5) for name, height in rows]
    figure = compare.picture(compare.groups(runs))
    assert figure.axes[0].get_ylim()[1] < 35
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()][-1] == "5  far  (R 1.0, D 60.0: above the frame)"
    assert compare._ranges([1, 2, 3, 5, 7, 8]) == "1–3, 5, 7–8"


def test_a_folder_without_runs_is_told_so(tmp_path: Path):
    with pytest.raises(RunError, match="no finished run"):
        compare.finished(tmp_path)
