"""What a multirun remembers of its jobs, and the table that closes it. Free of torch."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

_FOLDER = "LVEXP_SWEEP"  # passed on to the jobs, which may be other processes


class Sweep(Callback):
    """Gives a multirun a folder in which every job leaves a line, and prints them all at the end."""

    failures = 0  # of the last multirun, for the exit code

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        folder = Path(config.hydra.sweep.dir) / ".sweeps" / f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        folder.mkdir(parents=True)
        os.environ[_FOLDER] = str(folder.absolute())

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from rich.console import Console

        from lvexp.report.table import summary

        folder = Path(os.environ.pop(_FOLDER))
        jobs = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
        type(self).failures = sum(job["status"] == "failed" for job in jobs)
        (folder / "jobs.json").write_text(json.dumps(jobs, indent=1))
        summary(jobs, Console())


def note(number: int, record: dict[str, Any]) -> None:
    """Leaves a job's record for the closing table; nothing outside a multirun."""
    folder = os.environ.get(_FOLDER)
    if folder:
        Path(folder, f"{number:05d}.json").write_text(json.dumps(record))
