"""Jobs from Python: the same checks, runs and errors as on the command line."""

from __future__ import annotations

import os
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import Command
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import lvexp as package
from lvexp.errors import ConfigError, DataError, Diverged, Refusal, RunError

ONE = "trainer.max_epochs=1"


@pytest.fixture
def typed(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    return [*small, ONE, "trainer.limit_train_batches=2", f"paths.outputs={tmp_path / 'outputs'}"]


def test_a_run_is_trained_skipped_and_is_the_command_lines(typed: list[str], lvexp: Command, tmp_path: Path):
    before, asked = list(sys.argv), os.environ.get("HYDRA_FULL_ERROR")
    run = package.train(*typed, "anneal=linear")
    assert (sys.argv, os.environ.get("HYDRA_FULL_ERROR")) == (before, asked)
    assert HydraConfig.instance().cfg is None
    assert not GlobalHydra.instance().is_initialized()
    assert isinstance(run, package.Run)
    assert run.folder is not None
    assert run.result["status"] == "done"
    assert run.result["test"]["nll"] > 0
    assert run.verdict == run.result["verdict"] != ""
    assert len(run.sample(2)) == 2
    written = (run.folder / "result.json").stat().st_mtime_ns
    again = package.train("anneal=linear", *typed)
    assert again.folder == run.folder
    assert (run.folder / "result.json").stat().st_mtime_ns == written
    skipped = lvexp(*typed, "anneal=linear")
    assert "done before" in skipped.stdout
    loaded = package.load(run.folder)
    assert (loaded.folder, loaded.result) == (run.folder, run.result)
    bare = package.load(run.folder / "checkpoints" / "best.ckpt")
    assert (bare.folder, bare.result, bare.verdict) == (None, {}, "")


@pytest.mark.parametrize(
    ("wrong", "kind", "said"),
    [
        (["model=ae", "anneal=linear"], Refusal, "these choices do not go together"),
        (["latent.dim=0"], ConfigError, r"latent.dim=0: .*\ntry  latent.dim=32"),
        (["latent.dmi=3"], ConfigError, "the configuration has no 'dmi' there"),
        (["modle=svae"], ConfigError, "there is no such group"),
        (["anneal=constant,linear"], ConfigError, "lvexp.sweep"),
        (["model=svae", "model=ae"], ConfigError, "given twice"),
        (["data=text", "data.files.train=/nowhere.txt"], DataError, "/nowhere.txt"),
        (["-m", "seed=1,2"], ConfigError, "lvexp.sweep"),
        (["--cfg=job"], ConfigError, "overrides are texts"),
    ],
)
def test_a_mistake_raises_what_the_command_line_prints(
    wrong: list[str], kind: type[Exception], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    before = list(sys.argv)
    with pytest.raises(kind, match=said):
        package.train(*wrong, "logger=csv")
    assert sys.argv == before
    assert not GlobalHydra.instance().is_initialized()


def test_a_run_that_diverges_raises(typed: list[str]):
    for _ in range(2):  # trained, and done before
        with pytest.raises(Diverged, match="diverged at step"):
            package.train(*typed, "optimizer.lr=1e30", "trainer.gradient_clip_val=0.0")


def test_two_sweeps_may_begin_in_the_same_second(typed: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lvexp.job.sweep.time.strftime", lambda *_: "20200101-000000")
    for _ in range(2):
        with pytest.raises(Refusal, match="2 of 2 jobs were refused"):
            package.sweep(*typed, "anneal=linear", "model=ae", "seed=1,2")


def test_a_sweep_returns_its_runs_in_order_without_those_refused(typed: list[str]):
    runs = package.sweep(*typed, "anneal=constant,linear", "model=svae,ae")
    assert [(run.result["choices"]["model"], run.result["choices"]["anneal"]) for run in runs] == [
        ("svae", "constant"),
        ("ae", "constant"),
        ("svae", "linear"),
    ]
    with pytest.raises(Refusal, match="2 of 2 jobs were refused"):
        package.sweep(*typed, "anneal=linear", "model=ae", "seed=1,2")
    with pytest.raises(RunError, match=r"(?s)1 of 2 jobs failed.*diverged at step"):
        package.sweep(*typed, "optimizer.lr=0.002,1e30", "trainer.gradient_clip_val=0.0")


def test_options_of_a_users_own_from_a_folder(typed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "conf" / "anneal").mkdir(parents=True)
    (tmp_path / "conf" / "anneal" / "half.yaml").write_text("_target_: half_of_it.Half\n")
    (tmp_path / "half_of_it.py").write_text(
        "from lvexp.anneal.constant import Constant\n\n"
        "class Half(Constant):\n    def __init__(self, steps_per_epoch=1):\n        super().__init__(0.5)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    run = package.train(*typed, "anneal=half", config_dir="conf")
    assert run.result["choices"]["anneal"] == "half"
    assert run.sample(1)


def test_a_script_needs_no_guard_and_launchers_work(typed: list[str], tmp_path: Path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    parallel = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    (tmp_path / "script.py").write_text(
        f"import lvexp\nruns = lvexp.sweep(*{typed!r}, *{parallel!r}, 'seed=1,2')\n"
        "print([run.result['seed'] for run in runs])\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "[1, 2]"


def test_the_package_shows_what_it_offers_and_loads_torch_late():
    assert package.__version__
    assert {"load", "train", "sweep", "Run", "__version__"} <= set(dir(package))
    shown = pydoc.plain(pydoc.render_doc(package))
    for name in ("load(run_dir", "train(*overrides", "sweep(*overrides"):
        assert name in shown
    code = "import sys, lvexp; lvexp.__version__; dir(lvexp); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        package.trian  # noqa: B018


def test_the_version_on_the_command_line(lvexp: Command):
    said = lvexp("--version")
    assert (said.returncode, said.stdout) == (0, f"lvexp {package.__version__}\n")


def test_type_checkers_find_the_types():
    assert (Path(package.__file__).parent / "py.typed").is_file()
