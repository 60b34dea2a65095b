"""The folder of a run: who may write there, which run made its files, and what a run writes. Free of torch."""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lvexp.durable import replace_durably
from lvexp.errors import RunError
from lvexp.job.identity import DONE, REFUSED, code, commit
from lvexp.report.findings import FILES
from lvexp.report.result import MARK, RESULT

#: keeps what ``trainer.precision=auto`` chose: a resumed run goes on in the same precision
PRECISION = "precision.txt"
#: files that a run writes and would overwrite
_FOUND = (RESULT, "metrics.csv", "samples.txt", *FILES, "checkpoints/*.ckpt", "figures/*.png")
#: other files that it leaves
_REST = (
    MARK, DONE, REFUSED, "error.txt", PRECISION, ".*.part", "checkpoints/.*.part",
    *("fit-profile*", "validate-profile*", "[0-9]*_trace.json"),  # written by Lightning's profilers
    *("tensorboard/events.out.tfevents.*", "tensorboard/hparams.yaml"),
)  # fmt: skip
#: errors of a disk that is full, damaged or not writable
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)
_FOLDERS = ("checkpoints", "figures", "wandb", "tensorboard")


class Folder:
    """The folder of one run. Only :meth:`alone` may be called without the lock.

    Args:
        path: its path; it exists. run_id: of the run that it belongs to.
    """

    def __init__(self, path: Path, run_id: str):
        self.path, self.run_id = path, run_id
        self.best, self.last = (path / "checkpoints" / name for name in ("best.ckpt", "last.ckpt"))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Holds the folder's lock: two processes that train into one folder would damage each other's checkpoints.

        Raises:
            RunError: another process holds it, or the file system has no locks.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunError(
                f"{self.path}: another process is running this very job\ntry  wait for it | another seed"
            ) from None
        except OSError as error:
            raise RunError(
                f"{self.path / '.lock'}: the folder cannot be locked ({error.strerror or error})\n"
                f"try  rm -r {self.path / '.lock'} | paths.outputs=DIR, where files can be locked"
            ) from error
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Turns errors of a disk that is full or not writable into a short message.

        Raises:
            RunError: as above.
        """
        try:
            yield
        except OSError as error:
            if error.errno not in _DISK:
                raise
            kept = "its last checkpoint is whole" if self.last.exists() else "nothing was saved yet"
            raise RunError(
                f"{error.filename or self.path}: {error.strerror}; {kept}\n"
                "try  make room, or permit writing there; the same command then continues"
            ) from error

    def clear(self) -> None:
        """Removes the files that a run wrote, and nothing else."""
        if (made := self._made_by()) is None:
            return
        for name in _FOLDERS:
            if (self.path / name).is_symlink():  # its target may belong to anyone
                (self.path / name).unlink()
        # W&B names them run-<time>-<id>, offline-run-<time>-<id>
        times = {run: run.name.partition("run-")[2] for run in self.path.glob("wandb/*run-*")}
        logged = [run for run, rest in times.items() if rest.partition("-")[2].startswith(made or self.run_id)]
        for found in [*logged, *(found for pattern in (*_FOUND, *_REST) for found in self.path.glob(pattern))]:
            if found.is_dir() and not found.is_symlink():
                shutil.rmtree(found)
            else:
                found.unlink()
        for link in self.path.glob("wandb/*"):
            if link.is_symlink() and not link.exists():  # W&B's links to removed files
                link.unlink()
        for name in _FOLDERS:
            with contextlib.suppress(OSError):  # it does not exist, or is not empty
                (self.path / name).rmdir()

    def check(self) -> None:
        """Rejects a folder that contains files of another run, or other files that this run would overwrite.

        Raises:
            RunError: as above.
        """
        made = self._made_by()
        if made == self.run_id:
            return
        there = [found for pattern in (*_FOUND, DONE) for found in sorted(self.path.glob(pattern))]
        if made is None and there:
            raise RunError(
                f"{there[0]}: this file is of no run of lvexp, and a run in {self.path} would write over it\n"
                "try  hydra.run.dir=DIR, a folder of its own"
            )
        if any(found.name in (RESULT, DONE) or found.suffix == ".ckpt" for found in there):
            other = f"the folder holds the run {made}" if made else f"its {MARK} is damaged: no telling which run it is"
            raise RunError(
                f"{self.path}: {other}, and what was typed is {self.run_id}\n"
                "try  hydra.run.dir=DIR, another folder | force=true, which takes away what the run there wrote"
            )
        self.clear()  # left by another run that failed early

    def begin(self, config: Mapping[str, Any], composed: Mapping[str, str]) -> None:
        """Marks the folder as this run's, if it is not yet.

        Args:
            config: resolved, as plain values. composed: files of ``.hydra`` → their text.
        """
        if not (self.path / MARK).exists():
            mark = {"run_id": self.run_id, "commit": commit(), "code": code(config)}
            replace_durably(self.path / MARK, json.dumps(mark, indent=1).encode())
        for name, text in composed.items():
            (self.path / ".hydra").mkdir(exist_ok=True)
            (self.path / ".hydra" / name).write_text(text, encoding="utf-8")

    @property
    def done(self) -> bool:
        """Whether the run has ended and all its files are there."""
        return (self.path / DONE).exists()

    def result(self) -> dict[str, Any]:
        """The result of the run.

        Raises:
            RunError: it is damaged.
        """
        result = self._read(RESULT)
        if isinstance(result.get("test"), dict):
            return result
        again = f"rm {self.path / DONE}, and the same command evaluates its best checkpoint again | "
        raise RunError(
            f"{self.path / RESULT}: this run is done, but its result is missing or damaged\n"
            f"try  {again if self.last.is_file() else ''}force=true, which trains anew"
        )

    def diverged(self) -> str | None:
        """The message of a run that diverged; None if it did not."""
        result = self._read(RESULT)
        broken = result.get("status") == "failed" and str(result.get("verdict")).startswith("diverged")
        return str(result.get("message")) if broken else None

    def edited(self, config: Mapping[str, Any]) -> str | None:
        """A line that names code that has changed since the run began; None if there is none."""
        mark = self._read(MARK)
        was, now = mark.get("code"), code(config)
        changed = [name for name in now if isinstance(was, dict) and was.get(name) != now[name]]
        if not changed:
            return None
        since = f" since commit {mark['commit'][:10]}" if "lvexp" in changed and mark.get("commit") else ""
        return f"the code has changed{since}: {', '.join(changed)}; force=true runs it anew"

    def _read(self, name: str) -> dict[str, Any]:
        """The content of a JSON file of the folder; empty if it is missing or damaged."""
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def _made_by(self) -> str | None:
        """The id of the run that made the files here, "" if it is lost, None if no run did."""
        if (self.path / MARK).exists():
            return str(self._read(MARK).get("run_id", ""))
        result = self._read(RESULT)
        if {"run_id", "group_id"} <= result.keys():  # from a version without the mark
            return str(result["run_id"])
        return self.run_id if self.path.name == self.run_id else None
