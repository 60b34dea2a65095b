"""``python -m lvexp.transfer``: the lines of a file with another class."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import Said

from lvexp import transfer
from lvexp.loading import load

TEXTS = ["a b c", "f", "d e"]
TYPED = ("model=control", "latent.c.categories=2", "latent.z.dim=3")


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_main: Callable[..., Said]) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    return functools.partial(run_main, transfer.main)


@pytest.fixture
def file(saved) -> str:
    """Of a model whose decoder obeys c, in one way or another."""
    path = saved(*TYPED, attributes={"mood": ["bad", "good"]})
    kept = torch.load(path, weights_only=True)
    kept["state_dict"]["latent.blocks.c.embedding"] *= 30
    torch.save(kept, path)
    return path


def test_a_line_for_each_text_in_their_order(file: str, typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = load(file)
    wanted = {label: run.transfer(TEXTS, label, max_length=4) for label in ("bad", "good")}
    assert wanted["bad"] != wanted["good"], "or this test says little"
    for label, texts in wanted.items():
        assert typed(file, "texts.txt", "--class", label, "--max-length", "4") == Said(0, "\n".join(texts) + "\n", "")
    assert typed(file, "texts.txt", "--class", "mood=good", "--max-length", "4").out.splitlines() == wanted["good"]
    assert typed(file, "texts.txt", "--class", "good", "--to", "out.txt", "--max-length", "4").out == ""
    assert (tmp_path / "out.txt").read_text().splitlines() == wanted["good"]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(TEXTS)))
    assert typed(file, "-", "--class", "good", "--max-length", "4").out.splitlines() == wanted["good"]
    beam = typed(file, "texts.txt", "--class", "good", "--beam", "3", "--max-length", "4").out.splitlines()
    assert beam == run.transfer(TEXTS, "good", method="beam", beam=3, max_length=4)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["texts.txt", "--class", "odd"], "c='odd': there is no such class\ntry  one of mood: bad, good"),
        (["texts.txt", "--class", "mood=odd"], "there is no such attribute or class\ntry  one of bad, good"),
        (["texts.txt", "--class", "good", "--class", "mood=bad"], "--class good: of several, each names its attribute"),
        (["texts.txt", "--class", "mood=bad", "--class", "mood=good"], "--class mood=…: given 2 times\ntry  one class"),
        (["texts.txt", "--class", "good", "--batch-size", "0"], "batch_size=0: a batch holds at least one text"),
        (["texts.txt", "--class", "good", "--beam", "0"], "beam=0"),
        (["none.txt", "--class", "good"], "none.txt: cannot be read"),
        (["v.npy", "--class", "good"], "v.npy: holds feature vectors, not texts\ntry  one text a line"),
        (["texts.txt", "--class", "good", "--to", "no/out.txt"], "--to no/out.txt: there is no folder"),
    ],
)
def test_a_mistake_is_one_message(words: list[str], told: str, file: str, typed):
    said = typed(file, *words)
    assert said.code == 2
    assert said.err.startswith("transfer: ")
    assert told in said.err


def test_a_run_without_classes(saved, typed):
    said = typed(saved("model=svae"), "texts.txt", "--class", "good")
    assert said.code == 2
    assert "this run knows no classes of texts\ntry  a run of model=control | model=m2" in said.err
