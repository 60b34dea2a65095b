"""A finished run that another run starts from: checks whether it fits, and identifies it. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lvexp.errors import ConfigError, Refusal

#: the settings in which an encoder and the decoder that it starts from must agree
SIZES = ("cell", "embedding", "hidden", "layers")


def checkpoint(folder: str | Path) -> Path:
    """The file of a run's best parameters."""
    return Path(folder).expanduser() / "checkpoints" / "best.ckpt"


def run_id(folder: str | Path | None) -> str:
    """The id of the run in a folder, even if the folder was renamed; the folder itself if it holds no run."""
    try:
        text = (Path(folder or "").expanduser() / "result.json").read_text(encoding="utf-8")
        return str(json.loads(text)["run_id"])
    except (OSError, ValueError, KeyError, TypeError):
        return str(folder)


def check(where: str, folder: str | None, encoder: Mapping[str, Any]) -> None:
    """Rejects a folder that does not hold a finished language model with the encoder's sizes.

    Args:
        where: the key that names the folder, such as ``regularizer.lm_init.run``. folder: its value.
        encoder: the resolved ``encoder`` group.

    Raises:
        Refusal: no folder is named, or the encoder has other sizes. ConfigError: the folder cannot be used.
    """
    train = "try  " + " ".join(["python -m lvexp model=rnnlm", *_sizes(encoder)])
    if folder is None:
        raise Refusal(
            f"{where}: no language model to start from is named\n{train}\nthen {where}=DIR, the folder that it prints"
        )
    decoder = language_model(where, folder, train)
    if any(decoder.get(key) != encoder.get(key) for key in SIZES):
        there = [f"encoder.{key}={decoder.get(key)}" for key in SIZES if decoder.get(key) != encoder.get(key)]
        here = [f"encoder.{key}={encoder.get(key)}" for key in SIZES if decoder.get(key) != encoder.get(key)]
        raise Refusal(f"{' '.join(here)}: the language model in {folder} is of other sizes\ntry  {' '.join(there)}")


def language_model(where: str, folder: str, train: str) -> Mapping[str, Any]:
    """The ``decoder`` group of a finished language model; ``train`` says how to get one.

    Raises:
        ConfigError: the folder cannot be used.
    """
    typed, path = f"{where}={folder}", Path(folder).expanduser()
    if not path.is_dir():
        raise ConfigError(f"{typed}: there is no such folder\n{train}\nand its folder")
    if not (path / "DONE").exists():
        raise ConfigError(f"{typed}: this run has not ended\ntry  the command that began it once more")
    try:
        config: Any = OmegaConf.to_container(OmegaConf.load(path / ".hydra" / "config.yaml"), resolve=False)
        decoder, provides = config["decoder"], config["latent"].get("provides") or ()
        decoder.get("cell")
    except Exception as error:  # yaml raises errors of several classes for a damaged file
        raise ConfigError(
            f"{typed}: its .hydra/config.yaml is missing or damaged\n{train} force=true\nand its folder"
        ) from error
    if "no_latent" not in provides:
        raise ConfigError(f"{typed}: this run is not of a language model\n{train}\nand its folder")
    if not checkpoint(path).is_file():
        raise ConfigError(f"{typed}: there is no {checkpoint(path)}\n{train} force=true\nand its folder")
    return decoder


def _sizes(encoder: Mapping[str, Any]) -> list[str]:
    return [f"decoder.{key}={encoder.get(key)}" for key in SIZES]
