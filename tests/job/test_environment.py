"""What a configuration reads from the environment is written nowhere as what it stands for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SMALL, Compose, plain
from omegaconf import OmegaConf

import lvexp
from lvexp import __main__ as command
from lvexp import build
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import RunError
from lvexp.job.environment import typed, withheld

SECRET = "hunter2-of-the-environment"
WORDS = Vocabulary.train(["a b c"] * 3, kind="words", max_size=10, min_count=1, lowercase=False)


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LVEXP_SECRET", SECRET)
    monkeypatch.setenv("LVEXP_CELL", "gru")
    monkeypatch.setenv("LVEXP_SIZE", "7")


def test_texts_stay_as_typed_and_what_the_model_is_rebuilt_from_does_not(composed: Compose):
    config = composed(
        *("logger.wandb.project=${oc.env:LVEXP_SECRET}", "data.root=/corpora/${oc.env:LVEXP_SECRET}/a", "model=nasm"),
        *("embeddings.path=${oc.env:LVEXP_SECRET}", "paths.outputs=${oc.env:NOT_SET,elsewhere}", "name=${data.root}"),
        *("decoder.hidden='${oc.decode:${oc.env:LVEXP_SIZE}}'", "encoder=lstm", "encoder.cell=${oc.env:LVEXP_CELL}"),
    )
    shown = withheld(config)
    assert SECRET in str(plain(config))
    assert SECRET not in str(shown)
    assert shown["logger"]["wandb"]["project"] == shown["embeddings"]["path"] == "${oc.env:LVEXP_SECRET}"
    assert shown["model"]["embeddings"]["path"] == "${oc.env:LVEXP_SECRET}"
    assert shown["data"]["root"] == shown["name"] == "/corpora/${oc.env:LVEXP_SECRET}/a"
    assert shown["paths"]["outputs"] == "${oc.env:NOT_SET,elsewhere}"
    assert (shown["decoder"]["hidden"], shown["encoder"]["cell"]) == (7, "gru")
    assert OmegaConf.create({"a": "${oc.env:LVEXP_SECRET}"}).a == SECRET, "and the resolver is what it was"


def test_all_else_is_as_resolved(composed: Compose):
    config = composed("latent=mixed", "regularizer=[free_bits,word_dropout]", "paths.outputs=/x")
    assert withheld(config) == OmegaConf.to_container(config, resolve=True)


def test_a_run_writes_none_of_it(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Through the command line, with all that W&B is told."""
    from lvexp import run
    from lvexp.training.loggers import base as logging

    told: list[Any] = []
    outputs = tmp_path / "outputs"

    def loggers(makes: Any, info: logging.RunInfo):
        told.append((makes, info))
        return logging.make_loggers([], info)

    monkeypatch.setattr(run, "make_loggers", loggers)
    monkeypatch.setattr(
        sys, "argv",
        ["lvexp", *(word for word in small if word != "logger=csv"), "trainer.max_epochs=1",
         f"paths.outputs={outputs}", "logger=wandb",
         "logger.wandb.project=${oc.env:LVEXP_SECRET}", "data.root=${oc.env:LVEXP_SECRET}"],
    )  # fmt: skip
    command.main()
    files = [path for path in outputs.rglob("*") if path.is_file()]
    assert {"result.json", "best.ckpt", "last.ckpt", "DONE"} <= {path.name for path in files}
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    ((makes, info),) = told
    assert makes[0].keywords["project"] == SECRET, "it is where the run goes"
    assert SECRET not in str(info)
    (checkpoint,) = outputs.rglob("best.ckpt")
    assert lvexp.load(checkpoint).sample(1)


def test_a_trusted_class_of_the_users_own_reads_it_again(
    composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "reads_it.py").write_text(
        "from lvexp.regularizers.base import Regularizer\n\n\nclass Mine(Regularizer):\n"
        "    def __init__(self, token):\n        super().__init__()\n        self.token = token\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    config = plain(composed(*SMALL))
    config["regularizer"] = {"mine": {"_target_": "reads_it.Mine", "token": "${oc.env:LVEXP_SECRET}"}}
    model = build.model(config, WORDS)
    kept = {"config": config, "vocabulary": WORDS.to_json()}
    torch.save({"hyper_parameters": kept, "state_dict": model.state_dict()}, tmp_path / "best.ckpt")
    assert lvexp.load(tmp_path / "best.ckpt", trust=["reads_it.Mine"]).model.regularizers[0].token == SECRET
    monkeypatch.delenv("LVEXP_SECRET")
    with pytest.raises(RunError, match="LVEXP_SECRET"):
        lvexp.load(tmp_path / "best.ckpt", trust=["reads_it.Mine"])
    sys.modules.pop("reads_it", None)


def test_overrides_are_kept_as_typed():
    assert typed(OmegaConf.create(["data.root=${oc.env:LVEXP_SECRET}"])) == ["data.root=${oc.env:LVEXP_SECRET}"]
