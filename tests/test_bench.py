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


TRANSFORMERS = [
    *(part for part in TINY if "norm" not in part),
    *("encoder=transformer", "decoder=transformer", "decoder.entry=addend", "decoder.hidden=16", "encoder.hidden=16"),
    *("decoder.embedding=16", "encoder.embedding=16"),
]


def transformers(kind: str, settings: dict) -> list[dict]:
    side = subprocess.run(
        [sys.executable, str(MENU.parent / "scripts" / "bench_transformer.py"), kind, json.dumps(settings)],
        input="\n\n", capture_output=True, text=True, timeout=300, check=False, cwd=MENU.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert side.stdout, side.stderr
    return [json.loads(line) for line in side.stdout.splitlines()]


def test_the_loss_of_torchs_transformers_is_ours():
    (found,) = transformers("same", {"overrides": TRANSFORMERS, "steps": 4})
    assert len(found["losses"]) == 4
    for mine, other in found["losses"]:
        assert mine == pytest.approx(other, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transformer_lvexp", "transformer_textbook"])
def test_a_side_of_transformers_does_a_window_of_work(kind: str):
    ready, window, *_ = transformers(kind, {"overrides": TRANSFORMERS, "steps": 2})
    assert ready == {"ready": True}
    assert window["speed"] > 0


@pytest.fixture
def translated(tmp_path: Path) -> list[str]:
    """Settings of a small corpus of pairs."""
    for side in ("a", "b"):
        (tmp_path / side).write_text("".join(f"{'x y z '[: 2 * (n % 3) + 2]}{n % 7}\n" for n in range(90)))
    files = [f"data.{kind}.{split}={tmp_path / side}" for kind, side in (("files", "a"), ("sources", "b"))
             for split in ("train", "valid", "test")]  # fmt: skip
    sizes = [f"{part}.{size}=8" for part in ("encoder", "decoder") for size in ("hidden", "embedding")]
    return [
        *("data=text", "model=seq2seq", "decoder.attention=additive", "data.format=txt", "data.batch_size=16"),
        *("data.eval_batch_size=16", "logger=csv", "data.vocabulary.min_count=1", f"data.cache={tmp_path / 'cache'}"),
        *files, *sizes,
    ]  # fmt: skip


def paired(kind: str, settings: dict) -> list[dict]:
    side = subprocess.run(
        [sys.executable, str(MENU.parent / "scripts" / "bench_pairs.py"), kind, json.dumps(settings)],
        input="\n\n", capture_output=True, text=True, timeout=300, check=False, cwd=MENU.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert side.stdout, side.stderr
    return [json.loads(line) for line in side.stdout.splitlines()]


def test_the_tutorials_loss_of_pairs_is_ours(translated: list[str]):
    (found,) = paired("same", {"overrides": translated, "steps": 4})
    assert len(found["losses"]) == 4
    for mine, other in found["losses"]:
        assert mine == pytest.approx(other, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pairs_lvexp", "pairs_textbook", "decode_beam", "decode_greedy"])
def test_a_side_of_pairs_does_a_window_of_work(kind: str, translated: list[str]):
    ready, window, *_ = paired(kind, {"overrides": translated, "steps": 2})
    assert ready == {"ready": True}
    assert window["speed"] > 0
