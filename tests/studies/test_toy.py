"""The toy of He et al. 2019: its language, the model's posterior mean on a grid, what counts as an iteration."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch

from lvexp.data.batch import Batch
from lvexp.latents.gaussian import Gaussian
from lvexp.studies import toy as study


@pytest.fixture
def toy() -> ModuleType:
    return study


def test_the_language_is_fixed_by_its_seed(toy, monkeypatch, tmp_path):
    monkeypatch.setattr(toy, "SPLITS", {"train": 300, "valid": 20, "test": 20})
    other, _ = toy.corpus(tmp_path, seed=2)
    points, component = toy.corpus(tmp_path, seed=1)
    assert (points, component) == toy.corpus(tmp_path, seed=1)
    assert points != other
    lines = (tmp_path / "train.txt").read_text().splitlines()
    assert len(lines) == 300
    assert points[:300] == lines
    assert {len(line.split()) for line in lines} == {toy.LENGTH}
    assert set(component) == {0, 1, 2, 3}


def test_the_means_of_the_models_posterior_are_those_of_a_model_known_by_heart(toy):
    batch = Batch(torch.tensor([[1, 7, 2], [1, 4, 2], [1, 0, 2]]), torch.tensor([3, 3, 3]))
    model = SimpleNamespace(
        latent=Gaussian(2, 1),
        read=lambda batch: None,
        # x ~ N(z, 1), z ~ N(0, 1)
        log_likelihood=lambda batch, reading, code: -((batch.tokens[:, 1] - code[..., 0]) ** 2) / 2,
    )
    assert torch.allclose(toy.model_means(model, batch), torch.tensor([3.5, 2.0, 0.0]), atol=1e-4)


def test_a_short_run_keeps_its_points_and_draws_them(toy, monkeypatch, tmp_path):
    monkeypatch.setattr(toy, "SPLITS", {"train": 64, "valid": 20, "test": 20})
    monkeypatch.setattr(toy, "POINTS", 3)
    monkeypatch.setattr(toy, "GRID", torch.arange(-4, 5.0))
    row = "encoder=gru anneal=linear regularizer=aggressive regularizer.aggressive.inner=3"
    words = ["toy", "--row", "", "--row", row, "--iterations", "5", "--every", "2", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", words)
    toy.main()
    rows = json.loads((tmp_path / "points.json").read_text())["rows"]
    assert list(rows) == ["", row]
    for seen in rows.values():
        assert [found["iteration"] for found in seen] == [0, 2, 4]
        assert all(len(found["approximate"]) == len(found["model"]) == 3 for found in seen)
    picture = tmp_path / "toy.png"
    assert picture.stat().st_size > 10_000
    picture.unlink()
    monkeypatch.setattr(sys, "argv", ["toy", "--draw", "--out", str(tmp_path), "--columns", "2"])
    toy.main()
    assert picture.exists()
