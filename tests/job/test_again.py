"""A finished run taken up again: evaluated with other settings or texts, or trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import Command

import lvexp as package
from lvexp.errors import ConfigError, DataError, RunError
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


def test_a_test_file_is_looked_for_in_the_current_directory_first(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").touch()
    typed = [f"evaluate={finished}", "data.files.test=a.txt", "data.sources.test=b.txt"]
    assert again.words(typed)[-2:] == [f"data.files.test='{tmp_path}/a.txt'", "data.sources.test=b.txt"]


def test_a_run_that_starts_from_another_repeats_its_words_unless_their_group_is_typed(finished: Path):
    (finished / ".hydra" / "overrides.yaml").write_text(
        "- model=svae\n- data=text\n- data.files.train=a.txt\n- optimizer=sgd\n- optimizer.lr=1.0\n"
        "- anneal=linear\n- anneal.warmup=3\n- finetune=older\n- ++data.vocabulary.run=older\n"
    )
    (finished / ".hydra" / "config.yaml").write_text(
        "data: {lowercase: true, vocabulary: {kind: bpe, max_size: 300}, counts: {pattern: '\\w+'}}"
    )
    (finished / "checkpoints").mkdir()
    (finished / "checkpoints" / "best.ckpt").touch()
    typed = [f"finetune={finished}", "optimizer=adam", "data.files.train=b.txt"]
    own = ["model=svae", "data=text", "data.files.train=a.txt", "optimizer=sgd", "anneal=linear", "anneal.warmup=3"]
    assert again.words(typed) == [*own, f"++data.vocabulary.run={finished}", *typed]
    typed = [f"finetune={finished}", "data=ptb", "anneal=constant"]
    words = again.words(typed)
    assert words[:5] == ["model=svae", "data=text", "optimizer=sgd", "optimizer.lr=1.0", "anneal=linear"]
    assert words[5:-3] == ["++data.lowercase=true", "++data.vocabulary.kind='bpe'", f"++data.vocabulary.run={finished}"]
    (finished / ".hydra" / "config.yaml").write_text("data: {view: counts, counts: {pattern: '\\w+'}}")
    assert again.words(typed)[5:-4] == [r"++data.counts.pattern='\w+'"]
    resumed = again.words([f"resume={finished}"])
    assert "finetune=older" in resumed
    assert "++data.vocabulary.run=older" in resumed
    assert not any("older" in word for word in again.words([f"evaluate={finished}"]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate={run}", "latent.dim=8"], "latent.dim=8: the run is trained already"),
        (["evaluate={run}", "data=ptb"], "data=ptb: the run is trained already"),
        (["evaluate={run}", "data.files.train=a"], "data.files.train=a: the run is trained already"),
        (["evaluate={run}", "resume={run}"], "asks for 2 things at once"),
        (["evaluate={run}/nowhere"], "there is no finished run"),
        (["resume={unfinished}"], "this run has not ended"),
        (["finetune={run}/nowhere", "data=text"], "there is no finished run"),
        (["finetune={unfinished}"], "this run has not ended"),
        (["finetune={run}", "resume={run}"], "asks for 2 things at once"),
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


# --- other texts -----------------------------------------------------------------------------------------------------


def test_other_texts_are_measured_with_the_runs_vocabulary(
    small: list[str], corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    short = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "paths.outputs=outputs", "regularizer=none"]
    run = package.train(*small, *short, "model=rnnlm")
    assert run.folder is not None
    texts = ["the cat and the newt", "the cup", "and and the dog"]
    (tmp_path / "other.txt").write_text("\n".join(texts) + "\n")
    plain = ["data.format=txt", "data.columns.text=0", "data.columns.label=null"]
    typed = [f"evaluate={run.folder}", "data.files.test=other.txt", *plain]
    found = package.train(*typed)
    exact = sum(run.score(texts)) / 3
    assert found.result["test"]["distortion"] == pytest.approx(exact, rel=1e-4)
    assert found.result["test"]["sentences"] == 3
    assert found.result["data"]["notes"] == ["test: 9.1% of the words are not in the run's vocabulary"]

    corpus.unlink()
    (tmp_path / "other.txt").write_text("\n".join(texts[:2]) + "\n")
    alone = package.train(*typed)
    assert alone.result["test"]["distortion"] == pytest.approx(sum(run.score(texts[:2])) / 2, rel=1e-4)
    assert alone.result["data"]["notes"][-1].startswith("the run's training texts are not there")
    with pytest.raises(DataError, match="there is no file"):  # its own test texts were cut from them
        package.train(f"evaluate={run.folder}", "evaluation.samples=5")


def test_labels_of_other_texts_are_those_of_the_run(small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    run = package.train(*small, "trainer.max_epochs=1", "trainer.limit_train_batches=2", "paths.outputs=outputs")
    (tmp_path / "other.tsv").write_text("thing\tthe cup\nthing\tthe box and hat\nanimal\tthe cat\n")
    typed = [f"evaluate={run.folder}", "data.files.test=other.tsv"]
    found = package.train(*typed)
    assert found.result["data"]["notes"] == []
    assert found.result["test"]["probe_n"] == 3, "fitted on the run's own training texts"
    (tmp_path / "other.tsv").write_text("plant\tthe cup\nthing\tthe box and hat\n")
    with pytest.raises(DataError, match=r"'plant' is no label of evaluate=.*, which has animal, thing"):
        package.train(*typed)
    with pytest.raises(ConfigError, match=r"(?s)no file with the texts to measure it on.*data\.files\.test=FILE"):
        package.train(f"evaluate={run.folder}", "data.columns.label=null")


def test_another_judge_is_read_and_rewrites_are_counted_first(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    short = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "paths.outputs=outputs", "estimator=auto"]
    small = [word for word in small if "latent.dim" not in word]
    run = package.train(
        *small, *short, "model=control", "latent.c.categories=2", "latent.z.dim=3", "model.base_epochs=0"
    )
    assert run.result["test"]["judge_held_out"] is False
    (tmp_path / "judge.tsv").write_text("thing\tone cup\nanimal\tone cat\nthing\ttwo cups\n")
    typed = [f"evaluate={run.folder}", "data.files.judge=judge.tsv"]
    found = package.train(*typed).result["test"]
    assert (found["judge_held_out"], found["judge_texts"]) == (True, 3)
    (tmp_path / "judge.tsv").write_text("plant\tone tree\n")
    with pytest.raises(DataError, match="'plant' is the label of no text"):
        package.train(*typed)
    (tmp_path / "other.tsv").write_text("thing\tthe cup\n")
    with pytest.raises(ConfigError, match=r"judge\.tsv: another judge is read with the run's own texts"):
        package.train(*typed, "data.files.test=other.tsv")
    (tmp_path / "human.txt").write_text("one\n")
    monkeypatch.setattr("lvexp.evaluation.measured", lambda *_, **__: pytest.fail("it was measured"))
    with pytest.raises(ConfigError, match=r"human\.txt: has 1 lines, and the test set has"):
        package.train(f"evaluate={run.folder}", "evaluation.references=human.txt")
