"""Lightning callbacks as a choice: the shipped ones, and a user's own."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from unittest.mock import Mock

import lightning as L
import pytest
import torch
from helpers import Command, Compose, checked, plain

import lvexp as package
from lvexp import build, run
from lvexp.errors import ConfigError, Refusal
from lvexp.job.command import quiet
from lvexp.job.folder import Folder
from lvexp.models.base import LatentModel
from lvexp.training.csv_logger import CsvLogger, read_metrics
from lvexp.training.ema import Ema
from lvexp.training.progress import Progress
from lvexp.training.steps import ReturnMemory


def fit(config: dict, folder: Path, watch: list[dict[str, torch.Tensor]] | None = None):
    """Trains in a folder; ``watch`` gets the parameters after each step."""
    data = build.data(config)
    torch.manual_seed(0)
    model = build.model(config, data.vocabulary)
    training = build.training(config, model, data.steps_per_epoch)
    logger, place = CsvLogger(folder), Folder(folder, "run")
    trainer, validation, best = run._trainer(config, place, training, [logger], Progress())
    if watch is not None:
        ema = next((callback for callback in trainer.callbacks if isinstance(callback, Ema)), None)
        after = (ema or trainer.callbacks[0]).on_train_batch_end
        (ema or trainer.callbacks[0]).on_train_batch_end = lambda *given: (
            watch.append({name: value.clone() for name, value in model.state_dict().items()}),
            after(*given),
        )
    quiet()
    run._fit(trainer, validation, training, data, place)
    logger.flush()
    return trainer, validation, best, model


SHORT = ("trainer.max_epochs=2", "trainer.limit_train_batches=4", "trainer.log_every_n_steps=1", "trainer.patience=0")


def test_validations_and_the_best_checkpoint_are_of_the_average_and_training_goes_on_without(
    small: list[str], composed: Compose, tmp_path: Path
):
    own: list[dict[str, torch.Tensor]] = []
    (tmp_path / "ema").mkdir()
    typed = [*small, *SHORT, "optimizer.lr=0.05"]
    settings = plain(composed(*typed, "callbacks=ema", "callbacks.ema.decay=0.3"))
    trainer, validation, best, model = fit(settings, tmp_path / "ema", own)
    assert len(own) == 8
    (tmp_path / "plain").mkdir()
    *_, without = fit(plain(composed(*typed)), tmp_path / "plain")
    for name, value in without.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), f"{name}: the average does not touch training"
    ema = next(callback for callback in trainer.callbacks if isinstance(callback, Ema))
    kept = torch.load(tmp_path / "ema" / "checkpoints" / "best.ckpt", weights_only=True)
    steps = kept["global_step"]
    assert steps in (4, 8)
    for name, value in own[0].items():
        average = value
        for count, state in enumerate(own[1:steps], 2):
            share = min(0.3, (1 + count) / (10 + count))
            average = share * average + (1 - share) * state[name]
        torch.testing.assert_close(kept["state_dict"][name], average)
        torch.testing.assert_close(best.parameters[name], average)
    last = torch.load(tmp_path / "ema" / "checkpoints" / "last.ckpt", weights_only=True)
    for name, value in own[-1].items():
        assert torch.equal(last["state_dict"][name], value), "last.ckpt has what training goes on from"
        assert torch.equal(last["callbacks"]["Ema"]["average"][name], ema.average[name]), "and the average"
    run._load_best(model, best)
    again = trainer.validate(model=_module(settings, model), datamodule=build.data(settings), verbose=False)
    assert again[0]["val/nelbo"] == pytest.approx(validation.best["nelbo"], rel=1e-5)


def _module(settings: dict, model):
    return build.training(settings, model)


def test_gradient_norms_are_logged_by_group(small: list[str], composed: Compose, tmp_path: Path):
    typed = ["callbacks=gradient_norms", "regularizer=alternate", "regularizer.alternate.passes=1", "model=prodlda"]
    sizes = [size for size in small if not size.startswith(("encoder", "decoder"))]
    fit(plain(composed(*typed, *sizes, *SHORT)), tmp_path)
    rows = read_metrics(tmp_path / "metrics.csv")
    names = {name for row in rows for name in row if "gradient_norm" in name}
    assert names == {"train/gradient_norm_generative", "train/gradient_norm_inference"}
    for row in rows:
        here = [row[name] for name in names if name in row]
        assert len(here) == 1, "alternating steps train one group"
        assert here[0] > 0


USERS = """
from lightning.pytorch.callbacks import Callback
from pathlib import Path

class Steps(Callback):
    def __init__(self, file):
        self.file = file

    def on_train_end(self, trainer, pl_module):
        Path(self.file).write_text(str(trainer.global_step))
