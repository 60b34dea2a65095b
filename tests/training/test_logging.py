from __future__ import annotations

import csv
import json
import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path
from unittest.mock import Mock

import pytest
from lightning import Trainer

from lvexp.errors import ConfigError
from lvexp.training.checkpoints import LastCheckpoint
from lvexp.training.csv_logger import CsvLogger, read_metrics
from lvexp.training.loggers.base import RunInfo, make_loggers
from lvexp.training.loggers.wandb import Wandb

# --- CSV -------------------------------------------------------------------------------------------------------------


def steps(path):
    return [row["step"] for row in read_metrics(path)]


@pytest.fixture
def logger(tmp_path):
    return CsvLogger(tmp_path)


def log(logger, step, **metrics):
    logger.log_metrics({name.replace("_", "/"): value for name, value in metrics.items()}, step)
    logger.save()


def test_what_is_logged_at_a_step_shares_a_row_and_columns_may_come_later(logger, tmp_path):
    log(logger, 9, train_loss=3.5, epoch=0)
    log(logger, 19, train_loss=2.5, epoch=0)
    log(logger, 19, val_nelbo=40.0, epoch=0)
    log(logger, 29, train_loss=1.25, train_extra=7, epoch=1)
    logger.finalize("success")
    assert os.listdir(tmp_path) == ["metrics.csv"]
    with (tmp_path / "metrics.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["step", "epoch", "train/extra", "train/loss", "val/nelbo"],
            ["9", "0", "", "3.5", ""],
            ["19", "0", "", "2.5", "40"],
            ["29", "1", "7", "1.25", ""],
        ]
    assert read_metrics(tmp_path / "metrics.csv")[1] == {"step": 19, "epoch": 0, "train/loss": 2.5, "val/nelbo": 40.0}


def test_a_validation_is_on_disk_at_once_and_training_rows_soon(logger, tmp_path):
    log(logger, 0, train_loss=1.0)
    assert not (tmp_path / "metrics.csv").exists()
    log(logger, 1, val_nelbo=1.0)
    assert steps(tmp_path / "metrics.csv") == [0, 1]
    for step in range(2, 30):
        log(logger, step, train_loss=1.0)
    assert len(steps(tmp_path / "metrics.csv")) > 20


def test_a_resumed_run_has_no_step_twice(tmp_path):
    first = CsvLogger(tmp_path)
    for step in range(10):
        log(first, step, train_loss=float(step))
        if step % 5 == 4:
            log(first, step, val_nelbo=float(step))
    first.finalize("failed")  # killed after step 9; the checkpoint is of step 5
    second = CsvLogger(tmp_path)
    for step in range(5, 12):
        log(second, step, train_loss=100.0 + step)
    second.finalize("success")
    rows = read_metrics(tmp_path / "metrics.csv")
    assert [row["step"] for row in rows] == list(range(12))
    assert [row["train/loss"] for row in rows] == [0, 1, 2, 3, 4, 105, 106, 107, 108, 109, 110, 111]
    assert rows[4]["val/nelbo"] == 4.0
    assert "val/nelbo" not in rows[9]


def test_a_row_that_a_crash_cut_off_does_no_harm(tmp_path):
    path = tmp_path / "metrics.csv"
    path.write_text("step,epoch,train/loss\n0,0,1.5\n1,0,2.5\n2,0,3")
    assert steps(path) == [0, 1]
    logger = CsvLogger(tmp_path)
    log(logger, 2, train_loss=4.5)
    logger.finalize("success")
    assert [row["train/loss"] for row in read_metrics(path)] == [1.5, 2.5, 4.5]


def test_a_crash_while_rewriting_leaves_the_old_file(logger, tmp_path, monkeypatch):
    log(logger, 0, val_nelbo=1.0)

    def crash(*_):
        raise OSError("killed")

    monkeypatch.setattr("lvexp.training.csv_logger.os.replace", crash)
    with pytest.raises(OSError, match="killed"):
        log(logger, 1, val_nelbo=2.0, val_new=3.0)
    assert steps(tmp_path / "metrics.csv") == [0]


def test_figures_that_are_not_finite_are_kept(logger, tmp_path):
    log(logger, 0, val_nelbo=float("inf"))
    assert read_metrics(tmp_path / "metrics.csv") == [{"step": 0, "val/nelbo": float("inf")}]


# --- which loggers ---------------------------------------------------------------------------------------------------


def test_csv_alone_does_without_wandb(tmp_path):
    assert [type(logger) for logger in make_loggers([], RunInfo(tmp_path, "r", "g", "n"))] == [CsvLogger]


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(Wandb, "package", "no_such_package")
    with pytest.raises(ConfigError, match="not installed\ntry  pip install no_such_package"):
        Wandb.check()


