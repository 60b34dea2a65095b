"""``python -m lvexp.translate``: what a finished run writes for a file of sources."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import Said
from sacrebleu.metrics.bleu import BLEU

from lvexp import translate
from lvexp.data.features import Features
from lvexp.loading import load

SOURCES = ["a b c", "f", "d e"]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_main: Callable[..., Said]) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sources.txt").write_text("\n".join(SOURCES) + "\n")
    return functools.partial(run_main, translate.main)


def test_a_line_for_each_source_in_their_order(saved, typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = saved("model=cvae", "data=multi30k")
    run = load(file)
    wanted = run.write(SOURCES, method="beam", max_length=4)
    assert typed(file, "sources.txt", "--max-length", "4") == Said(0, "\n".join(wanted) + "\n", "")
    assert typed(file, "sources.txt", "--to", "out.txt", "--max-length", "4").out == ""
    assert (tmp_path / "out.txt").read_text().splitlines() == wanted
    greedy = typed(file, "sources.txt", "--beam", "1", "--max-length", "4").out.splitlines()
    assert greedy == run.write(SOURCES, max_length=4)
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(SOURCES)))
    assert typed(file, "-", "--max-length", "4").out.splitlines() == wanted
    draws = [typed(file, "sources.txt", "--draw", "--seed", seed, "--max-length", "9").out for seed in "001234"]
    assert draws[0] == draws[1]
    assert len(set(draws)) > 1


def test_references_are_compared_with(saved, typed, tmp_path: Path):
    file = saved("model=seq2seq", "data=multi30k")
    (tmp_path / "references.txt").write_text("a b c\nf z\nd\n")
    said = typed(file, "sources.txt", "--references", "references.txt", "--max-length", "4")
    written = said.out.splitlines()
    whole, known = (
        BLEU(tokenize="none", force=True).corpus_score(written, [["a b c", second, "d"]]).score
        for second in ("f z", "f <unk>")
    )
    assert f"BLEU {whole:.2f}  nrefs:1" in said.err
    assert "chrF2 " in said.err
    assert f"BLEU {known:.2f}  with references in the model's vocabulary" in said.err


def test_the_n_best_come_with_their_log_probabilities(saved, typed):
    file = saved("model=seq2seq", "data=multi30k")
    lines = [json.loads(line) for line in typed(file, "sources.txt", "--n-best", "3").out.splitlines()]
    assert [line["source"] for line in lines] == SOURCES
    for line, found in zip(lines, load(file).n_best(SOURCES, 3), strict=True):
        assert [(one["text"], one["log_p"]) for one in line["n_best"]] == [(text, round(p, 4)) for text, p in found]


def test_more_texts_than_the_beam_widen_it_and_their_z_may_be_drawn(saved, typed):
    file = saved("model=cvae", "data=multi30k")

    def best(*words: str) -> list[list[str]]:
        said = typed(file, "sources.txt", "--max-length", "4", *words)
        assert said.code == 0, said.err
        return [[one["text"] for one in json.loads(line)["n_best"]] for line in said.out.splitlines()]

    assert [len(texts) for texts in best("--n-best", "8")] == [8, 8, 8]
    fixed = best("--n-best", "4")
    draws = [best("--n-best", "4", "--draw", "--seed", seed) for seed in "00123"]
    assert draws[0] == draws[1]
    assert any(drawn != fixed for drawn in draws)


def test_sources_may_be_vectors(saved, typed, tmp_path: Path):
    file = saved("model=seq2seq", "data=objects", "encoder=perceptron", sources=Features(1, 3))
    np.save(tmp_path / "v.npy", np.eye(3))
    assert typed(file, "v.npy").out.splitlines() == load(file).write(list(np.eye(3)), method="beam")


@pytest.mark.parametrize("seed", ["-1", str(2**63), "1.5"])
def test_a_seed_that_is_none(seed: str, typed):
    said = typed("run", "sources.txt", "--seed", seed)
    assert said.code == 2
    assert "argument --seed: " in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "sources.txt"], "nowhere: there is no checkpoint"),
        (["{run}", "nowhere.txt"], "nowhere.txt: cannot be read: No such file"),
        (["{run}", "nowhere.npy"], "nowhere.npy: is not a NumPy array"),
        (["{run}", "latin.txt"], "latin.txt: cannot be read: is not in UTF-8"),
        (["{run}", "empty.txt"], "empty.txt: holds no lines"),
        (["{run}", "sources.txt", "--references", "empty.txt"], "empty.txt: holds no lines"),
        (["{run}", "sources.txt", "--references", "two.txt"], "has 3 lines and two.txt has 2"),
        (["{run}", "sources.txt", "--references", "sources.txt", "--n-best", "2"], "leave out one of the two"),
        (["{run}", "sources.txt", "--to", "no/where.txt"], "there is no folder"),
        (["{run}", "sources.txt", "--to", "."], "cannot be written"),
        (["{run}", "sources.txt", "--beam", "0"], "beam=0"),
        (["{run}", "sources.txt", "--length-penalty", "-1"], "length_penalty=-1.0"),
        (["{run}", "sources.txt", "--max-length", "0"], "max_length=0"),
        (["{run}", "sources.txt", "--batch-size", "0"], "batch_size=0"),
        (["{run}", "sources.txt", "--n-best", "0"], "n_best=0"),
        (["{run}", "sources.txt", "--length-penalty", "nan"], "length_penalty=nan"),
        (["{run}", "v.npy"], "v.npy: holds feature vectors, and this run reads texts"),
        (["{svae}", "sources.txt"], "this model reads no sources"),
    ],
)
def test_mistakes_get_one_message(saved, typed, tmp_path: Path, words: list[str], said: str):
    (tmp_path / "latin.txt").write_bytes("Straße".encode("latin-1"))
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "two.txt").write_text("a\nb\n")
    np.save(tmp_path / "v.npy", np.eye(3))
    if "{svae}" in words:
        run = saved("model=svae", "data=snips", "latent.dim=3")
    else:
        run = saved("model=seq2seq", "data=multi30k")
    found = typed(*(run if word in ("{run}", "{svae}") else word for word in words))
    assert found.code == 2
    assert found.err.startswith("translate: ")
    assert said in found.err
    assert "Traceback" not in found.err
