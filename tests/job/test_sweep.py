"""A multirun: one folder per job, failures and refusals recorded without stopping the rest, a table at the end."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from helpers import Command
from hydra._internal.core_plugins import basic_sweeper
from omegaconf import OmegaConf

from lvexp.job.sweep import composing_kinds


def test_a_sweep_runs_all_it_can_and_names_the_rest(small: list[str], tmp_path: Path, lvexp: Command):
    typed = [
        "-m",
        *small,
        "trainer.max_epochs=1",
        "model=svae,ae",
        "regularizer=none,free_bits,[free_bits,word_dropout]",
    ]
    done = lvexp(*typed)
    assert done.returncode == 0, done.stderr  # a refusal is an answer, not a failure
    results = [json.loads(path.read_text()) for path in (tmp_path / "outputs").rglob("result.json")]
    assert len(results) == 4
    assert len({result["run_id"] for result in results}) == 4
    refused = [path.parent for path in (tmp_path / "outputs").rglob("REFUSED")]
    assert len(refused) == 2, "ae has no rate for free bits"
    (jobs_file,) = (tmp_path / "outputs").rglob("jobs.json")
    jobs = json.loads(jobs_file.read_text())
    assert [job["status"] for job in jobs] == ["done", "done", "done", "done", "refused", "refused"]
    assert "refused" in done.stdout
    assert "latent=point" in done.stdout + done.stderr

    again = lvexp(*typed)
    assert again.returncode == 0
    (latest,) = set((tmp_path / "outputs").rglob("jobs.json")) - {jobs_file}
    assert [job["status"] for job in json.loads(latest.read_text())] == ["skipped"] * 4 + ["refused"] * 2


def test_a_job_that_fails_is_recorded_and_the_others_go_on(small: list[str], tmp_path: Path, lvexp: Command):
    options = tmp_path / "options" / "regularizer"
    options.mkdir(parents=True)
    # an option of the user's own, with a mistake in its code
    (options / "buggy.yaml").write_text("buggy: {_target_: mine.Buggy}\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "mine.py").write_text(
        "from lvexp.regularizers.base import Regularizer\n\n\nclass Buggy(Regularizer):\n"
        "    def __init__(self):\n        super().__init__()\n        self.share = 1 / 0\n"
    )
    typed = [*small, "trainer.max_epochs=1", "regularizer=buggy,none"]
    done = lvexp("-m", "--config-dir", str(options.parent), *typed)
    assert done.returncode == 1
    (jobs_file,) = (tmp_path / "outputs").rglob("jobs.json")
    jobs = json.loads(jobs_file.read_text())
    assert [job["status"] for job in jobs] == ["failed", "done"]
    assert jobs[0]["message"]
    assert "ZeroDivisionError" in (Path(jobs[0]["folder"]) / "error.txt").read_text()
    assert "failed" in done.stdout


def composed_of(batch: list[list[str]]) -> list[list[str]]:
    """Which jobs of a batch Hydra composes before the first one begins."""
    found: list[list[str]] = []

    class Loader:
        def load_sweep_config(self, master_config: object, sweep_overrides: list[str]) -> None:
            found.append(sweep_overrides)

    sweeper = basic_sweeper.BasicSweeper(max_batch_size=None)
    sweeper.config, sweeper.hydra_context = OmegaConf.create(), SimpleNamespace(config_loader=Loader())  # pyright: ignore
    with composing_kinds():
        sweeper.validate_batch_is_legal(batch)
    return found


def test_one_job_of_each_kind_is_composed_before_the_first_begins():
    seeds = [["model=svae", f"seed={seed}", f"optimizer.lr={rate}"] for seed in range(9) for rate in (0.1, "1e-3")]
    assert composed_of(seeds) == seeds[-1:]
    apart = [
        *(["latent=gaussian"], ["latent=point"], ["latent=point", "latent.dim=4"], ["+latent=point"]),
        *(["hydra.launcher.n_jobs=1"], ["hydra.launcher.n_jobs=2"], ["a.b=${c}"], ["a.b=${d}"], ["~a.b"]),
    ]
    assert composed_of(apart) == apart


def test_a_job_that_cannot_be_composed_is_found_before_the_first_begins(
    small: list[str], tmp_path: Path, lvexp: Command
):
    done = lvexp("-m", *small, "seed=1,2", "regularizer=free_bits,none", "regularizer.free_bits.nats=3")
    assert done.returncode == 2, done.stderr
    assert "regularizer.free_bits.nats" in done.stderr
    assert not list((tmp_path / "outputs").rglob("result.json"))


def test_a_mistyped_sweep_is_refused_at_once(lvexp: Command):
    done = lvexp("-m", "model=svae,svea")
    assert done.returncode == 2
    assert "svea" in done.stderr
    assert "Traceback" not in done.stderr
