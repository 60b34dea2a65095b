"""The fused output layer against the textbook one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lvexp.networks import output
from lvexp.networks.output import token_nll


@pytest.fixture(autouse=True, params=[1, 30, 10**6], ids=["row-by-row", "some-rows", "at-once"])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "CHUNK", request.param)


def parts(n: int = 7, h: int = 5, v: int = 11) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    states = torch.randn(n, h, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(v, h, dtype=torch.float64, requires_grad=True)
    return states, weight, torch.randint(v, (n,))


def textbook(states, weight, targets):
    return F.cross_entropy(F.linear(states, weight), targets, reduction="none")


@pytest.mark.parametrize("weights", ["equal", "different", "some zero"])
def test_value_and_gradients_are_the_textbook_ones(weights: str):
    states, weight, targets = parts()
    scale = torch.ones(7, dtype=torch.float64) / 7
    if weights == "different":
        scale = torch.rand(7, dtype=torch.float64)
    if weights == "some zero":
        scale[3:] = 0
    found, grads = [], []
    for function in (token_nll, textbook):
        nll = function(states, weight, targets)
        found.append(nll.detach())
        grads.append(torch.autograd.grad((nll * scale).sum(), (states, weight)))
    assert torch.allclose(*found, atol=1e-12)
    for ours, theirs in zip(*grads, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


def test_gradcheck():
    states, weight, targets = parts()
    assert torch.autograd.gradcheck(lambda s, w: token_nll(s, w, targets), (states, weight))
    assert torch.autograd.gradcheck(lambda s, w: token_nll(s, w, targets).mean(), (states, weight))


def test_without_gradients_the_value_is_the_same():
    states, weight, targets = parts()
    with torch.no_grad():
        value = token_nll(states, weight, targets)
    assert torch.allclose(value, textbook(states, weight, targets), atol=1e-12)


def test_huge_logits_neither_overflow_nor_lose_the_true_token():
    states = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[500.0], [-500.0], [0.0]], requires_grad=True)
    nll = token_nll(states, weight, torch.tensor([1]))
    nll.sum().backward()
    assert nll.item() == pytest.approx(1000)
    assert states.grad is not None
    assert states.grad.item() == pytest.approx(1000)


def test_a_second_derivative_is_refused_and_not_silently_wrong():
    states, weight, targets = parts()
    (first,) = torch.autograd.grad(token_nll(states, weight, targets).sum(), states, create_graph=True)
    with pytest.raises(RuntimeError, match=r"once_differentiable|does not require grad"):
        first.sum().backward()
