"""What a job refuses once torch is there, and what it says before it trains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Command, Said

from lvexp.__main__ import main
from lvexp.errors import ConfigError
from lvexp.job.preflight import precision


def config(precision: str, cell: str) -> dict[str, Any]:
    return {"trainer": {"accelerator": "cpu", "precision": precision}, "encoder": {"cell": cell}, "decoder": {}}


def test_bf16_is_refused_where_the_processor_has_no_such_lstm(monkeypatch: pytest.MonkeyPatch):
    def absent(*_: Any) -> None:
        raise RuntimeError("could not create a primitive descriptor")

    monkeypatch.setattr(torch.nn.LSTM, "forward", absent)
    with pytest.raises(ConfigError, match=r"precision=bf16-mixed: .*no LSTM in bf16\ntry  trainer.precision=32"):
        precision(config("bf16-mixed", "lstm"))
    precision(config("bf16-mixed", "gru"))
    precision(config("32-true", "lstm"))


def test_bf16_is_taken_where_it_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.nn.LSTM, "forward", lambda *_: None)
    precision(config("bf16-mixed", "lstm"))


@pytest.mark.parametrize(
    ("limit", "ends"),
    [("trainer.limit_train_batches=3", 6), pytest.param("trainer.max_steps=4", 4, marks=pytest.mark.slow)],
)
def test_a_schedule_longer_than_training_is_noted_with_the_step_that_training_ends_at(
    limit: str, ends: int, small: list[str], lvexp: Command
):
    done = lvexp(*small, "anneal=linear", "anneal.warmup=50", "anneal.unit=steps", "trainer.max_epochs=2", limit)
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    assert f"beta settles at step 50, but training ends at step {ends}," in said
    assert f"step {ends} " in said.replace(",", " ")


def test_a_schedule_that_fits_is_not_noted(small: list[str], lvexp: Command):
    done = lvexp(*small, "anneal=linear", "anneal.warmup=1", "anneal.unit=epochs", "trainer.max_epochs=2")
    assert done.returncode == 0, done.stderr
    assert "settles" not in done.stdout


def test_rewrites_that_are_not_as_many_as_the_test_texts_are_told_before_training(
    small: list[str], tmp_path: Path, run_main: Callable[..., Said]
):
    (tmp_path / "human.txt").write_text("one\ntwo\n")
    said = run_main(main, *small, f"evaluation.references={tmp_path / 'human.txt'}", f"paths.outputs={tmp_path / 'o'}")
    assert said.code == 2
    assert "human.txt: has 2 lines, and the test set has" in said.err
    assert not list((tmp_path / "o").rglob("*.ckpt"))
