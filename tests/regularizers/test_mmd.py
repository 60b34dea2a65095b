"""Maximum mean discrepancy of the aggregate posterior from the prior."""

from __future__ import annotations

import math

import pytest
import tiny
import torch
from helpers import Compose, checked

from lvexp.errors import ConfigError, Refusal
from lvexp.estimators.score import Score
from lvexp.regularizers.mmd import MMD, mmd

KERNELS = ["imq", "rbf"]


@pytest.mark.parametrize("kernel", KERNELS)
def test_against_a_double_loop(kernel: str):
    torch.manual_seed(0)
    z, y = torch.randn(5, 3) + 1, torch.randn(5, 3)

    def k(a, b):
        squared = sum((u - v) ** 2 for u, v in zip(a.tolist(), b.tolist(), strict=True))
        return 6 / (6 + squared) if kernel == "imq" else math.exp(-squared / 6)

    pairs = [(i, j) for i in range(5) for j in range(5)]
    within = sum(k(z[i], z[j]) + k(y[i], y[j]) for i, j in pairs if i != j) / 20
    between = 2 * sum(k(z[i], y[j]) for i, j in pairs) / 25
    assert mmd(z, y, kernel).item() == pytest.approx(within - between, abs=1e-6)


@pytest.mark.parametrize("kernel", KERNELS)
def test_it_is_unbiased_and_tells_distributions_apart(kernel: str):
    torch.manual_seed(0)
    same = torch.stack([mmd(torch.randn(20, 4), torch.randn(20, 4), kernel) for _ in range(400)])
    error = (same.std() / len(same) ** 0.5).item()
    assert same.mean().item() == pytest.approx(0, abs=4 * error)
    assert (same < 0).any(), "the unbiased estimate of 0 lies on both sides of it"
    for other in (torch.randn(200, 4) + 1, 0.1 * torch.randn(200, 4)):
        assert mmd(other, torch.randn(200, 4), kernel) > 0.02


def test_known_value_for_shifted_gaussians():
    # E exp(-|a - b|^2 / C) of a - b ~ N(m, 2) in one dimension is (1 + 4/C)^-1/2 exp(-m^2 / (C + 4)), C = 2
    torch.manual_seed(0)
    shift = 1.5
    exact = 2 * 3**-0.5 * (1 - math.exp(-(shift**2) / 6))
    found = mmd(torch.randn(3000, 1) + shift, torch.randn(3000, 1), "rbf").item()
    assert found == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize("estimator", [None, Score()])
def test_it_moves_the_encoder_with_any_estimator(estimator):
    model = tiny.model(remedies=[MMD(weight=3.0)])
    model.estimator = estimator or model.estimator
    penalty = model.regularizers[0].penalty(model.terms(tiny.encode("a b c", "d", "e f")))
    assert penalty.shape == (3,)
    assert torch.equal(penalty, penalty[:1].expand(3)), "one figure for the batch, so its mean is itself"
    penalty.mean().backward()
    assert model.latent.linear.weight.grad.abs().sum() > 0


def test_one_text_has_no_pair():
    model = tiny.model(remedies=[MMD()])
    assert model.regularizers[0].penalty(model.terms(tiny.encode("a b"))) == 0


def test_what_is_reported_does_not_depend_on_it():
    batch, found = tiny.encode("a b c", "d"), []
    for remedies in ([], [MMD(weight=100.0)]):
        model = tiny.model(remedies=remedies).eval()
        torch.manual_seed(1)
        terms = tiny.training(model).validation_step(batch, 0)
        found.append(terms.distortion + terms.rate)
    assert torch.equal(*found)


def test_what_it_cannot_work_with_is_refused(composed: Compose):
    checked(composed("regularizer=mmd", "anneal.beta=0", "regularizer.mmd.kernel=rbf"))
    with pytest.raises(Refusal, match="latent=point"):
        checked(composed("model=ae", "regularizer=mmd"))
    with pytest.raises(ConfigError, match="imq, rbf"):
        checked(composed("regularizer=mmd", "regularizer.mmd.kernel=linear"))
    with pytest.raises(ConfigError, match="imq, rbf"):
        MMD(kernel="linear")
    with pytest.raises(ConfigError, match="weight=-1"):
        MMD(weight=-1)
