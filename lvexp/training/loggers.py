"""Where metrics go while a model trains: always a CSV file in the run folder, and Weights & Biases unless dropped."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from lvexp.durable import replace_durably
from lvexp.errors import ConfigError, RunError
from lvexp.report.findings import Section

Row = dict[str, float | int]

METRICS = "metrics.csv"
#: the x-axis of every W&B chart
STEP = "trainer/global_step"
#: W&B refuses longer tags
TAG_LENGTH = 64

#: seconds that the end of a run waits for W&B's server to take what it lacks
FINISH = 300.0


class CsvLogger(Logger):
    """Writes ``metrics.csv`` straight into the run folder, one row per logged step.

    What is logged at the same step shares a row. Steps in the file only rise: logging an earlier step, as a resumed
    run does, drops the rows after it, so that no step is there twice. The file is appended to where possible and
    otherwise replaced in one move, so a killed job leaves a readable file. Lightning's own CSV logger deletes what
    it finds in its folder and wants a sub-folder per version.

    Args:
        run_dir: the run folder.
        flush_every: rows to hold back at most; a validation is always written at once.
    """

    def __init__(self, run_dir: str | Path, flush_every: int = 20):
        super().__init__()
        self.path, self.flush_every = Path(run_dir) / METRICS, flush_every
        self.rows: list[Row] = read_metrics(self.path) if self.path.exists() else []
        self.columns = _columns(self.rows)
        self.written = len(self.rows)  # rows on disk as they are in memory
        self.stale = self.path.exists()  # the file may hold what memory does not, like a row cut off by a crash
        self.urgent = False

    @property
    def name(self) -> str:
        return "csv"

    @property
    def version(self) -> str:
        return ""

    @property
    def save_dir(self) -> str:
        return str(self.path.parent)

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the configuration is a file of its own."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | int], step: int | None = None) -> None:
        step = step if step is not None else int(self.rows[-1]["step"]) if self.rows else 0
        while self.rows and self.rows[-1]["step"] > step:
            self.rows.pop()
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step})
        self.rows[-1].update({name: float(value) for name, value in metrics.items() if name != "step"})
        if len(self.rows) <= self.written:  # rows were dropped, or one on disk was filled up
            self.written, self.stale = len(self.rows) - 1, True
        self.urgent = self.urgent or any(name.startswith("val/") for name in metrics)

    def save(self) -> None:
        """Called by Lightning after each logging; writes when it is worth it."""
        if self.urgent or len(self.rows) - self.written >= self.flush_every:
            self.flush()

    @rank_zero_only
    def flush(self) -> None:
        """Writes all rows now."""
        columns = _columns(self.rows)
        if self.stale or columns != self.columns or not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, columns)
            writer.writeheader()
            writer.writerows(_cells(row) for row in self.rows)
            replace_durably(self.path, text.getvalue().encode())
        else:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, columns).writerows(_cells(row) for row in self.rows[self.written :])
                file.flush()
                os.fsync(file.fileno())  # a checkpoint that is written next counts on these rows
        self.columns, self.written, self.stale, self.urgent = columns, len(self.rows), False, False

    def finalize(self, status: str) -> None:
        if self.stale or self.written < len(self.rows):
            self.flush()


def read_metrics(path: str | Path) -> list[Row]:
    """The rows of a ``metrics.csv``, without the cells that are empty. A row that a crash cut off is left out.

    Raises:
        RunError: it is damaged.
    """
    rows: list[Row] = []
    try:
        with Path(path).open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(line for line in file if line.endswith("\n"))
            if table.fieldnames and table.fieldnames[0] != "step":
                raise ValueError("its first column is not the step")
            for cells in table:
                with contextlib.suppress(ValueError, TypeError):
                    row: Row = {name: float(cell) for name, cell in cells.items() if cell != ""}
                    row["step"] = int(row["step"])
                    if "epoch" in row:
                        row["epoch"] = int(row["epoch"])
                    rows.append(row)
    except (ValueError, KeyError, csv.Error) as error:
        raise RunError(
            f"{path}: this file is damaged\ntry  rm {path}, and curves begin where the run goes on | force=true, which "
            "trains anew"
        ) from error
    return rows


def _columns(rows: Iterable[Row]) -> list[str]:
    found = {name for row in rows for name in row} | {"step"}
    first = [name for name in ("step", "epoch") if name in found]
    return first + sorted(found - {*first})


def _cells(row: Row) -> dict[str, str]:
    return {name: f"{value:.9g}" if isinstance(value, float) else str(value) for name, value in row.items()}


class WandbLogger(Logger):
    """A W&B run of its own, whatever other runs the process has, with a quiet console.

    W&B never ends or spoils a run of ours: what cannot be reached online goes on offline, what fails later goes on
    without, and one line says so.

    Args:
        mode: "online" or "offline".
        **options: for ``wandb.init``.
    """

    reachable: ClassVar[bool] = True  # a server that one run of the process has waited for in vain

    def __init__(self, mode: str, **options: Any):
        super().__init__()
        self.mode, self.options, self.lost, self.run = mode, options, False, None

    @property
    def name(self) -> str:
        return "wandb"

    @property
    def version(self) -> str:
        return self.options["id"]

    @property
    def save_dir(self) -> str:
        return self.options["dir"]

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: the run was started with the whole configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        at = {} if step is None else {STEP: step}
        self.attempt(lambda run: run.log({**metrics, **at}))

    def attempt(self, act: Callable[[Any], object]) -> None:
        """Does something with the run, which starts at first use; nothing once W&B has failed."""
        if self.lost:
            return
        try:
            if self.run is None:
                self.run = self._begin()
            act(self.run)
        except Exception as error:  # of any kind: its server, its process, its files, the disk
            self.lost = True
            _say(f"W&B failed ({_first(error)}): this run goes on without it")

    def _begin(self) -> Any:
        if self.mode == "online" and not self.reachable:
            self.mode = "offline"
        try:
            return self._start(self.mode)
        except Exception as error:
            if self.mode == "offline":
                raise
            _say(f"W&B cannot be reached ({_first(error)}): this run is kept offline")
            type(self).reachable, self.mode = False, "offline"
            import wandb

            wandb.teardown()  # its process still holds the id of the run that did not start
            return self._start("offline")

    def _start(self, mode: str) -> Any:
        import wandb

        run = wandb.init(
            mode=mode,  # pyright: ignore[reportArgumentType]
            resume="allow",
            reinit="create_new",  # else the second job of a multirun would log into the first one's run
            # a server that went away may not hold up the end of a run: what it lacks lies in the folder
            settings=wandb.Settings(silent=True, console="off", init_timeout=30, finish_timeout=FINISH),
            **self.options,
        )
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        run.define_metric("val/nelbo", step_metric=STEP, step_sync=True, summary="min")
        return run

    def finish(self, failed: bool = False) -> None:
        """Ends the run; without one, does nothing."""
        run, self.run = self.run, None
        if run is not None:
            try:
                run.finish(exit_code=int(failed))
            except Exception as error:
                _say(f"W&B failed at the end ({_first(error)})")


def _first(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _say(line: str) -> None:
    print(f"lvexp: {line}", file=sys.stderr)


def make_loggers(
    kind: str,
    run_dir: str | Path,
    *,
    run_id: str,
    group_id: str,
    name: str,
    tags: Iterable[str] = (),
    config: Mapping[str, Any] | None = None,
    project: str = "lvexp",
) -> list[Logger]:
    """The loggers of a run.

    W&B is online where a key is configured and offline otherwise, unless ``WANDB_MODE`` (or ``wandb offline``,
    ``wandb disabled``) says what to do. It never asks for a key.

    Args:
        kind: "csv", or "wandb" for both.
        config: the resolved configuration, a plain dict.

    Raises:
        ConfigError: W&B is to be online, but cannot be.
    """
    if kind not in ("csv", "wandb"):
        raise ConfigError(f"logger={kind} is not known\ntry  logger=csv | logger=wandb")
    loggers: list[Logger] = [CsvLogger(run_dir)]
    mode = _mode() if kind == "wandb" else "disabled"
    if mode != "disabled":
        loggers.append(
            WandbLogger(
                mode,
                dir=str(run_dir),
                id=run_id,
                group=group_id,
                name=name,
                tags=sorted({tag[:TAG_LENGTH] for tag in tags if tag}),
                config=dict(config or {}),
                project=os.environ.get("WANDB_PROJECT", project),
            )
        )
    return loggers


def _mode() -> str:
    """:func:`wandb_mode`, and "disabled" where W&B cannot even say."""
    try:
        return wandb_mode()
    except ConfigError:
        raise
    except Exception as error:
        _say(f"W&B failed ({_first(error)}): this run goes on without it")
        return "disabled"


def wandb_mode() -> str:
    """ "online", "offline" or "disabled": what the user said, else whether a key is configured. Never prompts."""
    import wandb

    wandb.setup(settings=wandb.Settings(silent=True))
    wanted = wandb.setup().settings.mode
    if wanted in ("disabled", "offline", "dryrun"):
        return "disabled" if wanted == "disabled" else "offline"
    try:
        if wandb.login(prompt=False, verify=False):
            return "online"
    except wandb.Error as error:
        raise ConfigError(
            f"the configured W&B key cannot be used: {error}\ntry  `wandb login` | WANDB_MODE=offline | logger=csv"
        ) from error
    if os.environ.get("WANDB_MODE") in ("online", "run", "shared"):
        raise ConfigError(
            f"WANDB_MODE={os.environ['WANDB_MODE']} needs a W&B key, and none is configured\n"
            "try  `wandb login` | WANDB_API_KEY=… | WANDB_MODE=offline | logger=csv"
        )
    return "offline"


@rank_zero_only
def log_report(
    loggers: Iterable[Logger],
    result: Mapping[str, Any],
    sections: Sequence[Section],
    figures: Sequence[str | Path] = (),
) -> None:
    """Hands the report to W&B: scores and verdict in the summary, texts as tables, figures as images."""
    for logger in loggers:
        if not isinstance(logger, WandbLogger):
            continue
        logger.attempt(lambda run: _summarise(run, result))
        logger.attempt(lambda run: _log_media(run, sections, figures))


def _summarise(run: Any, result: Mapping[str, Any]) -> None:
    for split in ("test", "valid"):
        scores = result.get(split) or {}
        run.summary.update({f"{split}/{key}": value for key, value in scores.items() if value is not None})
    for key in ("status", "verdict", "seconds", "tokens_per_second"):
        if result.get(key) is not None:
            run.summary[key] = result[key]


def _log_media(run: Any, sections: Sequence[Section], figures: Sequence[str | Path]) -> None:
    import wandb

    media: dict[str, Any] = {f"figures/{Path(path).stem}": wandb.Image(str(path)) for path in figures}
    for section in sections:
        columns: list[Any] = list(section.columns) or ["text"]
        rows = [list(row) for row in section.rows] if section.columns else [[line] for _, line in section.lines]
        title = section.title.lower() if section.place else section.title
        if rows:
            media[f"texts/{title}"] = wandb.Table(columns=columns, data=rows)
    if media:
        run.log(media)


@rank_zero_only
def finish(loggers: Iterable[Logger], failed: bool = False) -> None:
    """Ends what must be ended, whatever state it is in: for a ``finally``, before the next run of the process."""
    for logger in loggers:
        if isinstance(logger, CsvLogger):
            logger.finalize("failed" if failed else "success")
        elif isinstance(logger, WandbLogger):
            logger.finish(failed)
