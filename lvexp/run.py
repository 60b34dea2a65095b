"""One job: seed, build, fit or resume, evaluate, write the report."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.profilers import AdvancedProfiler, Profiler, PyTorchProfiler, SimpleProfiler
from rich.console import Console

from lvexp import build
from lvexp.checks import parent
from lvexp.checks.declarations import undeclared
from lvexp.data.problems import advised
from lvexp.durable import replace_durably
from lvexp.errors import ConfigError, Diverged, RunError
from lvexp.evaluation import measured, report
from lvexp.instruments.base import finite_or_none
from lvexp.instruments.evaluate import Make, applying, validated
from lvexp.instruments.settings import EvaluationSettings
from lvexp.job import again, checkpoints, identity, preflight
from lvexp.job.command import quiet
from lvexp.job.folder import Folder
from lvexp.job.machine import Busy, crowded, processors
from lvexp.models.base import LatentModel
from lvexp.report.result import RESULT, write_result
from lvexp.report.table import on_output, show
from lvexp.training import precision
from lvexp.training.checkpoints import Best, LastCheckpoint
from lvexp.training.csv_logger import METRICS
from lvexp.training.decay import DecayAndReload, Plateau
from lvexp.training.loggers.base import Report, RunInfo, Tracker, finish, log_report, make_loggers
from lvexp.training.loggers.wandb import swept
from lvexp.training.module import Training
from lvexp.training.progress import Progress
from lvexp.training.start import start
from lvexp.training.steps import Finite, Learnt, ReturnMemory, Seeds, TrainingCurves
from lvexp.training.validation import Stop, Validation

_OURS = ("patience", "checkpoint_steps", "threads", "profiler")  # keys of the trainer group that are not Lightning's


def run(
    config: Mapping[str, Any],
    folder: Path,
    composed: Mapping[str, str] | None = None,
    written: Mapping[str, Any] | None = None,
    **identity_of_job: Any,
) -> dict[str, Any]:
    """Runs a job in its folder: from the start, from the last checkpoint, or not at all if it is already done.

    Args:
        config: the resolved configuration, as plain values.
        folder: of the run; its content decides whether the run is new, resumed or skipped.
        composed: files of the folder's ``.hydra`` → their text.
        written: the configuration for checkpoints and W&B, see :mod:`lvexp.job.environment`; None for ``config``.
        identity_of_job: run_id, group_id, choices and overrides, as in result.json.

    Returns:
        a record for the final table of a multirun: status, and the figures of result.json.

    Raises:
        RunError: the folder is in use, holds another run, is damaged, or cannot be written to.
    """
    console = on_output()
    place = Folder(folder, identity_of_job["run_id"])
    if rank_zero_only.rank != 0:  # works in the folder that the first process has locked
        if place.done and not config["force"]:
            return _record(place.result(), "skipped", config)
        if place.diverged() is not None and not config["force"]:
            return {"status": "failed", "test": {}}  # the first process reports it
        return _record(_execute(config, place, console, identity_of_job, written or config), "done", config)
    with place.alone(), place.writing():
        if config["force"]:
            place.clear()
        place.check()
        resumed = place.last.exists()
        if (place.done or resumed) and (edited := place.edited(config)):
            console.print(f"[yellow]note[/yellow] {edited}", highlight=False)
        if place.done:
            result = place.result()
            console.print(f"[dim]done before, in {folder}; force=true runs it anew[/dim]", highlight=False)
            show(result, console)
            _tell_sweep(config, place, identity_of_job, written or config, result)
            return _record(result, "skipped", config)
        if (told := place.diverged()) is not None:
            raise Diverged(f"done before: {told}")
        place.begin(config, composed or {})
        result = _execute(config, place, console, identity_of_job, written or config)
    return _record(result, "resumed" if resumed else "done", config)


def _continue(config: Mapping[str, Any], place: Folder, written: Mapping[str, Any], console: Console) -> None:
    """Starts a new run from the last checkpoint of a finished one that was shorter."""
    source, word = Path(config["resume"]).expanduser(), f"resume={config['resume']}"
    before = Folder(source, "")
    if not before.last.is_file():
        raise RunError(f"{word}: there is no {before.last}\ntry  leave out {word}, to train from the start")
    saved = checkpoints.read(before.last, f"leave out {word}, to train from the start")
    again.check_continued(word, source, saved["hyper_parameters"]["config"], written)
    with contextlib.suppress(FileNotFoundError):
        replace_durably(place.path / METRICS, (source / METRICS).read_bytes())
    place.last.parent.mkdir(exist_ok=True)
    replace_durably(place.last, before.last.read_bytes())
    console.print(f"goes on from {before.last}", highlight=False)


def _record(result: Mapping[str, Any], status: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The result of a run, with the figure that a search optimises. It is one of the best validation, because a search
    must not select by the test set."""
    valid = result.get("valid") or {}  # empty if no validation counted
    if valid:
        preflight.objective(config.get("objective"), valid)
    names = config.get("objective") or result.get("monitor")
    found = [valid.get(name) for name in names] if isinstance(names, list) else valid.get(names)
    return {**result, "status": status, "objective": found}


