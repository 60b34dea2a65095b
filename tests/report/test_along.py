"""Figures against a value that was swept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lvexp import compare as command
from lvexp.errors import ConfigError
from lvexp.report.along import along, along_figure
from lvexp.report.compare import finished, tables
from lvexp.report.plane import picture


def result(window: int | None, seed: int, rate: float) -> dict:
    typed = ["experiment=vlae"] + ([] if window is None else [f"decoder.window={window}"])
    test = {"rate": rate, "mi": rate / 2, "distortion": 30.0, "elbo": -30.0 - rate, "nll": 30.0}
    return {
        "run_id": f"svae-{window}-{seed}", "group_id": f"svae-{window}", "seed": seed, "choices": {"data": "snips"},
        "overrides": [*typed, f"seed={seed}"], "test": test,
    }  # fmt: skip


def kept(folder: Path, *results: dict) -> Path:
    file = folder / "kept.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in results))
    return file


def swept(folder: Path) -> Path:
    rates = {(16, 1): 0.1, (16, 2): 0.3, (2, 1): 1.0, (2, 2): 2.0, (0, 1): 5.0, (0, 2): 5.0}
    return kept(folder, *(result(window, seed, rate) for (window, seed), rate in rates.items()))


def test_groups_are_in_the_order_of_the_value(tmp_path: Path):
    (table,) = tables(finished(swept(tmp_path)))
    assert [value for value, _ in along(table, "decoder.window")] == ["0", "2", "16"]


def test_lines_are_means_over_seeds(tmp_path: Path):
    (table,) = tables(finished(swept(tmp_path)))
    left, right = along_figure(table, "decoder.window").axes
    lines = {line.get_label(): line for axes in (left, right) for line in axes.containers}
    assert lines["rate R"][0].get_ydata().tolist() == pytest.approx([5.0, 1.5, 0.2])
    assert lines["mutual information"][0].get_ydata().tolist() == pytest.approx([2.5, 0.75, 0.1])
    assert lines["−ELBO"][0].get_ydata().tolist() == pytest.approx([35.0, 31.5, 30.2])
    assert [tick.get_text() for tick in left.get_xticklabels()] == ["0", "2", "16"]


def test_points_are_not_called_texts(tmp_path: Path):
    runs = finished(swept(tmp_path))
    for unit in ("text", "point"):
        (table,) = tables(
            [{**run, "test": {**run["test"], **({"unit": unit} if unit == "point" else {})}} for run in runs]
        )
        for figure in (along_figure(table, "decoder.window"), picture(table)):
            said = [
                word for axes in figure.axes for word in (axes.get_title("left"), axes.get_xlabel(), axes.get_ylabel())
            ]
            assert any(f"nats per {unit}" in word for word in said)
            assert any("text" in word for word in said) is (unit == "text")


def test_a_key_that_was_not_swept(tmp_path: Path):
    (table,) = tables(finished(swept(tmp_path)))
    with pytest.raises(ConfigError, match=r"--along latent\.dim: fewer than two groups"):
        along(table, "latent.dim")


def test_the_command_writes_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    words = [str(swept(tmp_path)), "--to", str(tmp_path / "found"), "--along", "decoder.window"]
    monkeypatch.setattr(sys, "argv", ["compare", *words])
    command.main()
    assert (tmp_path / "found-along.png").stat().st_size > 10_000
    monkeypatch.setattr(sys, "argv", ["compare", words[0], "--along", "decoder.window"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert "a file needs a name" in capsys.readouterr().err


def test_of_very_many_values_some_are_written():
    (table,) = tables([result(window, 1, window / 100) for window in range(250)])
    for axes in along_figure(table, "decoder.window").axes:
        assert [tick.get_text() for tick in axes.get_xticklabels()] == [str(value) for value in range(0, 250, 21)]
        assert axes.get_xlabel() == "decoder.window, one value of 21 written"
        assert len(axes.containers[0][0].get_xdata()) == 250
