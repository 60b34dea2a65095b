"""Files that are whole whenever they are read, whatever stopped their writer. Free of torch."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


def replace_durably(path: str | Path, content: bytes | memoryview) -> None:
    """Replaces a file, or makes it: a reader finds the old content or the new, even after a kill or a power failure.

    The new content is written beside the file, since a move is one step only within a file system, and is on the disk
    before the move, since a file system may otherwise keep the move and lose the content. One writer at a time.

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
    if os.name == "posix":  # elsewhere a folder cannot be opened
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