def _execute(
    config: Mapping[str, Any], place: Folder, console: Console, job: dict[str, Any], written: Mapping[str, Any]
) -> dict[str, Any]:
    began, folder, busy = time.perf_counter(), place.path, Busy()
    quiet()
    if config["trainer"]["threads"]:
        torch.set_num_threads(config["trainer"]["threads"])
    preflight.device(config["trainer"])
    preflight.precision(config)
    if config["resume"] and rank_zero_only.rank == 0 and not place.last.exists():
        _continue(config, place, written, console)
    resumed = preflight.resumable(place)
    build.check(config)
    makes = build.loggers(config)
    L.seed_everything(config["seed"], verbose=False)
    data = build.data(config)
    data.prepare_data()
    for line in data.corpus.notes:
        console.print(f"[yellow]data[/yellow] {advised(line)}", highlight=False)
    preflight.batches(config["trainer"], data)
    preflight.references(config["evaluation"], data)
    preflight.answers(config["model"], data)
    model = build.model(config, data.vocabulary, data.sources, data.classes)
    training = build.training(config, model, data.steps_per_epoch, kept=written)
    more = build.instruments(config)
    preflight.objective(config.get("objective"), validated(model, *applying(model, more)))
    model.check(data.classes)
    model.prepare()
    build.prepare(config, model, data.in_order("train"))
    for regularizer in training.regularizers:
        regularizer.prepare(model)
    if config["finetune"] and not place.last.exists():
        typed = f"finetune={config['finetune']}"
        saved = checkpoints.read(parent.checkpoint(config["finetune"]), "another run")
        start(model, list(config["regularizer"] or {}), saved, typed)
        console.print(f"starts from {config['finetune']}", highlight=False)
    if config["trainer"]["precision"] == "auto":
        places = [folder, *([Path(config["resume"]).expanduser()] if config["resume"] else [])]
        on_gpu = config["trainer"]["accelerator"] != "cpu" and torch.cuda.is_available()
        found, why = precision.chosen(places, training, data.train_dataloader(), on_gpu)
        config = {**config, "trainer": {**config["trainer"], "precision": found}}
        console.print(f"trainer.precision=auto: {found} ({why})", highlight=False)
    _announce(config, folder, console, training, data)
    if (crowd := crowded(torch.get_num_threads(), busy.others(), len(processors()))) is not None:
        console.print(f"[yellow]machine[/yellow] {crowd}", highlight=False)
    if resumed is not None and rank_zero_only.rank == 0:
        console.print(f"resumes after step {resumed:,}", highlight=False)

    loggers = make_loggers(makes, _info(place, job, written, identity.commit(), model.monitor[0]))
    failed = True
    try:
        progress = Progress()
        trainer, validation, best = _trainer(config, place, training, loggers, progress, more)
        _fit(trainer, validation, training, data, place)
        if trainer.is_global_zero:
            _load_best(model, best)
            evaluation, found = measured(config, model, data, more, console)
            result = {
                **job, **found, "seed": config["seed"], "monitor": model.monitor[0],
                "valid": {name: finite_or_none(value) for name, value in validation.best.items()},
                "seconds": round(time.perf_counter() - began, 1), "tokens_per_second": progress.tokens_per_second,
                "epochs": trainer.fit_loop.epoch_progress.current.ready, "steps": trainer.global_step,
                "precision": config["trainer"]["precision"],
            }  # fmt: skip
            report(place, result, evaluation, console, loggers)
            result["folder"] = str(folder)
            for profile in folder.glob("*profile*.txt"):
                console.print(f"profile in {profile}", highlight=False)
        else:
            result = {"status": "done", "test": {}}
        trainer.strategy.barrier()
        failed = False
        return result
    except Diverged as error:
        if rank_zero_only.rank:  # the first process reports it
            return {"status": "failed", "test": {}}
        result = {
            **job, "status": "failed", "seed": config["seed"], "commit": identity.commit(),
            "seconds": round(time.perf_counter() - began, 1), "tokens_per_second": progress.tokens_per_second,
            "epochs": trainer.fit_loop.epoch_progress.current.ready, "steps": trainer.global_step, "test": {},
            "valid": {name: finite_or_none(value) for name, value in validation.best.items()},
        }  # fmt: skip
        raise _diverged(error, place, result, config) from error
    finally:
        finish(loggers, failed=failed)


