"""Checkpoint files: written completely or not at all; damaged files are rejected."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from lvexp.checks import parent
from lvexp.data.known import Known
from lvexp.data.written import vocabulary_from_json
from lvexp.durable import replace_durably
from lvexp.errors import RunError

#: what ``config.json`` of an exported run says, and the name of its tensors (:mod:`lvexp.export`)
EXPORTED, TENSORS = "lvexp", "model.safetensors"


class WholeCheckpoints(TorchCheckpointIO):
    """Writes every checkpoint of a trainer durably.

    Lightning moves a file from the system's temporary folder to the run folder. Across file systems this is a copy,
    which may be interrupted halfway, and nothing ensures that it is flushed to disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        content = io.BytesIO()  # when torch writes into a file, its error does not say that the disk is full
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, content.getbuffer())


def known(run: str | Path, typed: str, labels: bool = False) -> Known:
    """The vocabulary of a finished run.

    Args:
        run: its folder. typed: what names it. labels: whether its labels count too.

    Raises:
        RunError: its checkpoint is damaged.
    """
    kept = read(parent.checkpoint(run), "another run, or the command that trained it, with force=true")
    kept = kept["hyper_parameters"]
    sources = vocabulary_from_json(kept["sources"]) if "sources" in kept else None
    own = vocabulary_from_json(kept["vocabulary"])
    if not labels:
        return Known(typed, own, sources)
    labels_of, further = classes(kept)
    return Known(typed, own, sources, labels_of, further)


def attributes(kept: Mapping[str, Any]) -> dict[str, list[str]]:
    """Attribute → names of its classes, in the hyper-parameters of a checkpoint; older ones have labels only."""
    return kept.get("attributes") or ({"label": kept["labels"]} if kept.get("labels") else {})


def classes(kept: Mapping[str, Any]) -> tuple[list[str], dict[str, list[str]]]:
    """The names of the labels, none if the texts had tags instead; and those of all other attributes."""
    found = attributes(kept)
    if (kept["config"]["data"].get("columns") or {}).get("label") is None or not found:
        return [], found
    (_, first), *further = found.items()
    return first, dict(further)


def read(path: Path, advice: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The content of a run's checkpoint.

    Args:
        path: of the file. advice: what the user can do if it is damaged.

    Raises:
        RunError: it is damaged: truncated, empty, not a checkpoint, or altered.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None  # torch does not verify checksums
        saved = torch.load(path, map_location=device, weights_only=True) if whole else {}
        if {"state_dict", "hyper_parameters"} <= set(saved):
            return saved
    except Exception:  # zip, pickle and torch raise errors of any kind for damaged files
        pass
    raise RunError(f"{path}: this checkpoint is damaged\ntry  {advice}")


def exported(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """The content of an exported run (:mod:`lvexp.export`), as :func:`read` gives that of a checkpoint.

    Raises:
        RunError: it is damaged, or of no run of lvexp; or safetensors is not installed.
    """
    try:
        from safetensors.torch import load_file  # pyright: ignore[reportMissingImports]  # an optional package
    except ImportError as error:
        raise RunError(
            f"{folder}: the package safetensors is not installed\ntry  pip install 'lvexp[export]'"
        ) from error
    try:
        kept = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        if kept["model_type"] != EXPORTED:
            raise RunError(f"{folder}: is no model of lvexp\ntry  a folder that python -m lvexp.export wrote")
        for name in ("vocabulary", "sources"):
            if (file := folder / f"{name}.json").is_file():
                kept[name] = file.read_text(encoding="utf-8")
        return {"hyper_parameters": kept, "state_dict": load_file(folder / TENSORS, device=str(device))}
    except RunError:
        raise
    except Exception as error:  # json and safetensors raise errors of many kinds for damaged files
        raise RunError(f"{folder}: this exported run is damaged ({error})\ntry  another copy of it") from error
