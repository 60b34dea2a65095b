"""What a search is told of a run: a figure of its best validation, never one of the test set."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import json
import sqlite3
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from helpers import SMALL, Command, Compose, plain
from lightning import Trainer

from lvexp import build
from lvexp.checks import mistakes
from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError
from lvexp.instruments.evaluate import applying, validated
from lvexp.instruments.settings import EvaluationSettings
from lvexp.job.identity import run_id
from lvexp.run import run
from lvexp.training.validation import Validation

WORDS = Vocabulary.train(["a b c d e f"], kind="words", max_size=100, min_count=1, lowercase=False)
BATCH = dataclasses.replace(
    Batch.of(WORDS.encode(["a b c", "d e f", "f e d", "c c c"]), WORDS.encode(["a", "b c d", "d f", "c"])),
    labels=torch.tensor([1, 0, 0, 1]),
    group=torch.tensor([0, 0, 1, 1]),
    index=torch.arange(4),
)
BATCH.counts = torch.nn.functional.one_hot(BATCH.tokens, WORDS.size).sum(1).float()


@pytest.fixture
def trained(small: list[str], composed: Compose, tmp_path: Path):
    config = plain(composed(*small, "trainer.max_epochs=3"))

    def train(**changed: Any) -> dict[str, Any]:
        folder = tmp_path / "run"
        folder.mkdir(exist_ok=True)
        return run(config | changed, folder, run_id="r", group_id="g", choices={"regularizer": []}, overrides=[])

    return train


def test_a_run_answers_with_the_monitor_of_its_best_validation_however_it_ends(trained, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"objective=nll: .* nelbo.*\ntry  objective="):
        trained(objective="nll")
    assert not list((tmp_path / "run").glob("checkpoints/*")), "refused before it trains"

    done = trained()
    assert done["status"] == "done"
    assert done["monitor"] == "nelbo"
    assert done["objective"] == done["valid"]["nelbo"]
    assert done["objective"] not in done["test"].values()

    (tmp_path / "run" / "DONE").unlink()
    resumed, skipped = trained(), trained()
    assert (resumed["status"], skipped["status"]) == ("resumed", "skipped")
    assert done["objective"] == resumed["objective"] == skipped["objective"]
    assert trained(objective="mi")["objective"] == done["valid"]["mi"]
    assert trained(objective=["nelbo", "mi"])["objective"] == [done["valid"]["nelbo"], done["valid"]["mi"]]
    with pytest.raises(ConfigError, match=r"objective=nll: .* nelbo.*\ntry  objective="):
        trained(objective=["mi", "nll"])
    with pytest.raises(ConfigError, match=r"objective=nll: .* nelbo.*\ntry  objective="):
        trained(objective="nll")


def test_the_objective_is_no_part_of_the_run_id(composed: Compose):
    assert run_id(composed("objective=mi"), "m") == run_id(composed(), "m")


@pytest.mark.parametrize(
    "typed",
    [
        ["model=svae"],
        ["model=svae", "latent=categorical"],
        ["model=svae", "latent=mixed", "estimator=blocks"],
        ["model=ae"],
        ["model=rnnlm"],
        ["model=prodlda", "data.view=counts"],
        ["model=nasm"],
    ],
    ids=" ".join,
)
def test_what_may_be_asked_for_is_what_is_measured(typed: list[str], composed: Compose):
    sizes = [size for size in SMALL if "prodlda" not in typed[0] or not size.startswith(("encoder", "decoder"))]
    config = plain(composed(*typed, *sizes))
    model = build.model(config, WORDS).eval()
    training = build.training(config, model)
    settings = EvaluationSettings(**plain(composed())["evaluation"])
    validation = Validation(settings, f"val/{model.monitor[0]}")
    training.log_dict = lambda *_, **__: None  # there is no trainer
    trainer = Mock(spec=Trainer, global_step=1)
    validation.on_validation_epoch_start(trainer, training)
    with torch.no_grad():
        validation.on_validation_batch_end(trainer, training, model.terms(BATCH), BATCH, 0)
    validation.on_validation_epoch_end(trainer, training)
    assert sorted(validated(model, *applying(model))) == sorted(validation.best.keys() - {"step"})
    assert model.monitor[0] in validation.best


def test_commas_that_hydra_takes_for_a_sweep_of_its_own_settings():
    said = mistakes.explain(
        ValueError("Sweeping over Hydra's configuration is not supported : 'hydra.sweeper.params.arm=vanilla,beta'")
    )
    assert said.splitlines()[1] == """try  arm=vanilla,beta | 'hydra.sweeper.params.arm="vanilla,beta"'"""


@pytest.mark.skipif(
    not importlib.util.find_spec("hydra_plugins") or not importlib.util.find_spec("hydra_plugins.hydra_optuna_sweeper"),
    reason="hydra-optuna-sweeper is not installed: pip install 'lvexp[search]'",
)
def test_what_optuna_stores_is_a_figure_of_the_validation(small: list[str], tmp_path: Path, lvexp: Command):
    study = tmp_path / "study.db"
    typed = [
        "-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1",
        "hydra.sweeper.study_name=s", f"hydra.sweeper.storage=sqlite:///{study}", "hydra/sweeper/sampler=grid",
        "optimizer.lr=choice(0.01,0.02)", *small, "trainer.max_epochs=1",
    ]  # fmt: skip
    done = lvexp(*typed)
    assert done.returncode == 0, done.stderr
    with contextlib.closing(sqlite3.connect(study)) as database:
        stored = sorted(value for (value,) in database.execute("select value from trial_values"))
    results = [json.loads(path.read_text()) for path in (tmp_path / "outputs").rglob("result.json")]
    assert stored == sorted(result["valid"]["nelbo"] for result in results)
    assert not {result["test"]["nll"] for result in results} & set(stored)
