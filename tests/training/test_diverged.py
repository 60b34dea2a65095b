"""A run that diverges stops at that step, says what was not finite, and keeps what was good before."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Compose, plain

from lvexp import __main__, build, run
from lvexp.data.batch import Batch
from lvexp.errors import Diverged, RunError
from lvexp.regularizers.word_dropout import WordDropout
from lvexp.report import compare
from lvexp.terms import Terms
from lvexp.training.module import Training

USUAL = ["regularizer=word_dropout", "trainer.max_epochs=3", "trainer.limit_train_batches=10"]


@pytest.fixture
def job(small: list[str], composed: Compose, tmp_path: Path) -> Callable[..., str]:
    """Runs a job that is to diverge, and gives what it told."""

    def diverging(*overrides: str) -> str:
        config = plain(composed(*small, *USUAL, *overrides))
        (tmp_path / "run").mkdir(exist_ok=True)
        identity = {"run_id": "run", "group_id": "group", "choices": {"regularizer": []}, "overrides": [*overrides]}
        with pytest.raises(Diverged) as told:
            run.run(config, tmp_path / "run", **identity)
        return str(told.value)

    return diverging


def at(number: int, penalty: Callable[[Terms], Any]) -> Callable[..., Any]:
    """A penalty that is 0 but in one call."""
    calls = 0

    def counted(self: WordDropout, terms: Terms) -> Any:
        nonlocal calls
        calls += 1
        return penalty(terms) if calls == number else 0.0

    return counted


def kept(folder: Path) -> int:
    """The step of last.ckpt, whose parameters are finite, as are those of the best."""
    last = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    for state in (last["state_dict"], last["callbacks"]["Best"]["parameters"]):
        assert all(value.isfinite().all() for value in state.values())
    return last["global_step"]


@pytest.mark.parametrize(
    ("penalty", "named"),
    [
        (lambda terms: terms.distortion * float("nan"), "penalty of WordDropout nan"),
        (lambda terms: float("inf"), "penalty of WordDropout inf"),
        (lambda terms: (0 * terms.distortion).sqrt(), "gradient norm nan"),
    ],
    ids=["nan", "inf", "gradient"],
)
def test_it_stops_at_the_step_and_says_so_again(
    penalty: Callable[[Terms], Any],
    named: str,
    job: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(WordDropout, "penalty", at(15, penalty))
    told = job("trainer.checkpoint_steps=4")
    assert told.splitlines()[0] == f"run diverged at step 15 (batch 5 of epoch 2): {named}"
    assert "try  optimizer.lr=0.0002 | " in told
    folder = tmp_path / "run"
    result = json.loads((folder / "result.json").read_text())
    assert result["verdict"] == f"diverged: {named} at step 15 (batch 5 of epoch 2)"
    assert result["status"] == "failed"
    assert result["steps"] == 14
    assert result["valid"]["step"] == 10
    assert kept(folder) == 12
    assert not (folder / "DONE").exists()
    with pytest.raises(RunError, match="no finished run"):
        compare.finished(folder)
    monkeypatch.setattr(build, "data", None)  # nothing is tried again
    assert job("trainer.checkpoint_steps=4") == f"done before: {told}"


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["latent=categorical", "estimator=score"],
        ["model=prodlda", "regularizer=none"],
        pytest.param(["model=rnnlm", "regularizer=none"], marks=pytest.mark.slow),
        pytest.param(["model=ae"], marks=pytest.mark.slow),
        pytest.param(["latent=binary", "estimator=straight_through"], marks=pytest.mark.slow),
        pytest.param(["latent=dirichlet"], marks=pytest.mark.slow),
        pytest.param(["regularizer=[free_bits,word_dropout]", "optimizer=sgd"], marks=pytest.mark.slow),
        pytest.param(["regularizer=semi_amortized", "regularizer.semi_amortized.steps=2"], marks=pytest.mark.slow),
    ],
    ids=lambda more: "-".join(more) or "plain",
)
def test_a_rate_of_learning_that_is_far_too_large_gives_a_verdict(more: list[str], job: Callable[..., str]):
    told = job(*more, "optimizer.lr=1e30", "trainer.gradient_clip_val=null")
    assert told.startswith("run diverged at "), told


def test_a_rate_that_a_remedy_spoils_is_named(job: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(WordDropout, "rate", lambda self, rate, per_dimension: rate / 0)
    assert "at step 1 (batch 1 of epoch 1): rate inf\n" in job()


def test_without_clipping_no_spoilt_parameters_are_kept(
    job: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nothing looks at the gradient then, and the loss of its step is finite."""
    monkeypatch.setattr(WordDropout, "penalty", at(15, lambda terms: (0 * terms.distortion).sqrt()))
    told = job("trainer.gradient_clip_val=null", "trainer.checkpoint_steps=1")
    assert told.startswith("run diverged at step 15 or before: ")
    assert "parameters (" in told
    assert kept(tmp_path / "run") == 14


def test_where_no_step_looks_some_do(job: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """On a GPU, where each look would be waited for."""
    monkeypatch.setattr(Training, "looks", False)
    monkeypatch.setattr(WordDropout, "penalty", at(13, lambda terms: terms.distortion * float("nan")))
    told = job("trainer.log_every_n_steps=4")
    assert told.startswith("run diverged at step 16 or before: distortion nan, rate nan, ")
    assert kept(tmp_path / "run") == 10


def test_a_validation_that_is_not_finite_ends_training(job: Callable[..., str], monkeypatch: pytest.MonkeyPatch):
    def spoilt(self: Training, batch: Batch, batch_idx: int) -> Terms:
        terms = self.model.terms(batch)
        return dataclasses.replace(terms, rate=terms.distortion * float("nan"))

    monkeypatch.setattr(Training, "validation_step", spoilt)
    assert job().startswith("run diverged at the validation after step 10: rate nan in batch 1\n")


def test_the_command_exits_with_1_and_no_traceback(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["lvexp", *small, "optimizer.lr=1e30", f"paths.outputs={tmp_path}"])
    for expected in ("", "done before: "):
        __main__._mistakes.clear()
        with pytest.raises(SystemExit) as ended:
            __main__.main()
        assert ended.value.code == 1
        said = capsys.readouterr().err
        assert said.startswith(f"lvexp: {expected}svae-")
        assert "Traceback" not in said
    __main__._mistakes.clear()
