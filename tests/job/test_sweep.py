"""A multirun: one folder per job, failures and refusals recorded without stopping the rest, a table at the end."""

from __future__ import annotations

import json
from pathlib import Path

from helpers import Command


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


def test_a_mistyped_sweep_is_refused_at_once(lvexp: Command):
    done = lvexp("-m", "model=svae,svea")
    assert done.returncode == 2
    assert "svea" in done.stderr
    assert "Traceback" not in done.stderr
