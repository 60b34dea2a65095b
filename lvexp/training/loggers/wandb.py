"""Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import lightning as L
from lightning.pytorch.callbacks import Callback
from torch.optim import Optimizer

from lvexp.errors import ConfigError
from lvexp.training.loggers.base import PREFIXES, Report, RunInfo, Tracker, first, say

#: the x-axis of every chart
STEP = "trainer/global_step"
#: W&B rejects longer tags
TAG_LENGTH = 64
#: how long the end of a run waits for the upload to W&B's server to complete, in seconds
FINISH = 300.0


class Wandb(Tracker):
    """A separate W&B run, independent of other W&B runs of the process, without console output.

    W&B is online if a key is configured and offline otherwise, unless ``WANDB_MODE`` (or ``wandb offline``,
    ``wandb disabled``) sets the mode. It never asks for a key. If the server cannot be reached, the W&B run is offline.
    An agent of a W&B sweep decides about entity, project and id of the W&B run.

    Args:
        project: unless ``WANDB_PROJECT`` is set. entity: None for the default one.
        group: runs that W&B puts together; None for runs that differ only in their seed.
        tags: in addition to the chosen options. log_model: uploads the best checkpoint as an artifact.
        watch: "gradients", "parameters" or "all", logged as histograms; None for neither.

    Raises:
        ConfigError: W&B was set to be online but cannot be.
    """

    title, package = "W&B", "wandb"
    reachable: ClassVar[bool] = True  # false once a run of this process could not reach the server

    def __init__(
        self,
        info: RunInfo,
        project: str = "lvexp",
        entity: str | None = None,
        group: str | None = None,
        tags: Sequence[str] | None = None,
        notes: str | None = None,
        job_type: str | None = None,
        log_model: bool = False,
        watch: str | None = None,
    ):
        super().__init__(info)
        self.mode, self.log_model, self.watch = _mode(), log_model, watch
        self.options: dict[str, Any] = {
            "dir": str(info.folder),
            "group": group or info.group_id,
            "name": info.name,
            "tags": sorted({tag[:TAG_LENGTH] for tag in (*info.tags, *(tags or ())) if tag}),
            "notes": notes,
            "job_type": job_type,
            "config": {**info.config},
        }
        if not swept():
            self.options |= {"id": info.run_id, "project": os.environ.get("WANDB_PROJECT", project), "entity": entity}

    @property
    def wanted(self) -> bool:
        return self.mode != "disabled"

    def begin(self) -> Any:
        if self.mode == "online" and not self.reachable:
            self.mode = "offline"
        try:
            return self._start(self.mode)
        except Exception as error:
            if self.mode == "offline":
                raise
            say(f"W&B cannot be reached ({first(error)}): this run is kept offline")
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
            settings=wandb.Settings(
                silent=True,
                console="off",
                init_timeout=30,
                finish_timeout=FINISH,  # data that was not uploaded by then is in the folder
                disable_git=True,  # it would look for a repository in the working directory
                git_commit=(self.info.commit or "").rstrip("+") or None,
            ),
            **self.options,
        )
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP, step_sync=True)
        for figure in sorted({"nelbo", self.info.monitor}):
            run.define_metric(f"val/{figure}", step_metric=STEP, step_sync=True, summary="min")
        return run

    def write(self, run: Any, metrics: Mapping[str, Any], step: int | None) -> None:
        run.log({**metrics, **({} if step is None else {STEP: step})})

    def report(self, run: Any, report: Report) -> None:
        """Figures and verdict in the summary, this run's point for the charts that compare runs, texts as tables,
        figures as images, and the checkpoint as an artifact."""
        for part, prefix in PREFIXES.items():
            scores = report.result.get(part) or {}
            run.summary.update({f"{prefix}/{key}": value for key, value in scores.items() if value is not None})
        for key in ("status", "verdict", "seconds", "tokens_per_second"):
            if report.result.get(key) is not None:
                run.summary[key] = report.result[key]
        if media := {**self._charts(report), **_media(report)}:
            run.log(media)
        if self.log_model and report.checkpoint is not None and report.checkpoint.is_file():
            import wandb

            artifact = wandb.Artifact(f"model-{self.info.run_id}", type="model", metadata=report.figures_of())
            artifact.add_file(str(report.checkpoint))
            run.log_artifact(artifact)

    def _charts(self, report: Report) -> dict[str, Any]:
        """Rate and distortion, rate and mutual information on the test set: one point, which W&B shows among the points
        of all selected runs."""
        import wandb

        scores, charts = report.result.get("test") or {}, {}
        for up, title in (("distortion", "Rate and distortion"), ("mi", "Rate and mutual information")):
            point = [scores.get("rate"), scores.get(up)]
            if None not in point:
                table = wandb.Table(columns=["run", "rate", up], data=[[self.info.run_id, *point]])
                charts[f"charts/rate_{up}"] = wandb.plot.scatter(
                    table, "rate", up, title=f"{title}, test set, nats per text"
                )
        return charts

    def end(self, run: Any, failed: bool) -> None:
        run.finish(exit_code=int(failed))

    def callbacks(self) -> list[Callback]:
        return [Watch(self)] if self.watch else []


def _media(report: Report) -> dict[str, Any]:
    import wandb

    media: dict[str, Any] = {f"figures/{path.stem}": wandb.Image(str(path)) for path in report.figures}
    for name, (columns, rows) in report.tables().items():
        media[f"texts/{name}"] = wandb.Table(columns=columns, data=rows)
    return media


class Watch(Callback):
    """Logs histograms of gradients, before they are clipped, and of parameters every ``trainer.log_every_n_steps``
    steps. ``wandb.watch`` does it in hooks of the model, where an error of W&B would end the training."""

    def __init__(self, tracker: Wandb):
        self.tracker = tracker

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        step = trainer.global_step
        if trainer.is_global_zero and step % _every(trainer) == 0:
            self.tracker.attempt(lambda run: self.tracker.write(run, self._histograms(pl_module), step))

    def _histograms(self, module: L.LightningModule) -> dict[str, Any]:
        import wandb

        found: dict[str, Any] = {}
        for name, parameter in module.named_parameters():
            given = {"gradients": parameter.grad, "parameters": parameter.detach()}
            for kind, tensor in given.items():
                if self.tracker.watch in (kind, "all") and tensor is not None:
                    values = tensor.detach().float().cpu()
                    if len(values := values[values.isfinite()]):
                        found[f"{kind}/{name}"] = wandb.Histogram(values.numpy())  # pyright: ignore[reportArgumentType]
        return found


def _every(trainer: L.Trainer) -> int:
    return trainer.log_every_n_steps  # pyright: ignore[reportAttributeAccessIssue]


def swept() -> bool:
    """Whether an agent of a W&B sweep has started this process."""
    return bool(os.environ.get("WANDB_SWEEP_ID"))


def _mode() -> str:
    """:func:`wandb_mode`, or "disabled" if W&B fails."""
    try:
        return wandb_mode()
    except ConfigError:
        raise
    except Exception as error:
        say(f"W&B failed ({first(error)}): this run goes on without it")
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
