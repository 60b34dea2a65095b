"""What several tests share and is no fixture."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any, NamedTuple

from omegaconf import DictConfig

from lvexp.__main__ import MENU
from lvexp.checks import refusals

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


def plain(config: DictConfig) -> dict[str, Any]:
    """What a job is given of a composed configuration."""
    return refusals.resolved(config, leave_out=("hydra",))


def checked(config: DictConfig) -> None:
    """What the command line does before it loads torch."""
    refusals.check(plain(config), dict(config.hydra.runtime.choices), MENU)
