"""What `scripts/bench` measures can be measured: each side does one window of work on the shipped corpus."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lvexp.__main__ import MENU

TINY = [
    *("model=svae", "data=snips", "anneal=linear", "regularizer=none", "encoder.norm=false", "logger=csv"),
    *("encoder.embedding=8", "encoder.hidden=8", "decoder.embedding=8", "decoder.hidden=8", "latent.dim=4"),
]


@pytest.mark.parametrize(
    "kind",
    [
        "train_lvexp",
        "iw_lvexp",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("train_bare", "train_textbook", "iw_textbook")),
    ],
)
def test_a_side_does_a_window_of_work(kind: str):
    settings = {"overrides": TINY, "steps": 2, "samples": 3, "texts": 4}
    side = subprocess.run(
        [sys.executable, str(MENU.parent / "scripts" / "bench_sides.py"), kind, json.dumps(settings)],
        input="\n\n", capture_output=True, text=True, timeout=300, check=False, cwd=MENU.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    ready, window, *_ = [json.loads(line) for line in side.stdout.splitlines()]
    assert ready == {"ready": True}, side.stderr
    assert window["speed"] > 0
    if kind == "train_lvexp":
        assert 0 <= window["waiting"] < 1


@pytest.mark.slow
def test_losses_are_the_textbooks():
    settings = {"overrides": [*TINY, "decoder.dropout_in=0", "decoder.dropout_out=0"], "steps": 20}
    script = Path(MENU.parent / "scripts" / "bench_sides.py")
    side = subprocess.run(
        [sys.executable, str(script), "curve", json.dumps(settings)],
        capture_output=True, text=True, timeout=300, check=True, cwd=MENU.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    losses = json.loads(side.stdout)["losses"]
    assert len(losses) == 20
    assert all(ours == pytest.approx(theirs, rel=1e-4) for ours, theirs in losses)
