"""What is counted and compared before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers import Command

from lvexp.data.module import TextData
from lvexp.errors import ConfigError, DataError
from lvexp.job import preflight

UNLIMITED: dict[str, Any] = {
    "overfit_batches": 0, "limit_train_batches": 1.0, "accumulate_grad_batches": 1, "max_steps": -1, "max_epochs": -1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_epochs": 4}, (40, 4)),
        ({"max_steps": 25}, (25, 3)),
        ({"max_steps": 20}, (20, 2)),
        ({"max_steps": 25, "max_epochs": 2}, (20, 2)),
        ({"max_epochs": 4, "limit_train_batches": 0.55}, (20, 4)),
        ({"max_epochs": 4, "limit_train_batches": 3}, (12, 4)),
        ({"max_epochs": 4, "limit_train_batches": 30}, (40, 4)),
        ({"max_epochs": 4, "overfit_batches": 2, "limit_train_batches": 5}, (8, 4)),
        ({"max_epochs": 4, "accumulate_grad_batches": 4}, (12, 4)),  # of 4, 4 and 2 batches
        ({"max_steps": 7, "accumulate_grad_batches": 4}, (7, 3)),
    ],
)
def test_the_length_of_training_over_ten_batches(limits: dict[str, Any], expected: tuple[int, int]):
    assert preflight.lengths(UNLIMITED | limits, 10) == expected


@pytest.mark.parametrize("wanted", ["elbow", ["nelbo", "elbow"], ["elbow", "nelbo"]])
def test_every_objective_must_be_measured(wanted: str | list[str]):
    figures = ("nelbo", "mi", "step")
    for known in (None, [], "mi", ["nelbo", "mi"]):
        preflight.objective(known, figures)
    with pytest.raises(ConfigError, match=r"objective=elbow: .* measure nelbo, mi\ntry  objective=nelbo"):
        preflight.objective(wanted, figures)
    with pytest.raises(ConfigError, match="objective=step"):
        preflight.objective("step", figures)


JUDGES = {"requires": ["source", "relevance"]}


def answers(folder: Path, *labels: str) -> TextData:
    """A corpus whose answers have these labels, in each split."""
    folder.mkdir()
    rows = [f"where is it?\tthere it is\t{label}" for label in labels]
    for split in ("train", "valid", "test"):
        (folder / f"{split}.tsv").write_text("Question\tSentence\tLabel\n" + "\n".join(rows) + "\n")
    return TextData(
        name="text", files={split: str(folder / f"{split}.tsv") for split in ("train", "valid", "test")},
        cache=str(folder),
        columns={"text": "Sentence", "label": "Label", "source": "Question"}, header=True, batch_size=2,
        eval_batch_size=2, lowercase=True, max_length=9,
        vocabulary={"kind": "words", "max_size": 50, "min_count": 1, "joint": True},
    )  # fmt: skip


def test_every_answer_must_be_judged(tmp_path: Path):
    preflight.answers(JUDGES, answers(tmp_path / "whole", "0", "1", "1"))
    with pytest.raises(DataError, match=r"1 of the 3 answers of train have no label\ntry"):
        preflight.answers(JUDGES, answers(tmp_path / "partly", "0", "", "1"))
    three = answers(tmp_path / "three", "0", "1", "2")
    with pytest.raises(DataError, match=r"the labels here are 3: 0, 1, 2\ntry  data\.columns\.label"):
        preflight.answers(JUDGES, three)
    preflight.answers({"requires": ["rate"]}, three)


@pytest.fixture
def judged(tmp_path: Path) -> list[str]:
    """A model of answers, and files whose answers are all judged, but for one in partly.tsv."""
    rows = [f"Q{n}\twhere is it?\tit is {'here' if n % 2 else 'there'}\t{n % 2}" for n in range(12)]
    for name, kept in (("whole", rows), ("partly", [*rows[:-1], rows[-1][:-1]])):
        (tmp_path / f"{name}.tsv").write_text("QuestionID\tQuestion\tSentence\tLabel\n" + "\n".join(kept) + "\n")
    files = [f"data.files.{split}={tmp_path}/whole.tsv" for split in ("train", "valid", "test")]
    sizes = ["encoder.embedding=4", "encoder.hidden=4", "decoder.hidden=4", "evaluation.iw_samples=2"]
    return [
        *("model=nasm", "data=wikiqa", "data.root=.", "data.answered=null", "logger=csv", "trainer.max_steps=1"),
        *files, *sizes, f"paths.outputs={tmp_path}/outputs",
    ]  # fmt: skip


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_run_with_an_answer_that_is_not_judged_ends_before_training(
    split: str, judged: list[str], tmp_path: Path, lvexp: Command
):
    found = lvexp(*judged, f"data.files.{split}={tmp_path}/partly.tsv")
    assert found.returncode == 2
    assert f"1 of the 12 answers of {split} have no label" in found.stderr
    assert not list(tmp_path.rglob("*.ckpt"))


def test_so_does_an_evaluation(judged: list[str], tmp_path: Path, lvexp: Command):
    trained = lvexp(*judged)
    assert not trained.returncode, trained.stderr
    (done,) = tmp_path.rglob("DONE")
    found = lvexp(f"evaluate={done.parent}", f"data.files.test={tmp_path}/partly.tsv")
    assert found.returncode == 2
    assert "1 of the 12 answers of test have no label" in found.stderr
