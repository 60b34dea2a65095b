"""A killed job, run again with the same command, ends where it would have ended."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import Command


def only(folder: Path) -> Path:
    (run,) = [path.parent for path in folder.rglob("metrics.csv")]
    return run


def start(typed: list[str], outputs: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "lvexp", *typed, f"paths.outputs={outputs}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def history(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "more",
    [
        ["regularizer=[free_bits,word_dropout]", "anneal=linear", "anneal.warmup=3"],
        pytest.param(
            [
                "regularizer=mdr",
                "regularizer.mdr.lr=0.01",
                "anneal=cyclical",
                "anneal.period=1.5",
                "anneal.restart=true",
            ],
            marks=pytest.mark.slow,
        ),
        pytest.param(["regularizer=control_kl", "regularizer.control_kl.ki=0.01"], marks=pytest.mark.slow),
        pytest.param(
            ["optimizer=sgd", "optimizer.decay.start_epoch=0", "optimizer.decay.patience=1", "optimizer.lr=1"],
            marks=pytest.mark.slow,  # test_moments looks at more of it, in less time
        ),
        pytest.param(
            ["regularizer=[pretrain,free_bits]", "regularizer.pretrain.epochs=3", "anneal=linear", "anneal.warmup=2"],
            marks=pytest.mark.slow,  # test_moments looks at it too
        ),
        pytest.param(
            ["model=control", "latent.c.categories=2", "latent.z.dim=4", "model.base_epochs=2", "model.max_length=6"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["regularizer=aggressive", *(f"regularizer.aggressive.{more}" for more in ("inner=5", "check=2"))],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["latent=categorical", "estimator=score", "estimator.baseline=input", "estimator.normalise=true"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["model=prodlda", "regularizer=alternate", "regularizer.alternate.passes=1", "evaluation.iw_samples=2"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=[
        "adam",
        "mdr-restarts",
        "control",
        "sgd-decay",
        "pretrain",
        "turns",
        "aggressive",
        "nvil",
        "documents-in-turns",
    ],
)
def test_killed_in_mid_epoch_and_run_again_it_ends_the_same(
    more: list[str], small: list[str], tmp_path: Path, lvexp: Command
):
    typed = [*small, *more, "trainer.max_epochs=6", "trainer.checkpoint_steps=7", "trainer.log_every_n_steps=5"]
    whole = lvexp(*typed)
    assert whole.returncode == 0, whole.stderr
    reference = only(tmp_path / "outputs")
    steps_per_epoch = json.loads((reference / "result.json").read_text())["steps"] // 6

    broken = tmp_path / "broken"
    job = start(typed, broken)
    import torch

    deadline, seen = time.monotonic() + 120, 0
    while time.monotonic() < deadline and job.poll() is None:
        last = list(broken.rglob("last.ckpt"))
        if last:
            seen = torch.load(last[0], weights_only=True)["global_step"]
            if seen > 2 * steps_per_epoch and 0 < seen % steps_per_epoch <= steps_per_epoch // 2:
                break
        time.sleep(0.01)
    job.send_signal(signal.SIGKILL)
    job.wait()
    run = only(broken)
    # it may have gone on to its next checkpoint before it was killed
    seen = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    assert not (run / "DONE").exists(), "it was killed before it ended"
    assert seen % steps_per_epoch, "its last checkpoint lies within an epoch"

    again = lvexp(*typed, f"paths.outputs={broken}")
    assert again.returncode == 0, again.stderr
    assert f"resumes after step {seen:,}\n" in again.stdout
    assert "resumes" not in whole.stdout
    one, two = (json.loads((folder / "result.json").read_text()) for folder in (reference, run))
    assert one["run_id"] == two["run_id"]
    assert one["steps"] == two["steps"]
    for part in ("test", "valid"):
        for key, value in one[part].items():
            assert two[part][key] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), key
    steps = [row["step"] for row in history(run)]
    assert len(steps) == len(set(steps)), "no step is logged twice"
    assert steps == [row["step"] for row in history(reference)]


@pytest.mark.slow  # test_python and test_folder look at the same within a process
def test_a_finished_job_is_skipped_and_force_runs_it_anew(small: list[str], tmp_path: Path, lvexp: Command):
    typed = [*small, "trainer.max_epochs=1"]
    assert lvexp(*typed).returncode == 0
    run = only(tmp_path / "outputs")
    before = (run / "result.json").stat().st_mtime_ns
    skipped = lvexp(*reversed(typed))
    assert skipped.returncode == 0
    assert "done before" in skipped.stdout
    assert (run / "result.json").stat().st_mtime_ns == before
    assert lvexp(*typed, "force=true").returncode == 0
    assert (run / "result.json").stat().st_mtime_ns > before
