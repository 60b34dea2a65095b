"""Checkpoint files: written whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from lvexp.durable import replace_durably


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