def _tags(choices: Mapping[str, Any]) -> list[str]:
    plain = {k: v for k, v in choices.items() if k in ("model", "latent", "anneal", "data", "experiment") and v}
    return [*choices["regularizer"], *(f"{group}={option}" for group, option in plain.items())]


def _info(
    place: Folder, job: Mapping[str, Any], written: Mapping[str, Any], commit: str | None, monitor: str
) -> RunInfo:
    """What the loggers are told of a run."""
    config = {"choices": job["choices"], "commit": commit, **undeclared(written)}
    return RunInfo(
        place.path, job["run_id"], job["group_id"], _name(job), _tags(job["choices"]), config, monitor, commit
    )


def _tell_sweep(
    config: Mapping[str, Any],
    place: Folder,
    job: Mapping[str, Any],
    written: Mapping[str, Any],
    result: Mapping[str, Any],
) -> None:
    """Tells a W&B sweep the figures of a run that was done before: its agent waits for them."""
    if not swept():
        return
    makes = [make for name, make in zip(config["logger"], build.loggers(config), strict=True) if name == "wandb"]
    monitor = result.get("monitor") or "nelbo"
    loggers = make_loggers(makes, _info(place, job, written, result.get("commit"), monitor))[1:]
    log_report(loggers, Report(result))
    finish(loggers)


def _name(job: Mapping[str, Any]) -> str:
    """A readable name for a list of runs: the model and what was typed."""
    return " ".join([job["run_id"], *job["overrides"]])[:120]


@rank_zero_only
def _announce(config: Mapping[str, Any], folder: Path, console: Console, training: Training, data: Any) -> None:
    model = training.model
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in data.corpus.splits.items())
    count = sum(parameter.numel() for parameter in model.parameters())
    points = data.vocabulary.kind == "features"
    types = f"{data.vocabulary.size:,} {'values' if points else 'types'}"
    if data.sources is not None:
        types += f", sources of {data.sources.size:,} {'values' if data.sources.kind == 'features' else 'types'}"
    remedies = ", ".join(config["regularizer"] or {})
    chosen = f"\nremedies {remedies} (regularizer=none: without)" if remedies else ""
    console.print(
        f"[bold]{folder.name}[/bold]  seed {config['seed']}  {count / 1e6:.2f} M parameters\n"
        f"data {config['data']['name']}: {sizes} {training.model.unit}s, {types}{chosen}\nfolder {folder}",
        highlight=False,
    )  # fmt: skip
    most = math.log(model.latent.configurations or math.inf)
    for name, regularizer in zip(config["regularizer"] or {}, training.regularizers, strict=True):
        if regularizer.floor is not None and regularizer.floor > most:
            console.print(
                f"[yellow]note[/yellow] {name} asks for {regularizer.floor:g} nats, and z has "
                f"{model.latent.configurations} values: it cannot tell more than {most:.2f} (try regularizer=none)",
                highlight=False,
            )  # fmt: skip
    batches = preflight.limited(data.steps_per_epoch, config["trainer"]["limit_train_batches"])
    (steps, _), last = preflight.lengths(config["trainer"], data.steps_per_epoch), training.anneal.settled()
    waited = sum(part.delay for part in training.regularizers) * batches
    waited //= config["trainer"]["accumulate_grad_batches"]
    last += waited if last else 0
    if last > steps:
        console.print(
            f"[yellow]note[/yellow] beta settles at step {last:,}, but training ends at step {steps:,}, at beta "
            f"{training.anneal(max(steps - waited, 0)):.2f}: more trainer.max_epochs or a shorter schedule",
            highlight=False,
        )


