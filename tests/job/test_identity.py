"""The same job has the same id whatever its spelling; anything that changes the result changes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Compose
from omegaconf import open_dict

from lvexp.job import identity


def run_id(config) -> str:
    return identity.run_id(config, config.hydra.runtime.choices.model)


def group_id(config) -> str:
    return identity.group_id(config, config.hydra.runtime.choices.model)


SAME = [
    ["logger=[wandb,tensorboard,mlflow]", "logger.wandb.watch=all", "logger.wandb.log_model=true"],
    ["latent.dim=32"],  # the default, said aloud
    ["regularizer=free_bits"],
    ["paths.outputs=/elsewhere"],
    ["logger=csv"],
    ["force=true"],
    ["name=other"],
    ["trainer.threads=1"],
    ["trainer.log_every_n_steps=7"],
    ["trainer=gpu"],
    ["trainer.devices=[3]", "trainer.accelerator=gpu"],
    ["trainer.devices='0,'"],
    ["trainer.devices=auto"],  # of a CPU
    ["trainer=ddp", "trainer.devices=1"],
]
OTHER = [
    ["latent.dim=16"],
    ["anneal=linear"],
    ["regularizer=none"],
    ["seed=2"],
    ["trainer.max_epochs=3"],
    ["data.batch_size=64"],
    ["evaluation.iw_samples=7"],
    ["evaluation.iw_words=64"],
    ["encoder=gru"],
    ["trainer.precision=64-true"],
    ["trainer.devices=2"],  # a step then takes twice the texts
    ["trainer=gpu", "trainer.devices=auto"],
]


@pytest.mark.parametrize("typed", SAME, ids=" ".join)
def test_what_does_not_change_the_result_keeps_the_id(typed: list[str], composed: Compose):
    assert run_id(composed(*typed)) == run_id(composed())


@pytest.mark.parametrize("typed", OTHER, ids=" ".join)
def test_what_changes_the_result_changes_the_id(typed: list[str], composed: Compose):
    assert run_id(composed(*typed)) != run_id(composed())


@pytest.mark.parametrize("key", ["references", "language_model", "sampler", "noise", "iw_words"])
def test_a_run_from_before_there_was_a_measurement_keeps_its_id(key: str, composed: Compose):
    before = composed()
    with open_dict(before):
        assert before.evaluation.pop(key) is None
    assert run_id(before) == run_id(composed())


def test_the_number_of_devices_counts_and_not_which_or_how_it_is_spelt(composed: Compose):
    spelt = ("2", "'2'", "[0,1]", "[2,3]", "'0,1'")
    assert len({run_id(composed("trainer=ddp", f"trainer.devices={devices}")) for devices in spelt}) == 1
    assert run_id(composed("trainer=ddp", "trainer.devices=4")) != run_id(composed("trainer=ddp"))


def test_the_order_of_overrides_does_not_matter(composed: Compose):
    assert run_id(composed("seed=3", "latent.dim=8")) == run_id(composed("latent.dim=8", "seed=3"))


def test_the_order_of_remedies_does_not_matter(composed: Compose):
    one, other = ("regularizer=[free_bits,word_dropout]", "regularizer=[word_dropout,free_bits]")
    assert run_id(composed(one)) == run_id(composed(other)), "each slot has one owner, so order changes nothing"


def test_the_seed_is_in_the_run_id_and_not_in_the_group_id(composed: Compose):
    one, two = composed("seed=1"), composed("seed=2")
    assert run_id(one) != run_id(two)
    assert group_id(one) == group_id(two)


def test_keys_that_an_option_ignores_do_not_count(composed: Compose):
    assert run_id(composed("model=rnnlm", "latent.dim=8")) == run_id(composed("model=rnnlm", "latent.dim=16"))


def test_the_texts_count_and_not_where_they_lie(composed: Compose, tmp_path: Path):
    for folder, text in (("one", "a b\nc d\n"), ("two", "a b\nc d\n"), ("three", "a b\nc e\n")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.txt").write_text(text)
    ids = [
        run_id(composed("data=text", f"data.root={tmp_path / folder}", "data.files.train=train.txt"))
        for folder in ("one", "two", "three")
    ]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]
