"""Weights & Biases never ends a run of ours, nor takes anything from what it leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from helpers import Compose, plain

from lvexp.errors import ConfigError
from lvexp.report.findings import Section
from lvexp.run import run
from lvexp.training.loggers.base import Report, RunInfo, finish, log_report, make_loggers
from lvexp.training.loggers.wandb import Wandb


class FakeWandb(ModuleType):
    """As much of W&B as a run meets, failing where it is told to. A run that was begun holds its id until teardown."""

    def __init__(self, mode: str, fails: tuple[str, ...] = (), error: Callable[[str], Exception] = OSError):
        super().__init__("wandb")
        self.__spec__ = ModuleSpec("wandb", None)
        self.fails, self.error, self.began, self.held = fails, error, [], set()
        self.Error = type("Error", (Exception,), {})
        self.Settings = dict
        self.setup = lambda settings=None: SimpleNamespace(settings=SimpleNamespace(mode=self.act("setup") or mode))
        self.login = lambda **_: mode == "online"
        self.Image, self.Table = (lambda *_, **__: self.act("media")), (lambda *_, **__: self.act("media"))
        self.logged: list[dict] = []
        self.run = MagicMock(log=lambda row: self.act("log") or self.logged.append(row))
        self.run.summary = MagicMock(update=lambda _: self.act("summary"))
        self.run.finish = lambda exit_code: self.act("finish")

    def act(self, what: str) -> None:
        if what in self.fails:
            raise self.error(f"no {what}\nand much more")

    def init(self, mode: str, **options: Any) -> Any:
        if options["id"] in self.held:
            raise self.Error("run ID is in use")
        self.began.append((mode, options))
        self.held.add(options["id"])
        self.act(mode)
        return self.run

    def teardown(self) -> None:
        self.held.clear()


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Wandb, "reachable", True)

    def make(mode: str = "offline", fails: tuple[str, ...] = (), **how: Any) -> FakeWandb:
        wandb = FakeWandb(mode, fails, **how)
        monkeypatch.setitem(sys.modules, "wandb", wandb)
        return wandb

    return make


def lived(folder: Path) -> None:
    """All that a run does with its loggers."""
    loggers = make_loggers([Wandb], RunInfo(folder, "r", "g", "n"))
    for logger in loggers:
        for step in range(3):
            logger.log_metrics({"val/nelbo": 1.0}, step=step)
            logger.save()
        logger.log_hyperparams({})
        logger.finalize("success")
    sections = [Section("Samples", [("", "a")], columns=("sample",), rows=[("a",)], place=1)]
    log_report(loggers, Report({"verdict": "healthy", "test": {"nll": 1.0}}, sections, [folder / "figure.png"]))
    finish(loggers)


def test_what_cannot_be_reached_online_goes_on_offline_with_one_line(fake, tmp_path: Path, capsys):
    wandb = fake("online", ("online",), error=lambda text: RuntimeError(text))
    lived(tmp_path)
    assert [mode for mode, _ in wandb.began] == ["online", "offline"]
    assert {options["id"] for _, options in wandb.began} == {"r"}
    assert len(wandb.logged) == 4
    said = capsys.readouterr().err.splitlines()
    assert said == ["lvexp: W&B cannot be reached (RuntimeError: no online): this run is kept offline"]
    wandb.held.clear()
    lived(tmp_path)
    assert wandb.began[-1][0] == "offline", "the next run of a sweep does not wait for it again"


@pytest.mark.parametrize("where", ["setup", "offline", "log", "media", "summary", "finish"])
@pytest.mark.parametrize("error", [PermissionError, BrokenPipeError, AssertionError], ids=lambda kind: kind.__name__)
def test_what_fails_later_goes_on_without_it_with_one_line(where: str, error, fake, tmp_path: Path, capsys):
    fake("offline", (where,), error=error)
    lived(tmp_path)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("lvexp: W&B failed")
    assert f"{error.__name__}: no {where}" in said[0]
    assert (tmp_path / "metrics.csv").read_text().count("\n") == 4


def test_a_mistake_with_the_key_is_still_refused_up_front(fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    wandb = fake("offline")
    monkeypatch.setenv("WANDB_MODE", "online")
    wandb.setup = lambda settings=None: SimpleNamespace(settings=SimpleNamespace(mode="online"))
    with pytest.raises(ConfigError, match="WANDB_MODE=online needs a W&B key"):
        make_loggers([Wandb], RunInfo(tmp_path, "r", "g", "n"))


def test_a_run_is_written_before_it_is_reported(fake, small: list[str], composed: Compose, tmp_path: Path):
    """Even where W&B takes the whole process with it."""
    wandb = fake("offline")

    def killed(_: Any) -> None:
        assert (tmp_path / "DONE").exists()
        raise KeyboardInterrupt

    wandb.run.summary.update = killed
    config = plain(composed(*small, "logger=wandb", "trainer.max_epochs=1"))
    with pytest.raises(KeyboardInterrupt):
        run(config, tmp_path, run_id="r", group_id="g", choices={"regularizer": []}, overrides=[])
    assert json.loads((tmp_path / "result.json").read_text())["status"] == "done"


@pytest.mark.slow
def test_a_key_and_no_network(lvexp, small: list[str], tmp_path: Path):
    typed = [*(word for word in small if word != "logger=csv"), "logger=wandb", "trainer.max_epochs=1"]
    done = lvexp(*typed, WANDB_MODE="online", WANDB_API_KEY="0123456789" * 4, WANDB_BASE_URL="http://127.0.0.1:9")
    assert done.returncode == 0, done.stderr
    assert "W&B cannot be reached" in done.stderr
    assert list((tmp_path / "outputs").rglob("result.json"))
    assert list((tmp_path / "outputs").rglob("offline-run-*"))
