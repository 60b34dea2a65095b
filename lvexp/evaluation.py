"""The evaluation of a trained model and its report: after training, or of a finished run once more."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from lvexp import build
from lvexp.checks import parent, targets
from lvexp.data.bag import Bag
from lvexp.data.known import Known
from lvexp.data.layout import COLUMNS
from lvexp.data.module import TextData
from lvexp.data.problems import advised
from lvexp.data.settings import DataSettings
from lvexp.data.source import JUDGE
from lvexp.errors import ConfigError, LvexpError
from lvexp.instruments.evaluate import Evaluation, Make, evaluate
from lvexp.instruments.settings import EvaluationSettings
from lvexp.job import checkpoints, identity, preflight
from lvexp.job.command import quiet
from lvexp.job.folder import Folder
from lvexp.loading import Run, load
from lvexp.models.base import LatentModel
from lvexp.report import figures
from lvexp.report.result import RESULT, write_result
from lvexp.report.table import on_output, show
from lvexp.report.text import samples_text
from lvexp.training.csv_logger import METRICS, CsvLogger, read_metrics
from lvexp.training.loggers.base import Report, log_report

#: the part of a finished run's result that does not depend on the evaluation
_OF_TRAINING = ("run_id", "group_id", "seed", "steps", "epochs", "valid", "monitor")


def measured(
    config: Mapping[str, Any],
    model: LatentModel,
    data: TextData,
    more: Sequence[Make],
    console: Console,
    others: TextData | None = None,
) -> tuple[Evaluation, dict[str, Any]]:
    """The evaluation on the test set, and the part of result.json that follows from it.

    Args:
        config: resolved, with the settings of the evaluation. more: the user's own instruments.
        others: the corpus of the texts of ``train`` and ``valid``, if it is not that of the test set.
    """
    beside = data if others is None else others
    splits = {split: beside.in_order(split) for split in ("train", "valid", "judge") if split in beside.corpus.splits}
    with console.status("evaluating on the test set") if console.is_terminal else contextlib.nullcontext():
        settings = EvaluationSettings(**config["evaluation"])
        fluent = None if settings.language_model is None else load(settings.language_model, str(model.device)).model
        found = evaluate(model, data.test_dataloader(), settings, data.labels, splits, more, fluent)
    return found, {
        "status": "done", "commit": identity.commit(), "verdict": found.verdict, "test": dict(found.scores),
        "reported": list(found.reported), "groups": [*found.groups],
        "data": {"fingerprint": data.corpus.fingerprint, "notes": list(data.corpus.notes)},
    }  # fmt: skip


def report(
    place: Folder, result: dict[str, Any], evaluation: Evaluation, console: Console, loggers: Sequence[Any] = ()
) -> None:
    """Writes the report into a folder, which is done then, and shows it."""
    folder = place.path
    (folder / "samples.txt").write_text(samples_text(evaluation.verdict, evaluation.sections), encoding="utf-8")
    for name, text in evaluation.files.items():
        (folder / name).write_text(text, encoding="utf-8")
    for logger in loggers:
        if isinstance(logger, CsvLogger):
            logger.flush()
    history = read_metrics(folder / METRICS) if (folder / METRICS).exists() else []
    drawn = figures.draw(folder / "figures", history, evaluation.pictures, evaluation.monitor, evaluation.unit)
    write_result(folder / RESULT, result)
    (folder / identity.DONE).touch()
    # last: the run is done even if this fails
    log_report(loggers, Report(result, evaluation.sections, [*map(Path, drawn)], place.best))
    show({**result, "folder": str(folder)}, console)
    for section in evaluation.sections:
        lines = [text for _, text in section.lines[:5]] if section.brief is None else section.brief
        if lines:
            console.print(f"[bold]{section.name}[/bold]")
            for line in lines:
                indented = Padding(Text(line), (0, 0, 0, 2)) if console.is_terminal else Text(f"  {line}")
                console.print(indented)


def evaluate_again(config: Mapping[str, Any], folder: Path, evaluation_id: str, **job: Any) -> dict[str, Any]:
    """Evaluates a finished run once more and writes the report into a folder of its own (``evaluate=RUN``).

    Args:
        config: the run's configuration, with the settings of the evaluation and the texts to measure it on.
        folder: for the report. evaluation_id: of what is measured. job: choices and overrides, as in result.json.

    Returns:
        as :func:`lvexp.run.run`.

    Raises:
        RunError: there is no such run, or its checkpoint is damaged. ConfigError: the test texts are to be those of
            the run, and the texts that they are cut from are others.
    """
    console, began, source = on_output(), time.perf_counter(), Path(config["evaluate"]).expanduser()
    place = Folder(folder, evaluation_id)
    with place.alone(), place.writing():
        if config["force"]:
            place.clear()
        place.check()
        if place.done:
            console.print(f"[dim]done before, in {folder}; force=true measures it anew[/dim]", highlight=False)
            show(place.result(), console)
            return {**place.result(), "status": "skipped", "folder": str(folder), "objective": None}
        place.begin(config, {})
        quiet()
        if config["trainer"]["threads"]:
            torch.set_num_threads(config["trainer"]["threads"])
        loaded = load(source, trust=targets.named(config))
        before = Folder(source, "").result()
        data, others, left_out = _texts(config, loaded, before)
        preflight.references(config["evaluation"], data)
        preflight.answers(loaded.config["model"], data)
        for line in [*data.corpus.notes, *left_out]:
            console.print(f"[yellow]data[/yellow] {advised(line)}", highlight=False)
        evaluation, found = measured(config, loaded.model, data, build.instruments(config), console, others)
        found["data"]["notes"] += left_out
        result = {
            **{key: before.get(key) for key in _OF_TRAINING}, **job, **found, "evaluation_id": evaluation_id,
            "evaluates": str(source.resolve()), "seconds": round(time.perf_counter() - began, 1),
            "tokens_per_second": None,
        }  # fmt: skip
        report(place, result, evaluation, console)
    return {**result, "folder": str(folder), "objective": None}


def _texts(
    config: Mapping[str, Any], loaded: Run, before: Mapping[str, Any]
) -> tuple[TextData, TextData | None, list[str]]:
    """The corpus of the test set; that of the training texts, if it is another one; and a note if there is none.

    The test set is the run's own, unless another file or other columns are typed: such texts are encoded as the
    checkpoint says and need no training texts. Figures that need them are of the run's own, if they are still there.
    Another judge is read with the run's own texts.

    Raises:
        ConfigError: see :func:`evaluate_again`.
    """
    saved, typed = loaded.config, f"evaluate={config['evaluate']}"
    if _read(saved["data"]) == _read(config["data"]):
        return own_texts(loaded, config, typed), None, []
    known = _known(loaded, typed)
    given = known if parent.vocabulary_of(saved["data"]) is not None else None
    if not config["data"]["files"].get("test"):
        raise ConfigError(
            f"{typed}: no file with the texts to measure it on is named\ntry  data.files.test=FILE | leave out data.…"
        )
    judge = config["data"]["files"].get("judge")
    if judge and judge != saved["data"]["files"].get("judge"):
        raise ConfigError(
            f"{typed} data.files.judge={judge}: another judge is read with the run's own texts, and these are others\n"
            f"try  leave out data.files.judge=… | data.files.judge={judge} alone"
        )
    data = build.data(config, dataclasses.replace(known, only=("test",)))
    data.prepare_data()
    kept = {key: config["data"][key] for key in ("root", "cache", "eval_batch_size")}
    others = build.data({**config, "data": {**saved["data"], **kept}}, given)
    with contextlib.suppress(LvexpError):  # they are gone, or not what they were
        same = others.corpus.fingerprint == (before.get("data") or {}).get("fingerprint")
        if same and (list(others.labels) == list(data.labels) or not data.labels):
            return data, others, []
    return data, data, ["the run's training texts are not there: figures that need them are left out"]


def own_texts(loaded: Run, config: Mapping[str, Any], typed: str) -> TextData:
    """The corpus that a run was trained on, encoded as then.

    Args:
        config: with the run's ``data``. typed: what names the run, for messages.

    Raises:
        LvexpError: the corpus is gone, or no longer what it was.
    """
    given = _known(loaded, typed) if parent.vocabulary_of(loaded.config["data"]) is not None else None
    data = build.data(config, given)
    data.prepare_data()
    _same_vocabulary(loaded, data, config, typed)
    return data


def _known(loaded: Run, typed: str) -> Known:
    model = loaded.model
    sources = None if model.sources is model.vocabulary else model.sources
    assert not isinstance(sources, Bag), "documents have no sources"
    labels, further = checkpoints.classes({"config": loaded.config, "attributes": model.attribute_names})
    return Known(typed, model.vocabulary, sources, labels or None, further)


def _read(data: Mapping[str, Any]) -> dict[str, Any]:
    """Which files and columns a ``data`` group reads, except for the judge's, with defaults, as the versions of lvexp
    may write other keys."""
    settings = DataSettings.of(data)
    files = {split: file for split, file in settings.place.files.items() if split != JUDGE}
    named = {"files": files, "sources": settings.place.sources}
    found = {key: {split: file for split, file in value.items() if file} for key, value in named.items()}
    found["columns"] = {name: getattr(settings.columns, name) for name in ("text", *COLUMNS, "tags")}
    return {**found, "format": settings.format, "header": settings.header, "encoding": settings.encoding}


def _same_vocabulary(loaded: Run, data: TextData, config: Mapping[str, Any], typed: str) -> None:
    """Rejects a corpus whose vocabulary, made from its training texts, is not the run's."""
    model = loaded.model
    for mine, other in ((model.vocabulary, data.vocabulary), (model.sources, data.sources or data.vocabulary)):
        if mine.to_json() != other.to_json():
            raise ConfigError(
                f"{typed}: the training texts of data={config['data']['name']} give another vocabulary than the run's\n"
                "try  data.root=DIR, where the run's own training texts are | data.files.test=FILE, for other texts"
            )
    if list(model.labels) != list(data.labels):
        raise ConfigError(
            f"{typed}: the texts have other labels than the run's\ntry  test texts without a label of their own"
        )
