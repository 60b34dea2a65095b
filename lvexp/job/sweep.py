"""The records of a multirun's jobs, and the table at its end. Free of torch."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.experimental.callback import Callback
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, flag_override
from omegaconf.errors import OmegaConfBaseException

from lvexp.errors import LvexpError
from lvexp.job import environment, study

# passed on to the jobs, which may be other processes
_FOLDER, _LAUNCHER = "LVEXP_SWEEP", "LVEXP_LAUNCHER"


class Sweep(Callback):
    """Gives a multirun a folder in which every job leaves a record, and prints all of them at the end."""

    exit_code = 0  # of the last multirun: 1 if a job failed, 2 if every job was refused
    jobs: ClassVar[list[dict[str, Any]]] = []  # of the last multirun: a record of each job
    mistake: ClassVar[LvexpError | None] = None  # why the last multirun ran no job
    _numbers: ClassVar[Iterator[int]] = itertools.count(1)  # one process may begin several in a second

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        type(self).mistake = None
        os.environ[_LAUNCHER] = str(os.getpid())
        try:
            name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}-{next(self._numbers)}"
            folder = Path(config.hydra.sweep.dir) / ".sweeps" / name
            folder.mkdir(parents=True)
        except (OSError, OmegaConfBaseException):
            return  # Hydra turns a callback's error into a warning, and then raises the same error itself
        os.environ[_FOLDER] = str(folder.absolute())
        try:
            study.resume(config.hydra.sweeper, environment.typed(config.hydra.overrides.task))
        except LvexpError as error:  # Hydra would warn of it and go on
            type(self).mistake = error
            with flag_override(config.hydra.sweeper, ["struct", "readonly"], False):
                config.hydra.sweeper.n_trials = 0

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from lvexp.report.table import on_output, summary

        folder = Path(os.environ.pop(_FOLDER))
        jobs = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
        found = {job["status"] for job in jobs}
        type(self).jobs = jobs
        type(self).exit_code = 1 if "failed" in found else 2 if found == {"refused"} else 0
        (folder / "jobs.json").write_text(json.dumps(jobs, indent=1))
        if self.mistake is None:
            summary(jobs, on_output())


@contextlib.contextmanager
def composing_kinds() -> Iterator[None]:
    """Before its first job, Hydra composes every job of a batch, 0.2 s each, to reject a sweep with one that cannot be
    composed. In here it composes one job of each kind: those that differ only in the values of dotted keys, or in
    numbers, can all be composed or none can."""
    whole = Sweeper.validate_batch_is_legal

    def once(self: Sweeper, batch: Sequence[Sequence[str]]) -> None:
        whole(self, list({tuple(map(_kind, words)): words for words in batch}.values()))

    Sweeper.validate_batch_is_legal = once
    try:
        yield
    finally:
        Sweeper.validate_batch_is_legal = whole


def _kind(word: str) -> str:
    """An override without its value, where any value goes: not an option of a group, nor a setting of Hydra's own."""
    key, _, value = word.partition("=")
    plain = ("." in key or value.lstrip("-").replace(".", "").isdecimal()) and not key.lstrip("+~").startswith("hydra")
    return key if plain and "$" not in value else word


def note(number: int, record: dict[str, Any]) -> None:
    """Leaves a job's record for the closing table; does nothing outside a multirun."""
    folder = os.environ.get(_FOLDER)
    if folder:
        Path(folder, f"{number:05d}.json").write_text(json.dumps(record))


def end_with_launcher() -> None:
    """Ends this process when the one that started the multirun is gone, for instance killed.

    Otherwise a launcher's workers would continue to train unnoticed and hold the folders of runs that the same command
    should resume. Does nothing if this process is not such a worker: a scheduler manages its own jobs.
    """
    launcher, name = os.environ.get(_LAUNCHER), "end-with-launcher"
    if launcher != str(os.getppid()) or any(thread.name == name for thread in threading.enumerate()):
        return

    def watch() -> None:
        while str(os.getppid()) == launcher:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name=name, daemon=True).start()
