"""A file is whole whenever it is read: half-written, on a full disk, or moved before it is on the disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from lvexp.durable import replace_durably
from lvexp.job.checkpoints import WholeCheckpoints


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes what is written until it is asked to keep it."""

    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """What is asked of the disk, in order; ``fsync`` with the kind of what is kept and its size."""
    made: list[tuple[str, Any]] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(file: int) -> None:
        status = os.fstat(file)
        made.append(("folder", None) if os.path.isdir(f"/proc/self/fd/{file}") else ("file", status.st_size))
        fsync(file)

    def noted_replace(one: Any, two: Any) -> None:
        made.append(("move", Path(one).parent == Path(two).parent))
        replace(one, two)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    return made


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="tells files from folders by /proc")
def test_content_is_on_the_disk_before_it_is_moved_and_the_move_after(tmp_path: Path, calls: list[tuple[str, Any]]):
    replace_durably(tmp_path / "a", b"twelve bytes")
    assert (tmp_path / "a").read_bytes() == b"twelve bytes"
    assert calls == [("file", 12), ("move", True), ("folder", None)], "beside its destination: one step"


def test_a_full_disk_leaves_the_old_content_and_nothing_else(tmp_path: Path, full: None):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(OSError, match="No space left"):
        replace_durably(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_checkpoint_is_written_beside_its_destination(tmp_path: Path, calls: list[tuple[str, Any]]):
    path = tmp_path / "checkpoints" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 3, "state_dict": {"w": torch.ones(2)}}, path)
    assert torch.load(path, weights_only=True)["step"] == 3
    assert [kind for kind, _ in calls if kind != "folder"] == ["file", "move"]
    assert ("move", True) in calls


def test_a_full_disk_keeps_the_checkpoint_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: None):
    path = tmp_path / "last.ckpt"
    torch.save({"step": 3}, path)
    with pytest.raises(OSError, match="No space left"):
        WholeCheckpoints().save_checkpoint({"step": 4}, path)
    assert torch.load(path, weights_only=True)["step"] == 3
