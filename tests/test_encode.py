"""``python -m lvexp.encode``: embeddings and scores of the texts in a file."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Said

from lvexp import encode
from lvexp.loading import load

NOTHING = Said(0, "", "")
TEXTS = ["a b c", "f", "d e"]


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, run_main: Callable[..., Said]) -> Callable[..., Said]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS) + "\n")
    return functools.partial(run_main, encode.main)


def test_the_rows_are_the_texts_in_their_order(saved: Callable[..., str], typed: Callable[..., Said], tmp_path: Path):
    file = saved("model=svae")
    z = load(file).encode(TEXTS)
    assert typed(file, "texts.txt", "--to", "z.npz") == NOTHING
    assert np.array_equal(np.load("z.npz")["z"], z.numpy())
    load_file = pytest.importorskip("safetensors.torch").load_file
    assert typed(file, "texts.txt", "--to", "z.safetensors") == NOTHING
    assert torch.equal(load_file(tmp_path / "z.safetensors")["z"], z)


def test_scores_are_those_of_the_loaded_run(saved: Callable[..., str], typed: Callable[..., Said], tmp_path: Path):
    file = saved("model=svae")
    assert typed(file, "texts.txt", "--scores", "s.jsonl", "--samples", "7", "--seed", "2") == NOTHING
    found = [json.loads(line) for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert [text["index"] for text in found] == [0, 1, 2]
    wanted = load(file).score(TEXTS, samples=7, seed=2)
    assert [text["nll"] for text in found] == pytest.approx(wanted, abs=1e-5)


def test_texts_are_scored_given_their_sources(saved: Callable[..., str], typed: Callable[..., Said], tmp_path: Path):
    file = saved("model=seq2seq", "data=multi30k")
    (tmp_path / "sources.txt").write_text("f\ne d\na\n")
    assert typed(file, "texts.txt", "--sources", "sources.txt", "--scores", "s.jsonl") == NOTHING
    found = [json.loads(line)["nll"] for line in (tmp_path / "s.jsonl").read_text().splitlines()]
    assert found == pytest.approx(load(file).score(list(zip(["f", "e d", "a"], TEXTS, strict=True))), abs=1e-5)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{svae}", "texts.txt"], "nothing to write is named"),
        (["{svae}", "texts.txt", "--to", "z.txt"], "must end in .npz or .safetensors"),
        (["{svae}", "texts.txt", "--to", "no/z.npz"], "there is no folder"),
        (["{svae}", "texts.txt", "--to", "folder.npz"], "cannot be written"),
        (["{svae}", "texts.txt", "--scores", "s", "--samples", "0"], "--samples 0: it must be at least 1"),
        (["{svae}", "texts.txt", "--to", "z.npz", "--batch-size", "0"], "--batch-size 0"),
        (["{svae}", "nowhere.txt", "--to", "z.npz"], "nowhere.txt: cannot be read"),
        (["nowhere", "texts.txt", "--to", "z.npz"], "there is no checkpoint"),
        (["{rnnlm}", "texts.txt", "--to", "z.npz"], "no latent variable to encode into"),
        (["{ae}", "texts.txt", "--scores", "s"], "no likelihood"),
        (["{seq2seq}", "texts.txt", "--scores", "s"], "this model reads source and text"),
    ],
)
def test_mistakes_get_one_message(saved, typed: Callable[..., Said], tmp_path: Path, words: list[str], said: str):
    (tmp_path / "folder.npz").mkdir()
    kinds = ("svae", "rnnlm", "ae", "seq2seq")
    kind = next((kind for kind in kinds if words[0] == f"{{{kind}}}"), None)
    if kind:
        words = [saved(f"model={kind}", *(["data=multi30k"] if kind == "seq2seq" else [])), *words[1:]]
    found = typed(*words)
    assert found.code == 2
    assert found.err.startswith("encode: ")
    assert said in found.err
    assert "Traceback" not in found.err
