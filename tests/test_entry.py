"""The command line around a job: where it may write, what it exits with, what outlives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Command, Said

from lvexp import __main__ as entry
from lvexp.job import sweep


@pytest.mark.parametrize("name", ["../../etc", "a/../../b"])
@pytest.mark.parametrize("many", [[], ["-m", "seed=1,2"]], ids=["one", "many"])
def test_a_name_does_not_lead_out_of_the_outputs(
    name: str, many: list[str], entered: Callable[..., Said], tmp_path: Path
):
    said = entered(*many, f"name={name}", f"paths.outputs={tmp_path}/deep/er/outputs")
    assert said.code == 2
    assert said.err == (
        f"lvexp: name={name}: it leads out of {tmp_path}/deep/er/outputs\ntry  name=NAME | paths.outputs=DIR\n"
    )
    assert not list(tmp_path.iterdir())


def test_a_name_of_several_folders_stays_within_them(entered: Callable[..., Said], tmp_path: Path):
    said = entered("name=a/b", "model=ae", "anneal=linear", f"paths.outputs={tmp_path}/outputs")
    assert "these choices do not go together" in said.err
    assert (tmp_path / "outputs" / "a" / "b").is_dir()


@pytest.mark.parametrize("many", [[], ["-m", "seed=1,2"]], ids=["one", "many"])
@pytest.mark.parametrize("outputs", ["/proc/x", "file", "file/below"])
def test_outputs_where_no_folder_can_be_made_are_named(
    outputs: str, many: list[str], entered: Callable[..., Said], tmp_path: Path
):
    (tmp_path / "file").write_text("mine")
    said = entered(*many, f"paths.outputs={outputs}")
    assert said.code == 2
    assert said.err.startswith(f"lvexp: {outputs}")
    assert "cannot be made or written to" in said.err
    assert "try  paths.outputs=DIR" in said.err
    assert len(said.err.splitlines()) == 2
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("flag", ["", "-m "])
def test_tab_completes_options_and_keys_of_a_sweep_too(flag: str, run_main: Callable[..., Said], monkeypatch):
    for typed, offered in (
        ("anneal=c", {"anneal=constant", "anneal=cosine", "anneal=cyclical"}),
        ("latent.d", {"latent.dim="}),
    ):
        line = f"lvexp {flag}{typed}"
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        assert {*run_main(entry.main, "-sc", "query=bash").out.split()} == offered


def test_a_gpu_that_is_not_there_is_said_before_the_corpus_is_read(small: list[str], lvexp: Command):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = lvexp(*small, "trainer=gpu")
    assert done.returncode == 2
    assert done.stderr.startswith("lvexp: trainer.accelerator=gpu: torch finds no GPU here")
    assert done.stderr.endswith("\ntry  trainer=cpu\n")
    assert not done.stdout


def test_what_a_pipe_reads_is_not_wrapped(small: list[str], lvexp: Command):
    done = lvexp(*small, "trainer.max_epochs=1", "data.max_length=6", COLUMNS="60")
    assert done.returncode == 0, done.stderr
    (notes,) = [line for line in done.stdout.splitlines() if line.startswith("data corpus.tsv:")]
    assert notes.endswith(")")
    (epoch,) = [line for line in done.stdout.splitlines() if line.startswith("epoch")]
    assert "val −ELBO" in epoch


@pytest.mark.parametrize("value", ["0", "1", "no"])
def test_a_mistake_is_said_once_whatever_hydra_was_told_to_print(
    value: str, entered: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HYDRA_FULL_ERROR", value)
    said = entered("model=svea")
    assert said.code == 2
    assert said.err.count("model=svea") == 1
    assert "HYDRA_FULL_ERROR" not in said.err


def test_a_sweep_of_which_all_is_refused_does_not_end_well(entered: Callable[..., Said], tmp_path: Path):
    said = entered("-m", "model=ae", "regularizer=free_bits,pretrain", f"paths.outputs={tmp_path}/outputs")
    assert said.code == 2
    assert len(list((tmp_path / "outputs").rglob("REFUSED"))) == 2


def test_a_folder_in_use_is_no_refusal_of_the_choices(
    entered: Callable[..., Said], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def in_use(*_: Any) -> dict[str, Any]:
        raise entry.RunError("another process is running this very job")

    monkeypatch.setattr(entry, "_checked", in_use)
    said = entered("-m", "seed=1,2", f"paths.outputs={tmp_path}/outputs")
    assert said.code == 1
    assert "failed: another process" in said.err
    assert not list((tmp_path / "outputs").rglob("REFUSED")), "it would stay in the other's folder"


def test_a_terminal_of_few_letters_gets_the_whole_report(small: list[str], tmp_path: Path, lvexp: Command):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = lvexp(*small, "trainer.max_epochs=1", **ascii_only)
    assert done.returncode == 0, done.stderr
    assert "on the test set" in done.stdout
    assert "reconstructions" in done.stdout, "which have an arrow"
    assert list((tmp_path / "outputs").rglob("DONE"))


WORKER = """
import os, sys, time
from joblib import Parallel, delayed

def work(place):
    from lvexp.job import sweep
    sweep.end_with_launcher()
    open(place, "w").write(str(os.getpid()))
    time.sleep(60)

os.environ["LVEXP_LAUNCHER"] = str(os.getpid())
Parallel(n_jobs=2, backend="loky")(delayed(work)(f"{sys.argv[1]}/{number}") for number in range(2))
"""


@pytest.mark.skipif(os.name != "posix", reason="a process has a parent to look at")
def test_workers_end_when_what_started_them_is_killed(tmp_path: Path):
    launcher = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)])
    places = [tmp_path / "0", tmp_path / "1"]
    try:
        waits(lambda: all(place.exists() and place.read_text() for place in places))
        workers = [int(place.read_text()) for place in places]
    finally:
        launcher.send_signal(signal.SIGKILL)
        launcher.wait()
    try:
        waits(lambda: not any(alive(worker) for worker in workers))
    finally:
        for worker in filter(alive, workers):
            os.kill(worker, signal.SIGKILL)


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not (stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z")


def waits(until: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_process_that_no_launcher_started_watches_nothing(monkeypatch: pytest.MonkeyPatch):
    import threading

    monkeypatch.setenv("LVEXP_LAUNCHER", str(os.getpid()))
    before = threading.active_count()
    sweep.end_with_launcher()
    assert threading.active_count() == before
