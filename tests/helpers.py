"""What several tests share and is no fixture."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from omegaconf import DictConfig, OmegaConf

from lvexp import build
from lvexp.__main__ import MENU
from lvexp.checks import keys, refusals
from lvexp.data.vocabulary import Vocabulary

SMALL = (
    *("encoder.embedding=8", "encoder.hidden=8", "decoder.embedding=8", "decoder.hidden=8", "latent.dim=4"),
    *("logger=csv", "evaluation.iw_samples=2", "evaluation.samples=4", "evaluation.bleu_sentences=4"),
    *("evaluation.max_decode=10", "evaluation.interpolations=1"),
)
#: of sums over a text's tokens that were computed in 32 bits, whatever they are kept in
F32: dict[str, float] = {"rtol": 2e-5, "atol": 2e-5}


class Said(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    out: str
    err: str


Compose = Callable[..., DictConfig]
Command = Callable[..., subprocess.CompletedProcess[str]]


def vocabulary(words: str = "a b c") -> Vocabulary:
    return Vocabulary.train([words], kind="words", max_size=100, min_count=1, lowercase=False)


def finished_run(folder: Path, config: dict[str, Any], run: str = "rnnlm-0123456789", **choices: str) -> Path:
    """What a finished run leaves of which anything is read; its checkpoint is as training writes it."""
    torch.manual_seed(7)
    model = build.model(config, vocabulary())
    (folder / "checkpoints").mkdir(parents=True)
    (folder / ".hydra").mkdir()
    training = build.training(config, model)
    kept = {"state_dict": training.state_dict(), "hyper_parameters": dict(training.hparams)}
    torch.save(kept, folder / "checkpoints" / "best.ckpt")
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))
    (folder / "result.json").write_text(json.dumps({"run_id": run, "choices": choices}))
    (folder / "DONE").touch()
    return folder


def plain(config: DictConfig) -> dict[str, Any]:
    """What a job is given of a composed configuration."""
    return refusals.resolved(config, leave_out=("hydra",))


def checked(config: DictConfig) -> None:
    """What the command line does before it reads a corpus and loads torch."""
    choices = {str(key): value for key, value in config.hydra.runtime.choices.items()}
    raw = cast(dict[str, Any], OmegaConf.to_container(config, resolve=False))
    settled = plain(config)
    keys.check(raw, choices, MENU)
    refusals.check(settled, choices, MENU)
