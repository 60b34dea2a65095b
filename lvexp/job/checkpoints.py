"""Checkpoint files: written whole or not at all, and read whole or refused."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from lvexp.durable import replace_durably
from lvexp.errors import RunError


class WholeCheckpoints(TorchCheckpointIO):
    """Writes every checkpoint of a trainer durably.

    Lightning's own moves a temporary file of the system's to the run folder. Across file systems that is a copy, which
    can be caught half-written; and nothing makes sure that it is on the disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        content = io.BytesIO()  # written into a file, torch says of a full disk no more than that it failed
        torch.save(checkpoint, content)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, content.getbuffer())


def read(path: Path, advice: str, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What a checkpoint of a run holds.

    Args:
        path: of the file. advice: what a user may do if it is damaged.

    Raises:
        RunError: it is damaged: cut short, empty, none at all, or altered.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            whole = archive.testzip() is None  # torch looks at no checksum
        saved = torch.load(path, map_location=device, weights_only=True) if whole else {}
        if {"state_dict", "hyper_parameters"} <= set(saved):
            return saved
    except Exception:  # what zip, pickle and torch raise of damaged files is of any kind
        pass
    raise RunError(f"{path}: this checkpoint is damaged\ntry  {advice}")
