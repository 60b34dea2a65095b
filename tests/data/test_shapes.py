"""Points made by a rule: their distributions, and that they are a corpus like others."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from helpers import Compose, checked, plain

from lvexp import build
from lvexp.data.shapes import Shapes, grid, ring
from lvexp.errors import ConfigError, Refusal
from lvexp.job import identity

DRAW = np.random.default_rng


def shapes(composed: Compose, *overrides: str) -> Shapes:
    config: dict[str, Any] = plain(composed("model=toy", *overrides))
    found = build.data(config)
    assert isinstance(found, Shapes)
    return found


def whole(data: Shapes, split: str = "test") -> Any:
    (batch,) = data.in_order(split)
    return batch


def test_the_ring_is_doerschs():
    x, sector, log_p = ring(5000, DRAW(0), width=0.1)
    z = DRAW(0).standard_normal((5000, 2))
    np.testing.assert_allclose(x, z / 10 + z / np.linalg.norm(z, axis=1, keepdims=True))
    radius = np.hypot(*x.T)
    density = scipy.stats.rayleigh(loc=1, scale=0.1).pdf(radius) / (2 * math.pi * radius)
    np.testing.assert_allclose(log_p, np.log(density))
    assert scipy.stats.kstest(radius, scipy.stats.rayleigh(loc=1, scale=0.1).cdf).pvalue > 0.001
    assert (sector == np.floor((np.degrees(np.arctan2(x[:, 1], x[:, 0])) % 360) / 45)).all()


def test_the_grid_is_a_mixture_of_normal_distributions():
    x, row, log_p = grid(4000, DRAW(0), width=0.2, cells=3)
    each = [scipy.stats.multivariate_normal([a, b], 0.04).logpdf(x) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    np.testing.assert_allclose(log_p, scipy.special.logsumexp(each, axis=0) - math.log(9))
    assert [float(x[row == at, 1].mean()) for at in range(3)] == pytest.approx([1, 0, -1], abs=0.03)
    for column in x.T:
        mixture = [scipy.stats.norm(at, 0.2) for at in (-1, 0, 1)]
        assert scipy.stats.kstest(column, lambda v, m=mixture: sum(part.cdf(v) for part in m) / 3).pvalue > 0.001


def test_a_seed_makes_points_and_no_split_has_those_of_another(composed: Compose):
    data, again, other = (shapes(composed, f"data.points.seed={seed}") for seed in (0, 0, 1))
    assert torch.equal(whole(data).vectors, whole(again).vectors)
    assert not torch.equal(whole(data).vectors, whole(other).vectors)
    seen = {split: {tuple(row) for row in batch.vectors[:, 0].tolist()}
            for split in ("valid", "test") for batch in [whole(data, split)]}  # fmt: skip
    assert not seen["valid"] & seen["test"]
    sizes = {split: len(points) for split, points in data.corpus.splits.items()}
    assert sizes == {"train": 8192, "valid": 512, "test": 512}


def test_batches_are_shuffled_points_with_classes(composed: Compose):
    data = shapes(composed)
    first, second = (list(loader) for loader in [data.train_dataloader()] for _ in range(2))
    assert len(first) == data.steps_per_epoch == 64
    assert first[0].vectors.shape == (128, 1, 2)
    assert not torch.equal(first[0].vectors, second[0].vectors)
    every = torch.cat([batch.vectors for batch in first])
    assert len(every.unique(dim=0)) == 8192
    points = data.corpus.splits["train"]
    assert torch.equal(first[0].vectors[:, 0], torch.from_numpy(points.vectors[first[0].index.numpy()]))
    assert torch.equal(first[0].labels, torch.from_numpy(points.labels[first[0].index.numpy()]))
    assert len(data.labels) == 8
    assert first[0].predicted() == 0, "there is no token"


def test_what_no_model_can_beat_is_said(composed: Compose):
    (note,) = shapes(composed).corpus.notes
    _, _, log_p = ring(10**6, DRAW(5), width=0.1)
    (said,) = (float(word) for word in note.split() if word[0].isdigit())
    assert said == pytest.approx(-log_p.mean(), abs=4 * log_p.std() / 512**0.5)


def test_rules_and_seeds_are_other_runs(composed: Compose):
    typed = ("", "data.rule=grid", "data.points.seed=1", "data.width=0.2")
    ids = {identity.run_id(composed("model=toy", *filter(None, [word])), "toy") for word in typed}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("model=toy data.rule=star", "ring, grid"),
        ("model=toy data.points.train=0", "data.points.train=0"),
        ("model=toy data.width=0", "data.width=0"),
        ("model=toy data=snips", "data=shapes"),
        ("model=svae data=shapes", "data=snips"),
        ("model=toy decoder=lstm", "decoder=perceptron"),
        ("model=svae decoder=perceptron", "decoder=lstm"),
        ("model=toy regularizer=word_dropout", "regularizer=word_dropout"),
        ("model=toy regularizer=bag_of_words", "data=shapes"),
        ("model=toy latent=point", "latent=gaussian"),
    ],
)
def test_what_cannot_work_is_refused_by_name(typed: str, named: str, composed: Compose):
    with pytest.raises((ConfigError, Refusal)) as caught:
        checked(composed(*typed.split()))
    assert named in str(caught.value)
