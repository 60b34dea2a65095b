"""The specification that scripts/dashboard prints shows figures that runs have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import Compose, plain

from lvexp.__main__ import MENU
from lvexp.run import run
from lvexp.training.csv_logger import read_metrics

SCRIPT = MENU.parent / "scripts" / "dashboard"


def dashboard(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") and name != "NETRC"}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        cwd=home, capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        env={**kept, "HOME": str(home), "PYTHONPATH": str(MENU.parent)},
    )  # fmt: skip


def named(panel: dict[str, Any]) -> list[str]:
    """The figures of a panel."""
    config = panel["config"]
    axes = [str(config.get(axis) or "").removeprefix("summary:") for axis in ("xAxis", "yAxis")]
    return [*(config.get("metrics") or []), *(axis for axis in axes if axis)]


def test_every_panel_shows_a_figure_that_a_run_has(small: list[str], composed: Compose, tmp_path: Path):
    pytest.importorskip("wandb_workspaces")
    printed = dashboard(tmp_path, "--print")
    assert printed.returncode == 0, printed.stderr
    specs = json.loads(printed.stdout)
    section = specs["workspace"]["spec"]["section"]
    assert section["runSets"][0]["grouping"] == [{"section": "run", "name": "group"}]
    assert "summary:verdict" in section["runSets"][0]["runFeed"]["columnPinned"]
    sections = {part["name"]: part["panels"] for part in section["panelBankConfig"]["sections"]}
    assert list(sections) == ["Rate and distortion", "Bound", "Use of z", "Text", "Speed"]
    shown = {name for panels in sections.values() for panel in panels for name in named(panel)}
    spread = [panel["config"] for name in ("Bound", "Use of z") for panel in sections[name]]
    assert {(config["groupAgg"], config["groupArea"]) for config in spread} == {("mean", "stddev")}

    folder = tmp_path / "run"
    folder.mkdir()
    config = plain(composed(*small, "trainer.max_epochs=1", "trainer.log_every_n_steps=1"))
    result = run(config, folder, run_id="r", group_id="g", choices={"regularizer": []}, overrides=[])
    there = {name for row in read_metrics(folder / "metrics.csv") for name in row}
    there |= {f"{prefix}/{name}" for part, prefix in (("test", "test"), ("valid", "best")) for name in result[part]}
    there |= {*result, "trainer/global_step"}
    assert shown - there == {"test/bleu"}, "that of translations"

    blocks = specs["report"]["spec"]["blocks"]
    grids = [block["metadata"] for block in blocks if block["type"] == "panel-grid"]
    in_report = {name for grid in grids for one in grid["panelBankSectionConfig"]["panels"] for name in named(one)}
    assert in_report == shown
    assert all(run_set["project"] is None for grid in grids for run_set in grid["runSets"]), "the report's own"


def test_without_a_key_nothing_is_saved_and_it_is_said(tmp_path: Path):
    pytest.importorskip("wandb_workspaces")
    done = dashboard(tmp_path, "--entity", "nobody")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "try  `wandb login` | --print"
    assert "Traceback" not in done.stderr
    assert dashboard(tmp_path).stderr.splitlines()[-1] == "try  --entity NAME | --print"
