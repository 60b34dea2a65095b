"""Files that are complete whenever they are read, whatever interrupted their writer. Free of torch."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace_durably(path: str | Path, content: bytes | memoryview) -> None:
    """Replaces or creates a file; a reader finds the old or the new content, even after a kill or a power failure.

    The new content is written beside the file, because a move is atomic only within a file system, and is flushed to
    disk before the move, because a file system may otherwise keep the move and lose the content. Only one writer at a
    time.

    Raises:
        OSError: the disk is full, or the folder cannot be written to; the old content is still there.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.part")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # other systems cannot open a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
