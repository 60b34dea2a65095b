"""Figures against a value that was swept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from lvexp import compare as command
from lvexp.errors import ConfigError
from lvexp.report.along import along, along_figure
from lvexp.report.columns import named
from lvexp.report.compare import finished, tables
from lvexp.report.plane import picture


def result(window: int | None, seed: int, rate: float) -> dict:
    typed = ["experiment=vlae"] + ([] if window is None else [f"decoder.window={window}"])
    test = {"rate": rate, "mi": rate / 2, "distortion": 30.0, "elbo": -30.0 - rate, "nll": 30.0}
    return {
        "run_id": f"svae-{window}-{seed}", "group_id": f"svae-{window}", "seed": seed,
        "choices": {"data": "snips", "model": "svae"}, "overrides": [*typed, f"seed={seed}"], "test": test,
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
    assert [value for value, _ in along(table, "decoder.window")[""]] == ["0", "2", "16"]


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


def crossed() -> list[dict]:
    """Two windows and the default, each with two decoders, one of them typed and the other not."""
    found = []
    for window in (None, 2, 16):
        for cell in (None, "gru"):
            one = result(window, 1, 1.0 if cell else 2.0)
            words = [] if cell is None else ["decoder.cell=gru"]
            name = f"{one['group_id']}-{cell}"
            test = {**one["test"], "accuracy": 0.1 * (window or 0) * (1 if cell else 0.5)}
            found.append(
                {**one, "run_id": name, "group_id": name, "overrides": [*one["overrides"], *words], "test": test}
            )
    return found


def test_each_combination_of_other_keys_has_a_line():
    (table,) = tables(crossed())
    lines = along(table, "decoder.window", ["decoder.cell"])
    assert {name: [value for value, _ in line] for name, line in lines.items()} == {
        "decoder.cell=default": ["2", "16", "default"], "decoder.cell=gru": ["2", "16", "default"],
    }  # fmt: skip
    (axes,) = along_figure(table, "decoder.window", ["decoder.cell"], named(["accuracy"], crossed())).axes
    drawn = {line.get_label(): line[0].get_ydata().tolist() for line in axes.containers}
    assert drawn["decoder.cell=default"] == pytest.approx([0.1, 0.8, 0.0])
    assert drawn["decoder.cell=gru"] == pytest.approx([0.2, 1.6, 0.0])
    assert axes.get_ylabel() == "accuracy"
    with pytest.raises(
        ConfigError, match=r"(?s)several groups have the value 2: .*try  the runs of that sweep .* --lines"
    ):
        along(table, "decoder.window")
    runs = crossed()
    for run in runs[::2]:
        del run["test"]["rate"]  # as that of a language model
    figure = along_figure(tables(runs)[0], "decoder.window", ["decoder.cell"], named(["rate", "nll"], runs))
    told = {text.get_text() for legend in figure.legends for text in legend.get_texts()}
    assert told == {"decoder.cell=default", "decoder.cell=gru"}, "all lines, also those of one panel only"
    with pytest.raises(ConfigError, match=r"--lines decoder\.cel: no run was given a value"):
        along(table, "decoder.window", ["decoder.cel"])
    (table,) = tables(crossed()[::2])
    both = along_figure(table, "decoder.window", ["data"], named(["rate", "nll"], crossed())).axes
    assert [axes.get_title("left") for axes in both] == ["R", "NLL"]
    (below,) = along_figure(table, "decoder.window", ["data"], named(["elbo"], crossed())).axes
    assert max(below.get_ylim()) < 0, "what is negative is seen too"


def test_a_line_without_a_value_of_the_others_has_a_gap():
    (table,) = tables([run for run in crossed() if run["run_id"] != "svae-2-gru"])
    (axes,) = along_figure(table, "decoder.window", ["decoder.cell"], named(["rate"], crossed())).axes
    assert {line.get_label(): line[0].get_xdata().tolist() for line in axes.containers} == {
        "decoder.cell=default": [0, 1, 2], "decoder.cell=gru": [1, 2],
    }  # fmt: skip


def test_a_key_that_was_not_swept(tmp_path: Path):
    (table,) = tables(finished(swept(tmp_path)))
    with pytest.raises(ConfigError, match=r"--along latent\.dim: fewer than two groups"):
        along(table, "latent.dim")


def test_the_command_writes_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    words = [str(swept(tmp_path)), "--to", str(tmp_path / "found"), "--along", "decoder.window"]
    monkeypatch.setattr(sys, "argv", ["compare", *words])
    command.main()
    assert (tmp_path / "found-along.png").stat().st_size > 10_000
    monkeypatch.setattr(sys, "argv", ["compare", *words, "--lines", "experiment", "--figures", "nll,rate,mi"])
    command.main()
    assert (tmp_path / "found-along.png").stat().st_size > 10_000
    monkeypatch.setattr(sys, "argv", ["compare", words[0], "--lines", "decoder.cell"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert "there is no picture of lines" in capsys.readouterr().err
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
