"""A finished run taken up again: evaluated with other settings or texts, or trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import Command

from lvexp.errors import ConfigError, RunError
from lvexp.job import again

TINY = ("trainer.limit_train_batches=4", "evaluation.iw_samples=2", "anneal=linear")


def test_a_finished_run_is_evaluated_again_and_trained_on(lvexp: Command, small: list[str], tmp_path: Path):
    def run(*words: str) -> str:
        done = lvexp(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(*small, *TINY, "trainer.max_epochs=1", "name=short")
    (short,) = (tmp_path / "outputs" / "short").iterdir()
    before = {path: path.read_bytes() for path in short.rglob("*") if path.is_file() and path.name != ".lock"}

    run(f"evaluate={short}", "evaluation.iw_samples=3")
    (folder,) = (short / "evaluations").iterdir()
    old, new = (json.loads((path / "result.json").read_text()) for path in (short, folder))
    assert new["test"]["iw_samples"] == 3
    for name in ("distortion", "rate", "elbo"):
        assert new["test"][name] == old["test"][name]
    assert new["evaluates"] == str(short)
    assert new["run_id"] == old["run_id"]
    assert "done before" in run(f"evaluate={short}", "evaluation.iw_samples=3")
    assert len((folder / "scores.jsonl").read_text().splitlines()) == new["test"]["sentences"]
    for path, content in before.items():
        assert path.read_bytes() == content, "the finished run stays as it was"

    said = run(f"resume={short}", "trainer.max_epochs=2", "name=longer")
    assert "goes on from" in said
    run(*small, *TINY, "trainer.max_epochs=2", "name=whole")
    longer, whole = (next((tmp_path / "outputs" / name).iterdir()) for name in ("longer", "whole"))
    assert longer.name == whole.name
    assert (longer / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()
    one, two = (json.loads((path / "result.json").read_text()) for path in (longer, whole))
    assert one["test"] == two["test"]
    assert one["valid"] == two["valid"]


# --- what is typed ---------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    (tmp_path / "run" / ".hydra").mkdir(parents=True)
    (tmp_path / "run" / ".hydra" / "overrides.yaml").write_text("- model=svae\n- latent.dim=4\n- force=true\n")
    (tmp_path / "run" / "DONE").touch()
    return tmp_path / "run"


def test_the_words_of_the_run_come_before_those_typed(finished: Path):
    assert again.words(["model=ae", "seed=2"]) == ["model=ae", "seed=2"]
    assert again.words(["resume=null"]) == ["resume=null"]
    typed = [f"resume={finished}", "trainer.max_epochs=9"]
    assert again.words(typed) == ["model=svae", "latent.dim=4", *typed]
    typed = ["-m", f"evaluate={finished}", "evaluation.iw_samples=5,6", "data.files.test=a.txt", "instrument=mine"]
    words = again.words(typed)
    assert words[:2] == ["model=svae", "latent.dim=4"]
    assert words[-len(typed) :] == typed
    assert any(word.startswith(f"hydra.run.dir='{finished}/evaluations/") for word in words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate={run}", "latent.dim=8"], "latent.dim=8: the run is trained already"),
        (["evaluate={run}", "data=ptb"], "data=ptb: the run is trained already"),
        (["evaluate={run}", "data.files.train=a"], "data.files.train=a: the run is trained already"),
        (["evaluate={run}", "resume={run}"], "is both at once"),
        (["evaluate={run}/nowhere"], "there is no finished run"),
        (["resume={unfinished}"], "this run has not ended"),
        (["resume={damaged}"], "overrides.yaml is missing or damaged"),
    ],
)
def test_what_cannot_be_taken_up_again_is_refused(finished: Path, tmp_path: Path, words: list[str], said: str):
    (tmp_path / "unfinished" / ".hydra").mkdir(parents=True)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "DONE").touch()
    places = {"run": finished, "unfinished": tmp_path / "unfinished", "damaged": tmp_path / "damaged"}
    with pytest.raises((ConfigError, RunError), match=said):
        again.words([word.format(**places) for word in words])


CONFIG: dict[str, Any] = {
    "model": {"samples": 1},
    "data": {"name": "text", "root": "a"},
    "trainer": {"max_epochs": 3, "max_steps": -1, "patience": 5, "threads": 1, "precision": "32-true"},
    "logger": {"kind": "csv"},
}


def changed(group: str, **values: Any) -> dict[str, Any]:
    return {**CONFIG, group: {**CONFIG[group], **values}}


@pytest.mark.parametrize(
    ("now", "epochs", "said"),
    [
        (changed("trainer", max_epochs=9), 3, None),
        (changed("trainer", max_epochs=9, threads=2), 3, None),
        ({**changed("trainer", max_epochs=9), "data": {"name": "text", "root": "b"}}, 3, None),
        (changed("trainer", max_epochs=9, patience=0), 2, None),
        (changed("trainer", max_epochs=9), 2, "ended by itself after 2 epochs"),
        (CONFIG, 3, "the run has ended after 3 epochs, 30 steps"),
        (changed("trainer", max_epochs=2), 3, "the run has had 3 epochs"),
        (changed("trainer", max_epochs=-1, max_steps=30), 3, "the run has had 3 epochs, 30 steps"),
        (changed("trainer", max_epochs=9, precision="bf16-mixed"), 3, "another trainer.precision"),
        (changed("model", samples=2), 3, "another model.samples"),
    ],
)
def test_only_the_length_of_training_may_differ(tmp_path: Path, now: dict[str, Any], epochs: int, said: str | None):
    (tmp_path / "result.json").write_text(json.dumps({"epochs": epochs, "steps": 10 * epochs}))
    if said is None:
        again.check_continued("resume=run", tmp_path, CONFIG, now)
        return
    with pytest.raises(ConfigError, match=said):
        again.check_continued("resume=run", tmp_path, CONFIG, now)
