"""Gradients are clipped as torch clips those of all parameters, by norm or by value."""

from __future__ import annotations

import copy

import pytest
import torch
from test_menu import batch_of
from test_walk import built, fitting
from torch import nn

from lvexp import build


@pytest.mark.parametrize("algorithm", ["norm", "value"])
@pytest.mark.parametrize("regularizer", [None, "bag_of_words"])  # which has parameters of its own
@pytest.mark.parametrize("limit", [1e-3, 1e3])
def test_all_gradients_are_clipped(algorithm: str, regularizer: str | None, limit: float):
    of = ("regularizer", regularizer) if regularizer else ("model", "svae")
    config = fitting(*of)
    training = build.training(config, copy.deepcopy(built(*of)))
    optimizer = torch.optim.Adam(training.parameters())
    for _ in range(2):  # the second time as well as the first
        optimizer.zero_grad()
        training.training_step(batch_of(config), 0).backward()
        clipped = [part for part in training.parameters() if part.grad is not None]
        before = [part.grad.clone() for part in clipped if part.grad is not None]
        norm = nn.utils.get_total_norm(before)
        training.configure_gradient_clipping(optimizer, limit, algorithm)
        assert len(before) > 5
        for part, old in zip(clipped, before, strict=True):
            expected = old.clamp(-limit, limit) if algorithm == "value" else old * min(1.0, limit / float(norm))
            torch.testing.assert_close(part.grad, expected, rtol=1e-3, atol=1e-9)


def test_without_a_limit_nothing_is_clipped():
    config = fitting("model", "svae")
    training = build.training(config, copy.deepcopy(built("model", "svae")))
    training.training_step(batch_of(config), 0).backward()
    before = [part.grad.clone() for part in training.parameters() if part.grad is not None]
    training.configure_gradient_clipping(torch.optim.Adam(training.parameters()), None, "norm")
    after = [part.grad for part in training.parameters() if part.grad is not None]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
