"""trainer.precision=auto: the trial changes nothing, the choice follows from it and stays."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from helpers import Command, Compose, plain

from lvexp import build
from lvexp.errors import ConfigError
from lvexp.job import preflight
from lvexp.job.folder import PRECISION
from lvexp.training import precision
from lvexp.training.precision import FULL, LOW, chosen, ratio


@pytest.fixture
def made(composed: Compose, small: list[str]):
    config = plain(composed(*small, "regularizer=[batch_norm,word_dropout]"))
    data = build.data(config)
    data.prepare_data()
    return build.training(config, build.model(config, data.vocabulary), data.steps_per_epoch), data.train_dataloader()


def test_a_trial_leaves_model_and_random_numbers_as_they_were(made, monkeypatch: pytest.MonkeyPatch):
    training, loader = made
    monkeypatch.setattr(precision, "_SECONDS", 0.0)
    values, before = copy.deepcopy(training.state_dict()), torch.get_rng_state()
    found = ratio(training, loader)
    assert found is not None
    assert found > 0
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, values[name]) for name, value in training.state_dict().items())
    assert all(parameter.grad is None for parameter in training.parameters())


def test_both_precisions_are_tried_on_the_same_batches(made, monkeypatch: pytest.MonkeyPatch):
    training, loader = made
    monkeypatch.setattr(precision, "_SECONDS", 0.0)
    seen, step = [], type(training).training_step

    def watched(self, batch, number):
        seen.append((torch.is_autocast_enabled("cpu"), number, batch.tokens.tolist()))
        return step(self, batch, number)

    monkeypatch.setattr(type(training), "training_step", watched)
    ratio(training, loader)
    halves = [[what[1:] for what in seen if what[0] is low] for low in (False, True)]
    assert len(halves[0]) == 4
    assert halves[0] == halves[1]


@pytest.mark.parametrize(
    ("share", "found", "said"),
    [(0.5, LOW, "takes 0.50 of the time"), (0.95, FULL, "0.95"), (1.4, FULL, "1.40"), (None, FULL, "cannot")],
)
def test_bf16_is_chosen_where_it_pays_and_kept(
    share, found, said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made
):
    monkeypatch.setattr(precision, "ratio", lambda *_: share)
    got, why = chosen([tmp_path], *made, False)
    assert got == found
    assert said in why
    monkeypatch.setattr(precision, "ratio", lambda *_: pytest.fail("it was tried again"))
    assert chosen([tmp_path], *made, False) == (found, "as before")
    other = tmp_path / "other"
    other.mkdir()
    assert chosen([other, tmp_path], *made, False) == (found, "as before"), "resume=RUN"


def test_what_a_processor_lacks_is_no_error(made, monkeypatch: pytest.MonkeyPatch):
    training, loader = made

    def lacking(self, batch, number):
        raise RuntimeError("not implemented for 'BFloat16'")

    monkeypatch.setattr(type(training), "training_step", lacking)
    assert ratio(training, loader) is None


def test_a_run_trains_in_what_it_chose(small: list[str], lvexp: Command, tmp_path: Path):
    typed = [*small, "trainer.precision=auto", "trainer.max_epochs=1"]
    done = lvexp(*typed)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "outputs").rglob("result.json")
    found = json.loads(file.read_text())["precision"]
    assert found == (file.parent / PRECISION).read_text()
    assert f"trainer.precision=auto: {found} (a step in bf16 takes" in " ".join(done.stdout.split())


def test_several_processes_cannot_choose():
    config = {"trainer": {"precision": "auto", "devices": 2, "accelerator": "cpu"}, "encoder": {}, "decoder": {}}
    with pytest.raises(ConfigError, match=r"auto trainer.devices=2: .*\ntry  trainer.precision=bf16-mixed"):
        preflight.precision(config)
