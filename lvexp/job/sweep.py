"""What a multirun remembers of its jobs, and the table that closes it. Free of torch."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

# passed on to the jobs, which may be other processes
_FOLDER, _LAUNCHER = "LVEXP_SWEEP", "LVEXP_LAUNCHER"


class Sweep(Callback):
    """Gives a multirun a folder in which every job leaves a line, and prints them all at the end."""

    exit_code = 0  # of the last multirun: 1 where a job failed, 2 where every one was refused

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        os.environ[_LAUNCHER] = str(os.getpid())
        try:
            folder = Path(config.hydra.sweep.dir) / ".sweeps" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
            folder.mkdir(parents=True)
        except (OSError, OmegaConfBaseException):
            return  # Hydra makes of a callback's error a warning, and then meets the same one itself
        os.environ[_FOLDER] = str(folder.absolute())

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from rich.console import Console

        from lvexp.report.table import summary

        folder = Path(os.environ.pop(_FOLDER))
        jobs = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
        found = {job["status"] for job in jobs}
        type(self).exit_code = 1 if "failed" in found else 2 if found == {"refused"} else 0
        (folder / "jobs.json").write_text(json.dumps(jobs, indent=1))
        summary(jobs, Console())


def note(number: int, record: dict[str, Any]) -> None:
    """Leaves a job's record for the closing table; nothing outside a multirun."""
    folder = os.environ.get(_FOLDER)
    if folder:
        Path(folder, f"{number:05d}.json").write_text(json.dumps(record))


def end_with_launcher() -> None:
    """Has this process end when the one that began the multirun is gone, killed for instance.

    A launcher's workers would train on, seen by no one, and hold the folders of the runs that the same command is to
    resume. Nothing where this is no worker of its own: a scheduler looks after its jobs itself.
    """
    launcher, name = os.environ.get(_LAUNCHER), "end-with-launcher"
    if launcher != str(os.getppid()) or any(thread.name == name for thread in threading.enumerate()):
        return

    def watch() -> None:
        while str(os.getppid()) == launcher:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, name=name, daemon=True).start()
