"""A run, loaded from its checkpoint alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from helpers import Compose, plain

import lvexp
from lvexp.errors import RunError
from lvexp.run import run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


@pytest.fixture
def trained(runs: dict[str, Path], tmp_path_factory, composed: Compose, small: list[str]):
    def make(model: str) -> Path:
        if model not in runs:
            folder = tmp_path_factory.mktemp(model)
            config = plain(composed(f"model={model}", *small, "trainer.max_epochs=2"))
            run(config, folder, run_id="r", group_id="g", choices={"regularizer": []}, overrides=[])
            # elsewhere, and with nothing but the checkpoint: no corpus, no configuration, no cache
            kept = tmp_path_factory.mktemp("kept") / "checkpoints"
            shutil.copytree(folder / "checkpoints", kept)
            runs[model] = kept.parent
        return runs[model]

    return make


def test_a_sentence_vae(trained):
    model = lvexp.load(trained("svae"))
    texts = ["the cat and dog", "the hat"]
    z = model.encode(texts)
    assert z.shape == (2, 4)
    assert torch.allclose(z, model.encode(texts)), "the mean: no noise"
    assert torch.allclose(z[1:], model.encode(texts[1:]), atol=1e-5)
    assert model.decode(z) == model.reconstruct(texts)
    assert model.sample(3, seed=1) == model.sample(3, seed=1)
    assert len(model.sample(3)) == 3
    path = model.interpolate(*texts, steps=4)
    assert len(path) == 4
    assert [path[0], path[-1]] == model.reconstruct(texts)
    scores = model.score(texts, samples=50)
    assert all(score > 0 for score in scores)
    assert scores[0] > scores[1], "the longer text is the less probable one"
    assert model.decode(z, method="beam", beam=2)


def test_a_language_model(trained):
    model = lvexp.load(trained("rnnlm"))
    assert len(model.sample(2)) == 2
    assert model.score(["the cat"])[0] > 0
    with pytest.raises(RunError, match="no latent variable"):
        model.encode(["the cat"])
    with pytest.raises(RunError, match="no latent variable"):
        model.reconstruct(["the cat"])


def test_an_auto_encoder(trained):
    model = lvexp.load(trained("ae"))
    assert model.encode(["the cat"]).shape == (1, 4)
    with pytest.raises(RunError, match="no prior"):
        model.sample(1)
    with pytest.raises(RunError, match="no prior"):
        model.score(["the cat"])


def test_the_checkpoint_opens_with_weights_only(trained):
    saved = torch.load(trained("svae") / "checkpoints" / "best.ckpt", weights_only=True)
    assert saved["hyper_parameters"]["config"]["latent"]["dim"] == 4


def test_mistakes_are_named(trained, tmp_path: Path):
    with pytest.raises(RunError, match="no checkpoint"):
        lvexp.load(tmp_path)
    (tmp_path / "best.ckpt").write_bytes(b"rubbish")
    with pytest.raises(RunError, match="checkpoint is damaged"):
        lvexp.load(tmp_path / "best.ckpt")
    model = lvexp.load(trained("svae"))
    with pytest.raises(ValueError, match=r"\[N, 4\]"):
        model.decode(torch.zeros(1, 7))
    with pytest.raises(TypeError, match="list"):
        model.encode("the cat")
    with pytest.raises(ValueError, match="steps"):
        model.interpolate("the cat", "the hat", steps=1)
    with pytest.raises(ValueError, match="no text"):
        model.encode([])
