"""Reverse perplexity: which texts are written, trained on and read, and that a row is made once."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
from helpers import SMALL, Command

import lvexp as package
from lvexp.errors import RunError
from lvexp.studies import reverse

JUDGE = ("trainer.max_epochs=1", "data.batch_size=8", *(word for word in SMALL if not word.startswith("latent")))


def rows(monkeypatch: pytest.MonkeyPatch, *words: str) -> list[dict]:
    monkeypatch.setattr(sys, "argv", ["reverse", *words, "--to", "rows.jsonl"])
    reverse.main()
    return reverse.read(Path("rows.jsonl"))


def test_a_language_model_of_written_texts_reads_real_ones(
    small: list[str], lvexp: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done = lvexp(*small, "trainer.max_epochs=1", "evaluation.max_decode=6")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs").glob("*/svae-*")
    monkeypatch.chdir(tmp_path)
    found = rows(monkeypatch, str(folder), "--texts", "40", *JUDGE, "--real")
    assert [(row["run"], row["texts"]) for row in found] == [(folder.name, 40), ("real texts", 40)]
    for place, row in zip((folder.name, "real"), found, strict=True):
        texts = {
            split: (tmp_path / "outputs" / "reverse" / f"{place}-40" / f"{split}.txt") for split in ("train", "test")
        }
        lines = {split: file.read_text().splitlines() for split, file in texts.items()}
        assert len(lines["train"]) == 40
        assert len(lines["test"]) == json.loads((folder / "result.json").read_text())["test"]["sentences"]
        judge = package.load(tmp_path / "outputs" / "reverse" / row["judge"])
        assert judge.vocabulary.tokens(range(20)) == package.load(folder).vocabulary.tokens(range(20))
        nats = sum(judge.score(lines["test"]))
        tokens = sum(len(line.split()) + 1 for line in lines["test"])
        assert row["reverse_perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-4)
    real = set((tmp_path / "outputs/reverse/real-40/train.txt").read_text().splitlines())
    corpus = {line.split("\t")[1].strip() for line in (tmp_path / "corpus.tsv").read_text().splitlines()}
    assert real <= corpus
    assert rows(monkeypatch, str(folder), *JUDGE, "--texts", "40", "--real") == found, (
        "a finished row is not made again"
    )


def test_a_run_that_writes_nothing_is_refused(
    small: list[str], lvexp: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done = lvexp(*small, "model=ae", "trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "outputs").glob("*/ae-*")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no prior to draw from"):
        rows(monkeypatch, str(folder), *JUDGE)
