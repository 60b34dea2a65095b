"""Loggers: always a CSV file in the run folder, and the trackers that ``logger=…`` selects.

A tracker (Weights & Biases, TensorBoard, MLflow) never ends or damages a run: if it fails, one line reports it, and the
run continues without it.
"""

from __future__ import annotations

import importlib.util
import sys
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger

from lvexp.errors import ConfigError
from lvexp.report.findings import Section
from lvexp.training.csv_logger import CsvLogger

#: part of a result → its prefix in a tracker. ``val/…`` are the figures of every validation during training
PREFIXES = {"test": "test", "valid": "best"}


@dataclass(frozen=True)
class RunInfo:
    """What a tracker is told about a run.

    Args:
        folder: the run folder. name: for people. config: of the experiment, as plain values without declarations.
        monitor: the validation figure that selects the best parameters; the lower, the better.
        commit: of the code, see :func:`lvexp.job.identity.commit`.
    """

    folder: Path
    run_id: str
    group_id: str
    name: str
    tags: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    monitor: str = "nelbo"
    commit: str | None = None


@dataclass(frozen=True)
class Report:
    """The end of a run, for trackers.

    Args:
        result: the content of ``result.json``. sections: texts. figures: files of pictures.
        checkpoint: file of the best parameters; None if it should not be uploaded.
    """

    result: Mapping[str, Any]
    sections: Sequence[Section] = ()
    figures: Sequence[Path] = ()
    checkpoint: Path | None = None

    def figures_of(self) -> dict[str, float]:
        """The numbers of the best validation (``best/…``) and of the test set (``test/…``)."""
        return {
            f"{prefix}/{name}": value
            for part, prefix in PREFIXES.items()
            for name, value in (self.result.get(part) or {}).items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }

    def tables(self) -> dict[str, tuple[list[Any], list[Any]]]:
        """Texts as tables: name → columns, rows."""
        found = {}
        for section in self.sections:
            columns = list(section.columns) or ["text"]
            rows = [list(row) for row in section.rows] if section.columns else [[line] for _, line in section.lines]
            if rows:
                found[section.name] = (columns, rows)
        return found


class Tracker(Logger):
    """A logger whose failure does not matter. It begins at the first thing that it is told.

    Attributes:
        lost: whether it has failed. run: what it writes to; None before it begins and after it has ended.
    """

    title: ClassVar[str]  # in messages
    package: ClassVar[str]  # the module that it needs

    def __init__(self, info: RunInfo):
        super().__init__()
        self.info, self.lost, self.run = info, False, None

    @classmethod
    def check(cls) -> None:
        """Raises :class:`ConfigError` if its package is not installed."""
        if importlib.util.find_spec(cls.package) is None:
            raise ConfigError(
                f"logger={cls.package}: the package {cls.package} is not installed\n"
                f"try  pip install {cls.package} | logger=csv"
            )

    @property
    def name(self) -> str:
        return self.package

    @property
    def version(self) -> str:
        return self.info.run_id

    @property
    def save_dir(self) -> str:
        return str(self.info.folder)

    @property
    def wanted(self) -> bool:
        """Whether it should be used at all."""
        return True

    @abstractmethod
    def begin(self) -> Any:
        """Starts or continues the run in the tracker, and returns it."""

    @abstractmethod
    def write(self, run: Any, metrics: Mapping[str, float], step: int | None) -> None:
        """Writes the figures of a step."""

    @abstractmethod
    def report(self, run: Any, report: Report) -> None:
        """Writes the end of a run."""

    @abstractmethod
    def end(self, run: Any, failed: bool) -> None:
        """Ends the run in the tracker."""

    def callbacks(self) -> list[Callback]:
        """For what it logs in addition to figures; none by default."""
        return []

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Does nothing: the tracker is told the whole configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.attempt(lambda run: self.write(run, metrics, step))

    def attempt(self, act: Callable[[Any], object]) -> None:
        """Calls ``act`` with the tracker's run, which is begun at first use; does nothing once the tracker failed."""
        if self.lost:
            return
        try:
            if self.run is None:
                self.run = self.begin()
            act(self.run)
        except Exception as error:  # of any kind: its server, its process, its files, the disk
            self.lost = True
            say(f"{self.title} failed ({first(error)}): this run goes on without it")

    def finish(self, failed: bool = False) -> None:
        """Ends the tracker's run, if there is one."""
        run, self.run = self.run, None
        if run is not None:
            try:
                self.end(run, failed)
            except Exception as error:
                say(f"{self.title} failed at the end ({first(error)})")


def first(error: Exception) -> str:
    """The kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def say(line: str) -> None:
    print(f"lvexp: {line}", file=sys.stderr)


def make_loggers(makes: Iterable[Callable[[RunInfo], Tracker]], info: RunInfo) -> list[Logger]:
    """The loggers of a run: the CSV file, then the trackers.

    Raises:
        ConfigError: a tracker was set to something that it cannot do.
    """
    trackers = (make(info) for make in makes)
    return [CsvLogger(info.folder), *(tracker for tracker in trackers if tracker.wanted)]


@rank_zero_only
def log_report(loggers: Iterable[Logger], report: Report) -> None:
    """Sends the end of a run to the trackers."""
    for logger in loggers:
        if isinstance(logger, Tracker):
            logger.attempt(lambda run, logger=logger: logger.report(run, report))


@rank_zero_only
def finish(loggers: Iterable[Logger], failed: bool = False) -> None:
    """Ends all loggers that must be ended, in any state; for use in ``finally``, before the process's next run."""
    for logger in loggers:
        if isinstance(logger, CsvLogger):
            logger.finalize("failed" if failed else "success")
        elif isinstance(logger, Tracker):
            logger.finish(failed)
