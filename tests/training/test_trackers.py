"""What a run leaves in W&B, TensorBoard and MLflow, read back by their own readers."""

from __future__ import annotations

import glob
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import Command, Compose, plain
from test_logging import items, records

from lvexp import build
from lvexp.__main__ import MENU
from lvexp.report.findings import Section
from lvexp.run import run
from lvexp.training.loggers.base import Report, RunInfo, finish, log_report, make_loggers
from lvexp.training.loggers.mlflow import MLflow
from lvexp.training.loggers.tensorboard import TensorBoard

SWEEP = MENU.parent / "examples" / "wandb_sweep.yaml"


def agents_command(values: dict[str, Any]) -> list[str]:
    """What an agent of the shipped sweep would execute for these values of its parameters."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

    sweep = yaml.safe_load(SWEEP.read_text())
    filled = {"env": ["/usr/bin/env"], "interpreter": [sys.executable], "program": [sweep["program"]]}
    filled |= create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    words = []
    for word in create_sweep_command(sweep["command"]):
        words += filled[word[2:-1]] if word.startswith("${") else [word]
    return words


def told(folder: Path) -> tuple[Any, dict[str, list], dict[str, list]]:
    """The run's record, its configuration and its summary in W&B's offline file."""
    found = records(folder)
    record = next(one.run for one in found if one.HasField("run"))
    summary = items(one.summary.update for one in found if one.HasField("summary"))
    return record, items([record.config.update]), summary


@pytest.mark.slow
def test_a_sweep_of_wandb_is_told_the_result_even_of_a_run_that_was_done_before(small: list[str], tmp_path: Path):
    parameters = yaml.safe_load(SWEEP.read_text())["parameters"]
    values = {
        name: said.get("value", (said.get("values") or [said.get("min")])[-1]) for name, said in parameters.items()
    }
    assert values["regularizer"] == "[free_bits,word_dropout]"
    small = [word for word in small if not word.startswith(("logger=", "latent.dim="))]
    words = [*agents_command(values), *small, "trainer.max_epochs=1", "paths.outputs=outputs"]
    for agents in ("first", "again"):
        done = subprocess.run(
            words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", "WANDB_SWEEP_ID": "swept",
                 "WANDB_RUN_ID": agents, "WANDB_PROJECT": "theirs"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ("done before" in done.stdout) == (agents == "again")
    (file,) = tmp_path.glob("outputs/sweep/*/result.json")
    result, logged = json.loads(file.read_text()), {}
    for directory in sorted(file.parent.glob("wandb/offline-run-*")):
        place = tmp_path / directory.name
        (place / "wandb").mkdir(parents=True)
        (place / "wandb" / directory.name).symlink_to(directory)
        record, config, summary = told(place)
        assert (record.sweep_id, record.project, record.run_group) == ("swept", "theirs", result["group_id"])
        assert record.git.commit == result["commit"].rstrip("+")
        logged[record.run_id] = {name: values[-1] for name, values in summary.items()}
        assert config["choices"][0] | {"regularizer": []} == result["choices"] | {"regularizer": []}
        assert config["commit"] == [result["commit"]]
        assert not {"limits", "requires", "provides", "one_of", "conflicts"} & {
            key for option in config.values() for key in (option[0] if isinstance(option[0], dict) else {})
        }
    assert set(logged) == {"first", "again"}
    for summary in logged.values():
        assert summary["best/nelbo"] == result["valid"]["nelbo"]
        assert summary["test/nll"] == result["test"]["nll"]
        assert summary["verdict"] == result["verdict"]

    pattern = "outputs/sweep/*/wandb/offline-run-*"  # the command of docs/wandb.md
    assert pattern.replace("sweep", "<name>") in (MENU.parent / "docs" / "wandb.md").read_text(encoding="utf-8")
    paths = sorted(glob.glob(pattern, root_dir=tmp_path))
    synced = subprocess.run(
        [sys.executable, "-m", "wandb", "sync", "--dry-run", *paths],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Would sync 2 run(s)" in synced.stdout + synced.stderr


def lived(tracker: Any, info: RunInfo) -> None:
    """What a run does with a tracker."""
    loggers = make_loggers([tracker], info)
    for step in range(3):
        loggers[1].log_metrics({"val/nelbo": 30.0 - step}, step=step)
        loggers[1].save()
    sections = [Section("Samples", [("", "a|b")], columns=("sample",), rows=[("a|b",)], place=1)]
    figure, best = info.folder / "figure.png", info.folder / "best.ckpt"
    best.write_bytes(b"parameters")
    from matplotlib.figure import Figure

    Figure(figsize=(1, 1)).savefig(figure)
    result = {"verdict": "healthy", "test": {"nll": 27.5, "nll_kind": "exact"}, "valid": {"nelbo": 28.0}}
    log_report(loggers, Report(result, sections, [figure], best))
    finish(loggers)
    finish(loggers)


def info(folder: Path) -> RunInfo:
    folder.mkdir(parents=True, exist_ok=True)
    return RunInfo(folder, "svae-1", "svae-g", "a name", ["model=svae"], {"latent": {"dim": 4}}, commit="c0ffee")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_has_figures_texts_pictures_and_parameters(tmp_path: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    lived(TensorBoard, info(tmp_path / "run"))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    tags = events.Tags()
    assert [(event.step, event.value) for event in events.Scalars("val/nelbo")] == [(0, 30), (1, 29), (2, 28)]
    assert events.Scalars("test/nll")[-1].value == 27.5
    assert events.Scalars("best/nelbo")[-1].value == 28
    assert tags["images"] == ["figures/figure"]
    assert "texts/samples/text_summary" in tags["tensors"]
    hparams = (tmp_path / "run" / "tensorboard" / "hparams.yaml").read_text()
    assert yaml.safe_load(hparams) == {"latent": {"dim": 4}}


@pytest.mark.filterwarnings("ignore")  # of MLflow and SQLAlchemy, about each other
def test_mlflow_has_figures_texts_pictures_and_parameters_in_one_run_when_resumed(tmp_path: Path):
    pytest.importorskip("mlflow")
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for _ in range(2):
        lived(lambda given: MLflow(given, tracking_uri=uri, log_model=True), info(tmp_path / "run"))
    client = MlflowClient(uri)
    (found,) = client.search_runs([client.get_experiment_by_name("lvexp").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"val/nelbo": 28, "test/nll": 27.5, "best/nelbo": 28}
    assert found.data.params == {"latent/dim": "4"}
    assert found.data.tags["lvexp.run_id"] == "svae-1"
    assert found.data.tags["lvexp.verdict"] == "healthy"
    assert found.data.tags["mlflow.source.git.commit"] == "c0ffee"
    paths = {
        item.path
        for folder in ("figures", "texts", "checkpoints")
        for item in client.list_artifacts(found.info.run_id, folder)
    }
    assert paths == {"figures/figure.png", "texts/samples.json", "checkpoints/best.ckpt"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("logger", "broken"), [("tensorboard", "TensorBoardLogger"), ("mlflow", "MLFlowLogger")])
def test_a_tracker_that_fails_leaves_the_run_as_it_is_with_one_line(
    logger: str,
    broken: str,
    small: list[str],
    composed: Compose,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys,
):
    pytest.importorskip(logger)

    def fails(*_: Any, **__: Any) -> None:
        raise PermissionError("no disk\nand much more")

    monkeypatch.setattr(f"lightning.pytorch.loggers.{broken}", fails)
    results = []
    for chosen in ("csv", logger):
        config = plain(composed(*(w for w in small if w != "logger=csv"), f"logger={chosen}", "trainer.max_epochs=1"))
        folder = tmp_path / chosen
        folder.mkdir()
        results.append(run(config, folder, run_id="r", group_id="g", choices={"regularizer": []}, overrides=[]))
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("lvexp: ")]
    assert len(said) == 1
    assert said[0].endswith("failed (PermissionError: no disk): this run goes on without it")
    assert results[0]["test"] == results[1]["test"]
    assert (tmp_path / logger / "DONE").exists()


def test_several_loggers_are_chosen_at_once_and_csv_is_none_of_them(composed: Compose):
    assert list(plain(composed("logger=[wandb,tensorboard]"))["logger"]) == ["wandb", "tensorboard"]
    assert build.loggers(plain(composed("logger=csv"))) == []
    assert plain(composed("logger=[csv,wandb]"))["logger"] == plain(composed("logger=wandb"))["logger"]


def test_a_logger_of_the_users_own_is_told_the_same(lvexp: Command, small: list[str], tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "my_conf" / "logger").mkdir(parents=True)
    (elsewhere / "my_conf" / "logger" / "mine.yaml").write_text("mine: {_target_: my_loggers.Mine, to: log.txt}\n")
    (elsewhere / "my_loggers.py").write_text(
        "from pathlib import Path\n\nfrom lvexp.training.loggers.base import Tracker\n\n\n"
        "class Mine(Tracker):\n    title, package = 'mine', 'json'\n\n"
        "    def __init__(self, info, to):\n        super().__init__(info)\n        self.to = to\n\n"
        "    def begin(self):\n        return (self.info.folder / self.to).open('w')\n\n"
        "    def write(self, run, metrics, step):\n        print(step, sorted(metrics), file=run)\n\n"
        "    def report(self, run, report):\n        print(report.figures_of()['test/nll'], file=run)\n\n"
        "    def end(self, run, failed):\n        run.close()\n"
    )
    words = [word for word in small if word != "logger=csv"]
    done = lvexp("--config-dir=my_conf", "logger=mine", "trainer.max_epochs=1", *words)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "outputs").rglob("log.txt")
    lines = file.read_text().splitlines()
    assert "'val/nelbo'" in lines[-2]
    assert float(lines[-1]) == json.loads((file.parent / "result.json").read_text())["test"]["nll"]


def test_a_logger_whose_package_is_missing_is_refused_with_the_command(
    lvexp: Command, small: list[str], tmp_path: Path
):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'mlflow' else find(name, *more)\n"
    )
    path = os.pathsep.join([str(tmp_path / "elsewhere"), str(MENU.parent), os.environ.get("PYTHONPATH", "")])
    done = lvexp(*(word for word in small if word != "logger=csv"), "logger=mlflow", PYTHONPATH=path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "lvexp: logger=mlflow: the package mlflow is not installed", "try  pip install mlflow | logger=csv",
    ]  # fmt: skip
    assert not list((tmp_path / "outputs").rglob("result.json"))
