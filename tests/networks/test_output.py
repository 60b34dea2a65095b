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


def test_without_gradients_the_value_is_the_same_and_no_gradient_is_computed(monkeypatch: pytest.MonkeyPatch):
    states, weight, targets = parts()
    products = []
    product = output.product
    monkeypatch.setattr(output, "product", lambda a, b: products.append(len(b)) or product(a, b))
    with torch.no_grad():
        value = token_nll(states, weight, targets)
    assert torch.allclose(value, textbook(states, weight, targets), atol=1e-12)
    assert set(products) == {len(weight)}  # the logits alone


def test_huge_logits_neither_overflow_nor_lose_the_true_token():
    states = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[500.0], [-500.0], [0.0]], requires_grad=True)
    nll = token_nll(states, weight, torch.tensor([1]))
    nll.sum().backward()
    assert nll.item() == pytest.approx(1000)
    assert states.grad is not None
    assert states.grad.item() == pytest.approx(1000)


def test_second_derivatives_are_the_textbook_ones():
    states, weight, targets = parts()
    assert torch.autograd.gradgradcheck(lambda s, w: token_nll(s, w, targets), (states, weight))
    assert torch.autograd.gradgradcheck(lambda s: token_nll(s, weight.detach(), targets), (states,))


@pytest.mark.parametrize("needed", ["states", "weight"])
def test_only_one_side_may_need_a_gradient(needed: str):
    states, weight, targets = parts()
    kept = {"states": states, "weight": weight}[needed]
    inputs = [tensor if tensor is kept else tensor.detach() for tensor in (states, weight)]
    ours, theirs = (torch.autograd.grad(f(*inputs, targets).sum(), kept)[0] for f in (token_nll, textbook))
    assert torch.allclose(ours, theirs, atol=1e-12)


def test_in_32_bits_it_is_as_near_to_the_exact_values_as_the_textbook():
    states, weight, targets = parts(n=40, h=64, v=300)
    exact = textbook(states, weight, targets)
    grads = torch.autograd.grad(exact.mean(), (states, weight))
    small = [tensor.detach().float().requires_grad_() for tensor in (states, weight)]
    errors = []
    for function in (token_nll, textbook):
        nll = function(*small, targets)
        found = (nll.detach(), *torch.autograd.grad(nll.mean(), small))
        errors.append([float((a - b).detach().abs().max()) for a, b in zip(found, (exact, *grads), strict=True)])
    for ours, theirs in zip(*errors, strict=True):
        assert ours < 3 * theirs + 1e-8


def test_the_product_is_the_matrix_product_for_any_strides():
    torch.manual_seed(0)
    a, b = torch.randn(9, 6), torch.randn(12, 7)
    for left, right in ((a, b[:, :6]), (a.T, b[:9].T[:, :9]), (a[:, 1:], b[:, 2:])):
        assert torch.allclose(output.product(left, right), left @ right.T, atol=1e-6)
