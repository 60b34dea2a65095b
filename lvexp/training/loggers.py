"""Loggers of training metrics: always a CSV file in the run folder, and Weights & Biases unless switched off."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from lvexp.errors import ConfigError
from lvexp.report.findings import Section
from lvexp.training.csv_logger import CsvLogger

#: the x-axis of every W&B chart
STEP = "trainer/global_step"
#: W&B rejects longer tags
TAG_LENGTH = 64

#: how long the end of a run waits for the upload to W&B's server to complete, in seconds
FINISH = 300.0


class WandbLogger(Logger):
    """A separate W&B run, independent of other W&B runs of the process, without console output.

    A failure of W&B never ends or damages our run. If the server cannot be reached, the W&B run is offline; if W&B
    fails later, our run continues without it. One line reports either.

    Args:
        mode: "online" or "offline".
        **options: for ``wandb.init``.
    """

    reachable: ClassVar[bool] = True  # false once a run of this process could not reach the server

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
        """Does nothing: the run was started with the whole configuration."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        at = {} if step is None else {STEP: step}
        self.attempt(lambda run: run.log({**metrics, **at}))

    def attempt(self, act: Callable[[Any], object]) -> None:
        """Calls ``act`` with the W&B run, which is started at first use; does nothing once W&B has failed."""
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

            wandb.teardown()  # its process still holds the id of the run that failed to start
            return self._start("offline")

    def _start(self, mode: str) -> Any:
        import wandb

        run = wandb.init(
            mode=mode,  # pyright: ignore[reportArgumentType]
            resume="allow",
            reinit="create_new",  # otherwise the second job of a multirun would log into the run of the first
            # a lost server must not delay the end of a run: data that was not uploaded is in the folder
            settings=wandb.Settings(silent=True, console="off", init_timeout=30, finish_timeout=FINISH),
            **self.options,
        )
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        run.define_metric("val/nelbo", step_metric=STEP, step_sync=True, summary="min")
        return run

    def finish(self, failed: bool = False) -> None:
        """Ends the W&B run, if there is one."""
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

    W&B is online if a key is configured and offline otherwise, unless ``WANDB_MODE`` (or ``wandb offline``,
    ``wandb disabled``) sets the mode. It never asks for a key.

    Args:
        kind: "csv", or "wandb" for both.
        config: the resolved configuration, a plain dict.

    Raises:
        ConfigError: W&B was set to be online but cannot be.
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
    """:func:`wandb_mode`, or "disabled" if W&B fails."""
    try:
        return wandb_mode()
    except ConfigError:
        raise
    except Exception as error:
        _say(f"W&B failed ({_first(error)}): this run goes on without it")
        return "disabled"


def wandb_mode() -> str:
    """ "online", "offline" or "disabled", as the user set it or by whether a key is configured. Never prompts."""
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
    """Sends the report to W&B: scores and verdict in the summary, texts as tables, figures as images."""
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
        rows: list[Any] = (
            [list(row) for row in section.rows] if section.columns else [[line] for _, line in section.lines]
        )
        if rows:
            media[f"texts/{section.name}"] = wandb.Table(columns=columns, data=rows)
    if media:
        run.log(media)


@rank_zero_only
def finish(loggers: Iterable[Logger], failed: bool = False) -> None:
    """Ends all loggers that must be ended, in any state; for use in ``finally``, before the process's next run."""
    for logger in loggers:
        if isinstance(logger, CsvLogger):
            logger.finalize("failed" if failed else "success")
        elif isinstance(logger, WandbLogger):
            logger.finish(failed)
