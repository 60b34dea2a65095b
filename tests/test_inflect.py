"""``python -m lvexp.inflect``: forms of the words in a file, given their tags."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import Said

from lvexp import inflect
from lvexp.loading import load

WORDS, TAGS = ["a b c", "f", "d e"], ["case=DAT", "num=PL,case=NOM", "case=NOM"]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_main: Callable[..., Said]) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.tsv").write_text("".join(f"{word}\t{tags}\n" for word, tags in zip(WORDS, TAGS, strict=True)))
    (tmp_path / "words.txt").write_text("\n".join(WORDS) + "\n")
    return functools.partial(run_main, inflect.main)


@pytest.fixture
def file(saved) -> str:
    """Of a model that writes as the tags say, in one way or another."""
    names = {"case": ["none", "DAT", "NOM"], "num": ["none", "PL"]}
    path = saved("model=msved", "decoder.attends=both", attributes=names)
    kept = torch.load(path, weights_only=True)
    for name in ("tags.vectors", "decoder.initial.weight", "decoder.output.weight"):
        kept["state_dict"][name] *= 10
    torch.save(kept, path)
    return path


def test_a_form_for_each_word_in_their_order(file: str, typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = load(file)
    wanted = run.inflect(WORDS, TAGS, method="beam", beam=8, max_length=4)
    assert len({*wanted}) > 1, "or this test says little"
    assert typed(file, "words.tsv", "--max-length", "4") == Said(0, "\n".join(wanted) + "\n", "")
    assert typed(file, "words.tsv", "--to", "out.txt", "--max-length", "4").out == ""
    assert (tmp_path / "out.txt").read_text().splitlines() == wanted
    greedy = typed(file, "words.tsv", "--beam", "1", "--max-length", "4").out.splitlines()
    assert greedy == run.inflect(WORDS, TAGS, max_length=4)
    same = typed(file, "words.txt", "--tags", "case=DAT", "--max-length", "4").out.splitlines()
    assert same == run.inflect(WORDS, "case=DAT", method="beam", beam=8, max_length=4)
    monkeypatch.setattr(sys, "stdin", io.StringIO((tmp_path / "words.tsv").read_text()))
    assert typed(file, "-", "--max-length", "4").out.splitlines() == wanted


def test_the_best_forms_are_a_list_a_line(file: str, typed):
    found = [
        json.loads(line) for line in typed(file, "words.tsv", "--n-best", "3", "--max-length", "4").out.splitlines()
    ]
    assert found == load(file).inflect(WORDS, TAGS, method="beam", beam=8, n_best=3, max_length=4)
    assert [len(each) for each in found] == [3, 3, 3]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["words.txt"], "words.txt:1: is no word, tab and tags: 'a b c'\ntry  WORD<tab>KEY=VALUE | --tags TAGS"),
        (["words.txt", "--tags", "case=LOC"], "no training text had 'case=LOC'\ntry  case is one of DAT, NOM"),
        (["words.txt", "--tags", "mood=IMP"], "no training text had 'mood=IMP'\ntry  the keys are case, num"),
        (["words.txt", "--tags", "case="], "'case=' is no tag: it is KEY=VALUE, or a word"),
        (["words.tsv", "--batch-size", "0"], "batch_size=0: a batch holds at least one text"),
        (["words.tsv", "--beam", "0"], "beam=0"),
        (["words.tsv", "--n-best", "0"], "n_best=0"),
        (["none.tsv"], "none.tsv: cannot be read"),
        (["words.tsv", "--to", "no/out.txt"], "--to no/out.txt: there is no folder"),
    ],
)
def test_a_mistake_is_one_message(words: list[str], told: str, file: str, typed):
    said = typed(file, *words)
    assert said.code == 2
    assert said.err.startswith("inflect: ")
    assert told in said.err


def test_a_run_without_tags(saved, typed):
    said = typed(saved("model=svae"), "words.tsv")
    assert said.code == 2
    assert "this run knows no tags of words\ntry  a run of model=msved" in said.err