"""


def test_callbacks_of_a_users_own_and_of_lightning_from_a_folder(small: list[str], tmp_path: Path, lvexp: Command):
    folder = tmp_path / "elsewhere"
    (folder / "conf" / "callbacks").mkdir(parents=True)
    (folder / "mine.py").write_text(USERS)
    (folder / "conf" / "callbacks" / "steps.yaml").write_text("steps: {_target_: mine.Steps, file: steps.txt}\n")
    stop = "stop:\n  _target_: lightning.pytorch.callbacks.EarlyStopping\n  monitor: val/nelbo\n"
    stop += "  divergence_threshold: 0.1\n  limits: {divergence_threshold: '> 0'}\n"
    (folder / "conf" / "callbacks" / "stop.yaml").write_text(stop)
    typed = ["--config-dir", "conf", *small, "trainer.max_epochs=5", "trainer.limit_train_batches=3"]
    done = lvexp(*typed, "callbacks=[steps,stop]")
    assert done.returncode == 0, done.stderr
    assert (folder / "steps.txt").read_text() == "3", "stopped at its first validation"
    (file,) = (tmp_path / "outputs").rglob("result.json")
    assert json.loads(file.read_text())["choices"]["callbacks"] == ["steps", "stop"]
    assert package.load(file.parent).sample(1), "a finished run needs no callback"

    wrong = lvexp(*typed, "callbacks=[steps,stop]", "+callbacks.stop.monitro=x")
    assert wrong.returncode == 2
    assert "callbacks.stop.monitro=x: there is no such key" in wrong.stderr
    assert "callbacks.stop.monitor" in wrong.stderr
    wrong = lvexp(*typed, "callbacks=stop", "callbacks.stop.divergence_threshold=-1")
    assert wrong.returncode == 2
    assert "must be above 0" in wrong.stderr
    (folder / "conf" / "callbacks" / "path.yaml").write_text("path: {_target_: pathlib.Path}\n")
    wrong = lvexp(*typed, "callbacks=path")
    assert wrong.returncode == 2
    assert "callbacks.path._target_=pathlib.Path: that is no class for callbacks.path" in wrong.stderr


def test_what_cannot_be_chosen_is_named(composed: Compose):
    with pytest.raises(ConfigError, match=r"callbacks.ema.decay=1: must be at least 0 and below 1"):
        checked(composed("callbacks=ema", "callbacks.ema.decay=1"))
    with pytest.raises(Refusal, match=r"ema is not among the chosen callbacks\ntry  callbacks="):
        checked(composed("+callbacks.ema.decay=0.5"))


def test_freed_memory_is_returned_when_training_begins_and_every_few_steps():
    trainer = Mock(spec=L.Trainer, global_step=0)
    module = Mock(spec=L.LightningModule, device=torch.device("cpu"))
    returned: list[int] = []
    callback = ReturnMemory(every=3)
    callback.trim = lambda kept: returned.append(trainer.global_step)
    callback.on_fit_start(trainer, module)
    for trainer.global_step in range(1, 8):
        callback.on_train_batch_end(trainer, module)
    assert returned == [0, 3, 6]
    module.device = torch.device("meta")
    callback.on_train_batch_end(trainer, module)
    callback.trim = None  # another C library
    callback.on_fit_start(trainer, module)
    assert returned == [0, 3, 6]


@pytest.mark.parametrize("clips", ["norm", "value"])
def test_training_ends_where_nothing_is_left_to_learn(
    clips: str, small: list[str], composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """After six batches no step changes anything; after an epoch without one there is a validation, and no more
    training. A few batches that leave nothing to learn do not end it."""
    typed = [*small, *SHORT, "trainer.max_epochs=6", "+trainer.check_val_every_n_epoch=6"]
    typed += [f"trainer.gradient_clip_algorithm={clips}"]
    for name, learns, steps in (("all", lambda n: n <= 6, 10), ("some", lambda n: n % 4 == 1, 24)):
        count, watched = itertools.count(1), []
        monkeypatch.setattr(
            LatentModel, "resampled", lambda _, batch, learns=learns, n=count: batch if learns(next(n)) else None
        )
        (tmp_path / name).mkdir()
        trainer, validation, best, _ = fit(plain(composed(*typed)), tmp_path / name, watched)
        changed = [
            any(not torch.equal(value, before[key]) for key, value in after.items())
            for before, after in itertools.pairwise(watched)
        ]
        assert changed == [learns(n) for n in range(2, steps + 1)]
        assert trainer.global_step == validation.step == best.step == steps
        assert best.parameters is not None
        assert best.parameters.keys() == watched[-1].keys()
        assert all(torch.equal(value, watched[-1][key]) for key, value in best.parameters.items())
        assert trainer.current_epoch == (3 if name == "all" else 6)
