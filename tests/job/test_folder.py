"""Run folders: whose they are, what may be taken away, and what is said of damaged ones."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
from filelock import FileLock
from helpers import Compose, plain

from lvexp.checks import parent
from lvexp.errors import ConfigError, RunError
from lvexp.job import identity
from lvexp.job.folder import MARK, Folder
from lvexp.regularizers.lm_init import LmInit
from lvexp.run import run
from lvexp.training.csv_logger import CsvLogger, read_metrics

JOB: dict[str, Any] = {"group_id": "g", "choices": {"regularizer": []}, "overrides": []}
Damage = Callable[[Path], Any]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def scrambled(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(5000))


def flipped(path: Path) -> None:
    """A bit here and there, which unpickles as if nothing were."""
    content = bytearray(path.read_bytes())
    for place in range(len(content) // 3, 2 * len(content) // 3, 101):  # some of them are padding, which nobody reads
        content[place] ^= 1
    path.write_bytes(content)


def listed(folder: Path) -> dict[str, bytes]:
    """All files with their content, but for the lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept") / "r"


@pytest.fixture(scope="module")
def known() -> dict[str, Any]:
    return {}


@pytest.fixture
def config(known: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    if not known:  # composed once
        composed: Compose = request.getfixturevalue("composed")
        known.update(plain(composed(*request.getfixturevalue("small"), "trainer.max_epochs=2")))
    return known


@pytest.fixture
def trained(kept: Path, config: dict[str, Any], tmp_path: Path) -> Path:
    """A finished run of ``config``, whose id is r."""
    if not kept.exists():
        kept.mkdir()
        run(config, kept, {"config.yaml": "seed: 1\n"}, run_id="r", **JOB)
    shutil.copytree(kept, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def unfinished(trained: Path) -> Path:
    for name in ("DONE", "result.json"):
        (trained / name).unlink()
    return trained


def again(config: dict[str, Any], folder: Path, run_id: str = "r", **changed: Any) -> dict[str, Any]:
    return run({**config, **changed}, folder, {"config.yaml": "seed: 2\n"}, run_id=run_id, **JOB)


# --- what is taken away ----------------------------------------------------------------------------------------------


def test_a_folder_that_is_no_run_is_never_emptied(tmp_path: Path):
    for name in (".git/HEAD", "notes.txt", "checkpoints/own.bin", "metrics.csv", "error.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = listed(tmp_path)
    Folder(tmp_path, "svae-1").clear()
    assert listed(tmp_path) == before


def test_of_a_run_all_it_wrote_is_taken_away(trained: Path):
    Folder(trained, "r").clear()
    assert {path.name for path in trained.iterdir()} == {".hydra", ".lock"}


def test_of_a_run_nothing_else_is_taken_away(trained: Path):
    own = [".git/HEAD", "notes.txt", "figures/paper.pdf", "checkpoints/notes", "wandb/offline-run-20260101_1-other/a"]
    for name in own:
        (trained / name).parent.mkdir(exist_ok=True, parents=True)
        (trained / name).write_text("mine")
    logged = trained / "wandb" / "offline-run-20260101_0-r"
    logged.mkdir()
    (trained / "wandb" / "latest-run").symlink_to(logged)
    Folder(trained, "r").clear()
    assert set(listed(trained)) == {*own, ".hydra/config.yaml"}
    assert not os.path.lexists(trained / "wandb" / "latest-run")


def test_a_link_is_not_followed(trained: Path, tmp_path: Path):
    shutil.move(trained / "figures", tmp_path / "pictures")
    (trained / "figures").symlink_to(tmp_path / "pictures")
    before = listed(tmp_path / "pictures")
    Folder(trained, "r").clear()
    assert before
    assert listed(tmp_path / "pictures") == before
    assert not (trained / "figures").is_symlink()


def test_force_waits_for_no_lock_and_empties_nothing_under_it(config: dict[str, Any], trained: Path):
    before = listed(trained)
    with FileLock(trained / ".lock"), pytest.raises(RunError, match="another process is running this very job"):
        again(config, trained, force=True)
    assert listed(trained) == before


def test_force_in_a_folder_of_other_things_works_beside_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def trains(*_: Any) -> dict[str, Any]:
        assert not (tmp_path / "metrics.csv").exists()
        (tmp_path / "metrics.csv").write_text("step\n")
        return {"test": {}}

    monkeypatch.setattr("lvexp.run._execute", trains)
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text("mine")
    for _ in range(2):
        assert again({"force": True}, tmp_path)["status"] == "done"
        assert (tmp_path / ".git" / "HEAD").read_text() == "mine"


# --- whose it is -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["metrics.csv", "samples.txt", "result.json", "figures/a.png", "checkpoints/a.ckpt"])
def test_files_of_no_run_are_not_written_over(name: str, tmp_path: Path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=rf"(?s){name}: this file is of no run.*\ntry  hydra.run.dir="):
        Folder(tmp_path, "svae-1").check()


@pytest.mark.parametrize("ended", [True, False])
def test_another_configuration_is_refused_in_the_folder_of_a_run(ended: bool, config: dict[str, Any], trained: Path):
    if not ended:
        (trained / "DONE").unlink()
    before = listed(trained)
    with pytest.raises(RunError, match=r"(?s)holds the run r, and what was typed is other\ntry  hydra.run.dir.*force"):
        again(config, trained, run_id="other")
    assert listed(trained) == before, "its .hydra included"


def test_what_a_run_left_that_came_to_nothing_is_no_hindrance(tmp_path: Path):
    Folder(tmp_path, "one").begin({}, {})
    (tmp_path / "metrics.csv").write_text("step\n")
    Folder(tmp_path, "two").check()
    assert not (tmp_path / "metrics.csv").exists()
    assert not (tmp_path / MARK).exists()


def test_a_damaged_mark_is_named_and_force_helps(trained: Path):
    empty(trained / MARK)
    logged = [trained / "wandb" / f"offline-run-20260101_{at}-{run}" for at, run in enumerate(("other", "r"))]
    for folder in logged:
        folder.mkdir(parents=True)
    place = Folder(trained, "r")
    with pytest.raises(RunError, match=r"(?s)no telling which run.*force=true"):
        place.check()
    place.clear()
    assert [folder.exists() for folder in logged] == [True, False]
    place.check()


def test_runs_of_versions_without_the_mark_are_known_by_their_folder_or_their_result(trained: Path):
    (trained / MARK).unlink()
    Folder(trained, "r").check()  # by its result
    (trained / "result.json").unlink()
    with pytest.raises(RunError, match="of no run"):
        Folder(trained, "r").check()
    Folder(trained.rename(trained.with_name("r")), "r").check()


# --- the code it was made by -----------------------------------------------------------------------------------------


def test_a_class_of_the_users_own_that_was_edited_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "own_remedy_of_mine.py").write_text("class Mine: ...\n")
    node = {"regularizer": {"mine": {"_target_": "own_remedy_of_mine.Mine"}}}
    place = Folder(tmp_path, "r")
    place.begin(node, {})
    assert place.edited(node) is None
    (tmp_path / "own_remedy_of_mine.py").write_text("class Mine: x = 1\n")
    told = place.edited(node)
    assert told
    assert "own_remedy_of_mine.Mine; force=true" in told
    assert "\n" not in told


def test_a_skipped_run_tells_that_the_code_has_changed(
    config: dict[str, Any], trained: Path, capsys: pytest.CaptureFixture[str]
):
    assert again(config, trained)["status"] == "skipped"
    assert "the code has changed" not in capsys.readouterr().out
    mark = json.loads((trained / MARK).read_text())
    (trained / MARK).write_text(json.dumps({**mark, "code": {"lvexp": "before"}, "commit": "0123456789abcdef"}))
    assert again(config, trained)["status"] == "skipped"
    assert "the code has changed since commit 0123456789: lvexp; force=true" in capsys.readouterr().out


def test_the_code_of_a_target_is_found_without_its_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_of_mine.py").write_text("raise SystemError\n")
    nodes = {"a": [{"_target_": "broken_of_mine.Outer.make"}], "b": {"_target_": "nowhere.X"}}
    assert set(identity.code(nodes)) == {"lvexp", "broken_of_mine.Outer.make"}
    assert "broken_of_mine" not in sys.modules


# --- damage ----------------------------------------------------------------------------------------------------------


def test_a_lock_that_is_a_folder_is_named(tmp_path: Path):
    (tmp_path / ".lock").mkdir()
    with (
        pytest.raises(RunError, match=r"\.lock: the folder cannot be locked.*\ntry  rm -r"),
        Folder(tmp_path, "r").alone(),
    ):
        pass


@pytest.mark.parametrize("damage", [cut, empty, scrambled, Path.unlink, lambda path: path.write_text("[]")])
def test_a_damaged_result_is_named(damage: Damage, config: dict[str, Any], trained: Path):
    damage(trained / "result.json")
    with pytest.raises(RunError, match=r"result.json: .*damaged\ntry  rm .*DONE, .* \| force=true"):
        again(config, trained)


def test_what_is_advised_of_a_damaged_result_gives_the_same_result(config: dict[str, Any], trained: Path):
    before = json.loads((trained / "result.json").read_text())
    empty(trained / "result.json")
    (trained / "DONE").unlink()
    after = again(config, trained)
    assert after["status"] == "resumed"
    assert after["test"] == before["test"]
    assert after["steps"] == before["steps"]


@pytest.mark.parametrize("damage", [cut, empty, scrambled, flipped])
@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_damaged_checkpoint_is_named_before_anything_starts(
    damage: Damage, name: str, config: dict[str, Any], unfinished: Path, capsys: pytest.CaptureFixture[str]
):
    damage(unfinished / "checkpoints" / name)
    with pytest.raises(RunError, match=rf"checkpoints/{name}: this checkpoint is damaged\ntry  force=true"):
        again(config, unfinished)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("damage", [scrambled, lambda path: path.write_text("a,b\n1,2\n")])
def test_damaged_metrics_are_named(damage: Damage, config: dict[str, Any], unfinished: Path):
    damage(unfinished / "metrics.csv")
    with pytest.raises(RunError, match=r"metrics.csv: this file is damaged\ntry  rm .*metrics.csv.* \| force=true"):
        again(config, unfinished)


@pytest.mark.parametrize("damage", [cut, empty, Path.unlink])
def test_metrics_that_lost_rows_do_not_hinder(damage: Damage, trained: Path):
    whole = len(read_metrics(trained / "metrics.csv"))
    damage(trained / "metrics.csv")
    logger = CsvLogger(trained)
    assert len(logger.rows) < whole
    logger.log_metrics({"val/nelbo": 1.0}, step=99)
    logger.save()
    assert read_metrics(trained / "metrics.csv")[-1] == {"step": 99, "val/nelbo": 1.0}


@pytest.mark.parametrize("damage", [cut, empty, scrambled])
def test_a_language_model_to_start_from_that_is_damaged_is_named(damage: Damage, trained: Path):
    damage(trained / "checkpoints" / "best.ckpt")
    with pytest.raises(RunError, match=r"best.ckpt: this checkpoint is damaged\ntry  the command that trained it"):
        LmInit(str(trained)).prepare(tiny.model())


@pytest.mark.parametrize("damage", [cut, empty, scrambled, lambda path: path.write_text("latent: {}\ndecoder: 3\n")])
def test_a_language_model_whose_configuration_is_damaged_is_named(damage: Damage, tmp_path: Path):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / "DONE").touch()
    (tmp_path / ".hydra" / "config.yaml").write_text("latent: {provides: [no_latent]}\ndecoder: {cell: lstm}\n")
    damage(tmp_path / ".hydra" / "config.yaml")
    with pytest.raises(ConfigError, match=r"(?s)lm_init.run=.*config.yaml is missing or damaged\ntry  .*force=true"):
        parent.check("regularizer.lm_init.run", str(tmp_path), "encoder", {"cell": "lstm"})


def test_a_disk_that_fills_keeps_the_last_checkpoint_and_the_job_goes_on_from_it(
    config: dict[str, Any], trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    replace = os.replace

    def full(one: Any, two: Any) -> None:
        if Path(two).name == "last.ckpt" and Path(two).exists():  # the second time
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        replace(one, two)

    folder = tmp_path / "full"
    folder.mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(RunError, match=r"No space left on device; its last checkpoint is whole\ntry  make room"):
            again(config, folder)
    assert again(config, folder)["status"] == "resumed"
    one, two = (json.loads((path / "result.json").read_text())["test"] for path in (folder, trained))
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert value == (pytest.approx(two[key], rel=1e-5) if isinstance(value, float) else two[key]), key


def test_an_error_that_is_no_disks_is_not_hidden(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lvexp.build.data", lambda _: (_ for _ in ()).throw(ConnectionResetError(errno.ECONNRESET, "")))
    with pytest.raises(ConnectionResetError):
        again(config, tmp_path)
