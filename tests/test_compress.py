"""``python -m lvexp.compress``: shorter versions of the texts in a file."""

from __future__ import annotations

import functools
import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Said

from lvexp import compress
from lvexp.loading import load

TEXTS = ["a b c a", "f", "", "d e d f zebra"]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_main: Callable[..., Said]) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("".join(f"{text}\n" for text in TEXTS))
    return functools.partial(run_main, compress.main)


@pytest.fixture
def file(saved: Callable[..., str]) -> str:
    return saved("model=codec", "latent.language.hidden=8", "latent.language.embedding=6")


def test_a_shorter_text_for_each_in_their_order(file: str, typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    run = load(file)
    wanted = run.compress(TEXTS)
    assert len({*wanted}) > 1, "or this test says little"
    assert typed(file, "texts.txt") == Said(0, "\n".join(wanted) + "\n", "")
    assert typed(file, "texts.txt", "--to", "out.txt").out == ""
    assert (tmp_path / "out.txt").read_text().splitlines() == wanted
    assert typed(file, "texts.txt", "--words", "2").out.splitlines() == run.compress(TEXTS, words=2)
    assert typed(file, "texts.txt", "--share", "0.5").out.splitlines() == run.compress(TEXTS, share=0.5)
    monkeypatch.setattr(sys, "stdin", io.StringIO((tmp_path / "texts.txt").read_text()))
    assert typed(file, "-").out.splitlines() == wanted


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["texts.txt", "--words", "9"], "words=9, and this model writes 1 to 3 words"),
        (["texts.txt", "--share", "1.5"], "share=1.5: it is above 0 and at most 1"),
        (["nowhere.txt"], "nowhere.txt: cannot be read"),
        (["texts.txt", "--to", "none/out.txt"], "there is no folder"),
    ],
)
def test_mistakes_are_told(file: str, typed, words: list[str], said: str):
    found = typed(file, *words)
    assert (found.code, found.out) == (2, "")
    assert said in found.err
    assert "try  " in found.err


def test_a_run_of_another_model_is_refused(saved: Callable[..., str], typed):
    found = typed(saved("model=svae"), "texts.txt")
    assert found.code == 2
    assert "makes texts no shorter" in found.err