def run(code, home, **environment):
    """Runs code in a process of its own, for W&B keeps global state, on a machine without any W&B key."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") and name != "NETRC"}
    paths = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config"), "PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=home,
        env=kept | paths | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


KEY = "0123456789" * 4
MODES = f"""
    import json
    import os
    from lvexp.errors import ConfigError
    from lvexp.training.loggers.wandb import wandb_mode
    import wandb

    def mode(**environment):
        os.environ.update(environment)
        try:
            return wandb_mode()
        except ConfigError as error:
            return str(error)
        finally:
            wandb.teardown()
            for name in environment:
                del os.environ[name]

    modes = [
        mode(),
        mode(WANDB_API_KEY="{KEY}"),
        mode(NETRC="keys"),
        mode(WANDB_API_KEY="{KEY}", WANDB_MODE="offline"),
        mode(WANDB_API_KEY="{KEY}", WANDB_MODE="disabled"),
        mode(WANDB_MODE="online").splitlines()[0],
        mode(WANDB_API_KEY="short").splitlines()[0],
        mode(),
    ]
    print(json.dumps(modes))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All that needs W&B, in one process, because importing takes longest: which mode, then two runs."""
    home = tmp_path_factory.mktemp("home")
    netrc = home / "keys"
    netrc.write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    netrc.chmod(0o600)
    done = run(textwrap.dedent(MODES) + textwrap.dedent(TRAINING), home)
    assert done.returncode == 0, done.stderr
    return home, done


def test_online_where_a_key_is_configured_else_offline_unless_told(trained):
    _, done = trained
    shown = json.loads(done.stdout.splitlines()[0])
    assert shown[:5] == ["offline", "online", "online", "offline", "disabled"]
    assert shown[5] == "WANDB_MODE=online needs a W&B key, and none is configured"
    assert shown[6].startswith("the configured W&B key cannot be used")
    assert shown[7] == "offline"


# --- a run in W&B ----------------------------------------------------------------------------------------------------

TRAINING = """
    import json, sys, time, warnings
    from functools import partial
    from pathlib import Path

    import lightning as L
    import torch

    from lvexp.instruments.exhibits import Interpolation
    from lvexp.instruments.reconstruction import interpolations
    from lvexp.report.findings import Section
    from lvexp.training.loggers.base import Report, RunInfo, finish, log_report, make_loggers
    from lvexp.training.loggers.wandb import Wandb
    from lvexp.report.figures import rate_per_dimension

    warnings.filterwarnings("ignore", module=r"lightning\\.")

    class Model(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.save_hyperparameters({"vocabulary": ["word"] * 5})
            self.weight = torch.nn.Parameter(torch.ones(()))

        def training_step(self, batch, batch_idx):
            self.log("train/distortion", 50.0 - self.global_step)
            return self.weight

        def validation_step(self, batch, batch_idx):
            self.log("val/nelbo", 40.0 + self.current_epoch)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    began = time.monotonic()
    for number in (1, 2):
        folder = Path(f"runs/{number}").absolute()
        folder.mkdir(parents=True)
        loggers = make_loggers(
            [partial(Wandb, tags=["mine"], watch="all", log_model=True, notes="why", job_type="train")],
            RunInfo(
                folder, f"run{number}", "group", f"svae {number}", ["free_bits", "model=svae", "x" * 99, "free_bits"],
                {"latent": {"dim": number}, "seed": 1}, monitor="map", commit="c0ffee+",
            ),
        )
        try:
            trainer = L.Trainer(
                max_epochs=2, accelerator="cpu", logger=loggers, enable_checkpointing=False,
                enable_model_summary=False, enable_progress_bar=False, log_every_n_steps=1,
                callbacks=loggers[1].callbacks(),
            )
            loader = torch.utils.data.DataLoader(torch.zeros(3, 1))
            trainer.fit(Model(), loader, loader)
            figure = folder / "rate_per_dimension.png"
            rate_per_dimension([1.0, 0.1], [0.5, 0.0], figure)
            sections = [
                Section("Samples", [("", "play jazz")], columns=("sample",), rows=[("play jazz",)], place=1),
                Section(
                    "Reconstructions", [("", "play jazz"), ("→ ", "play rock")],
                    columns=("text", "reconstruction"), rows=[("play jazz", "play rock")], place=2,
                ),
                interpolations([Interpolation(("a", "b"), ["a", "ab", "b"])]),
                Section("Topics", [("", "jazz rock"), ("", "book table")]),
            ]
            test = {"nll": 37.0 + number, "rate": 3.0, "distortion": 34.0 + number, "mi": None}
            result = {"verdict": "healthy", "seconds": 1.5, "test": test, "valid": {"nelbo": 39.0, "step": 3}}
            best = folder / "best.ckpt"
            best.write_bytes(b"parameters")
            log_report(loggers, Report(result, sections, [figure], best))
        finally:
            finish(loggers)
            finish(loggers)  # twice does no harm
    print(time.monotonic() - began)
"""


def records(folder: Path):
    """The records of an offline run: LevelDB's log format, in blocks of 32 KiB, after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    data, at, whole, found = file.read_bytes(), 7, b"", []
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:  # a record never starts in the last bytes of a block
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(whole)
            found.append(record)
            whole = b""
    return found


def items(records_):
    """Key → values, from the records of history or summary."""
    found: dict[str, list] = {}
    for record in records_:
        for item in record:
            key = item.key or "/".join(item.nested_key)
            found.setdefault(key, []).append(json.loads(item.value_json))
    return found


@pytest.mark.parametrize("number", [1, 2])
def test_a_run_offline_is_whole_and_apart_from_the_other(trained, number):
    home, _ = trained
    folder = home / "runs" / str(number)
    found = records(folder)
    run_record = next(record.run for record in found if record.HasField("run"))
    assert (run_record.run_id, run_record.run_group, run_record.display_name, run_record.project) == (
        f"run{number}",
        "group",
        f"svae {number}",
        "lvexp",
    )
    assert sorted(run_record.tags) == ["free_bits", "mine", "model=svae", "x" * 64]
    assert (run_record.notes, run_record.job_type) == ("why", "train")
    assert (run_record.git.commit, run_record.git.remote_url) == ("c0ffee", ""), "not that of the working directory"
    config = items([run_record.config.update])
    assert config["latent"] == [{"dim": number}]
    assert config["seed"] == [1]
    assert "vocabulary" not in config

    history = items(record.history.item for record in found if record.HasField("history"))
    assert history["train/distortion"] == [50.0, 49.0, 48.0, 47.0, 46.0, 45.0]
    assert history["val/nelbo"] == [40.0, 41.0]
    assert history["trainer/global_step"][:7] == [0, 0, 1, 1, 2, 2, 2]
    assert [sum(counts) for counts in history["gradients/weight/values"]] == [1] * 6, "of one weight"
    assert len(history["parameters/weight/values"]) == 6
    assert history["figures/rate_per_dimension/_type"] == ["image-file"]
    for name in ("samples", "reconstructions", "interpolations", "Topics"):
        assert history[f"texts/{name}/_type"] == ["table-file"]

    summary = items(record.summary.update for record in found if record.HasField("summary"))
    assert summary["test/nll"] == [37.0 + number]
    assert summary["verdict"] == ["healthy"]
    assert summary["best/nelbo"] == [39.0]
    assert "test/mi" not in summary

    metrics = {m.name or m.glob_name: m for m in (record.metric for record in found if record.HasField("metric"))}
    assert metrics["*"].step_metric == "trainer/global_step"
    assert metrics["val/nelbo"].summary.min
    assert metrics["val/map"].summary.min
    charts = items(record.config.update for record in found if record.HasField("config"))
    assert [key for key in charts if "rate_distortion" in key] != [], "the chart is declared"
    assert [key for key in charts if "rate_mi" in key] == [], "there is no such figure"
    artifacts = {record.artifact.type: record.artifact for record in found if record.HasField("artifact")}
    assert artifacts["model"].name == f"model-run{number}"
    assert [content.path for content in artifacts["model"].manifest.contents] == ["best.ckpt"]

    (files,) = folder.glob("wandb/offline-run-*/files")
    assert len(list(files.glob("media/images/figures/*.png"))) == 1
    (table,) = files.glob("media/table/charts/rate_distortion*.json")
    assert json.loads(table.read_text())["data"] == [[f"run{number}", 3.0, 34.0 + number]]
    (table,) = files.glob("media/table/texts/reconstructions*.json")
    assert json.loads(table.read_text())["data"] == [["play jazz", "play rock"]]
    (table,) = files.glob("media/table/texts/interpolations*.json")
    assert json.loads(table.read_text())["data"][1] == [1, 1, "ab", "a", "b"]
    (table,) = files.glob("media/table/texts/Topics*.json")
    assert json.loads(table.read_text())["data"] == [["jazz rock"], ["book table"]]
    assert [row["train/distortion"] for row in read_metrics(folder / "metrics.csv")] == [50, 49, 48, 47, 46, 45]


def test_wandb_is_quiet_and_keeps_to_the_run_folder(trained):
    home, done = trained
    assert not (home / "wandb").exists()
    assert "wandb" not in done.stderr
    assert [line for line in done.stdout.splitlines() if "wandb" in line] == []
    assert float(done.stdout.splitlines()[-1]) < 60  # no prompt, no waiting for a server


def test_no_checkpoint_is_ahead_of_the_file(tmp_path: Path):
    """Killed just after it, a run resumes from there and never logs the steps before it again."""
    logger, on_disk = CsvLogger(tmp_path), []
    for step in (4, 9):
        logger.log_metrics({"train/loss": 1.0}, step=step)
        logger.save()
    assert not logger.path.exists(), "rows are held back, or this test says nothing"

    def save_checkpoint(path: Path) -> None:
        on_disk.extend(int(row["step"]) for row in read_metrics(logger.path))
        path.touch()

    trainer = Mock(spec=Trainer, loggers=[logger], save_checkpoint=save_checkpoint, should_stop=False)
    LastCheckpoint(tmp_path / "last.ckpt", every=1).save(trainer)
    assert on_disk == [4, 9]