def _trainer(
    config: Mapping[str, Any],
    place: Folder,
    training: Training,
    loggers: Sequence[Any],
    progress: Progress,
    more: Sequence[Make] = (),
) -> tuple[L.Trainer, Validation, Best]:
    ours, monitor, decay = config["trainer"], f"val/{training.model.monitor[0]}", config["optimizer"].get("decay")
    validation = Validation(EvaluationSettings(**config["evaluation"]), monitor, more)
    callbacks: list[Any] = [
        Finite(ours["log_every_n_steps"]), Seeds(config["seed"]), ReturnMemory(), Learnt(),
        TrainingCurves(ours["log_every_n_steps"], lr=bool(config.get("scheduler") or decay)), validation, progress,
    ]  # fmt: skip
    if ours["patience"]:
        callbacks.append(Stop(monitor, ours["patience"]))
    best = Best(place.best, validation)
    if decay:
        callbacks.append(DecayAndReload(monitor, best, **decay))
    callbacks += [callback for logger in loggers if isinstance(logger, Tracker) for callback in logger.callbacks()]
    if training.schedule is not None and training.schedule.interval == "validation":
        callbacks.append(Plateau(monitor))
    # Lightning moves callbacks that save to the end, in this order
    callbacks += [best, *build.callbacks(config), LastCheckpoint(place.last, ours["checkpoint_steps"])]
    try:
        trainer = L.Trainer(
            **{key: value for key, value in ours.items() if key not in _OURS},
            profiler=_profiler(ours["profiler"], place.path), plugins=[checkpoints.WholeCheckpoints()],
            logger=list(loggers), callbacks=callbacks, num_sanity_val_steps=0, enable_model_summary=False,
            enable_progress_bar=True, use_distributed_sampler=False, default_root_dir=place.path,
        )  # fmt: skip
    except (RuntimeError, ValueError, TypeError, MisconfigurationException) as error:
        # Lightning's own message about one of its settings, such as a missing device
        typed = " ".join(f"trainer.{key}={ours[key]}" for key in ("accelerator", "devices", "strategy", "precision"))
        raise ConfigError(f"{typed}: {error}\ntry  trainer=cpu") from error
    return trainer, validation, best


def _profiler(name: str | None, folder: Path) -> Profiler | None:
    """Lightning's profiler of that name, writing ``fit-profile.txt`` into the run folder."""
    kinds = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}
    return kinds[name](dirpath=folder, filename="profile") if name else None


def _fit(trainer: L.Trainer, validation: Validation, training: Training, data: Any, place: Folder) -> None:
    try:
        trainer.fit(training, datamodule=data, ckpt_path=place.last if place.last.exists() else None, weights_only=True)
    except SystemExit:  # raised by Lightning after Ctrl-C
        kept = "the same command resumes from its last checkpoint" if place.last.exists() else "nothing was saved yet"
        print(f"\nlvexp: interrupted at step {trainer.global_step}; {kept}", file=sys.stderr)
        sys.exit(130)
    if validation.step != trainer.global_step:
        # training ended between two validations (max_steps): the last parameters may be the best
        trainer.validate(training, datamodule=data, verbose=False)


def _diverged(error: Diverged, place: Folder, result: dict[str, Any], config: Mapping[str, Any]) -> Diverged:
    """Writes the result of a run that diverged, and returns the error that reports it."""
    when = error.place or "the evaluation"
    kept = f"the last good parameters are in {place.last}" if place.last.exists() else "nothing was saved before"
    advice = f"try  optimizer.lr={config['optimizer']['lr'] / 10:g} | trainer.gradient_clip_val=1.0"
    message = f"{place.path.name} diverged at {when}: {error}\n{kept}\n{advice} | force=true where the code was mended"
    write_result(place.path / RESULT, {**result, "verdict": f"diverged: {error} at {when}", "message": message})
    return Diverged(message, when)


def _load_best(model: LatentModel, best: Best) -> None:
    if best.parameters is not None:  # otherwise no validation counted, and the report is on the last parameters
        model.load_state_dict(best.parameters)
