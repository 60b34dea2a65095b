"""The fused output layer against the textbook one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lvexp.networks import output
from lvexp.networks.output import text_log_p, token_nll


@pytest.fixture(autouse=True, params=[1, 30, 10**6], ids=["row-by-row", "some-rows", "at-once"])
def chunk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "CHUNK", request.param)
    monkeypatch.setattr(output, "ROWS", 1)
    monkeypatch.setattr(output, "BLOCK", {1: (1, 1), 30: (3, 4), 10**6: output.BLOCK}[request.param])


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
    assert sum(products) % len(weight) == 0
    assert max(products) <= output.BLOCK[1]  # the logits alone, and each once


def test_huge_logits_neither_overflow_nor_lose_the_true_token():
    states = torch.tensor([[1.0]], requires_grad=True)
    weight = torch.tensor([[500.0], [-500.0], [0.0]], requires_grad=True)
    nll = token_nll(states, weight, torch.tensor([1]))
    nll.sum().backward()
    assert nll.item() == pytest.approx(1000)
    assert states.grad is not None
    assert states.grad.item() == pytest.approx(1000)


@pytest.mark.parametrize("logits", [[500.0, -500.0, 0.0], [300.0, 299.0, 298.0], [-300.0, -301.0, -305.0]])
def test_extreme_logits_without_gradients(logits: list[float]):
    """Their exponentials are 0 or infinite in 32 bits."""
    states, weight = torch.ones(3, 1), torch.tensor(logits)[:, None]
    found = token_nll(states, weight, torch.arange(3))
    torch.testing.assert_close(found, textbook(states, weight, torch.arange(3)))


@pytest.mark.parametrize("mode", ["grad", "no_grad"])
def test_padding_costs_nothing_and_counts_for_nothing(mode: str, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    states = torch.randn(3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(11, 6, dtype=torch.float64, requires_grad=True)
    targets, lengths = torch.randint(11, (4, 5)), torch.tensor([6, 2, 4, 3])
    scored, token = [], output.token_nll
    monkeypatch.setattr(output, "token_nll", lambda *given: scored.append(len(given[0])) or token(*given))
    with torch.set_grad_enabled(mode == "grad"):
        found = text_log_p(states, weight, targets, lengths)
    log_p = -textbook(states.flatten(0, 2), weight, targets.repeat(3, 1).flatten()).view(3, 4, 5)
    wanted = (log_p * (torch.arange(1, 6) < lengths[:, None])).sum(-1)
    assert torch.allclose(found, wanted, atol=1e-12)
    assert sum(scored) == 3 * int((lengths - 1).sum())
    if mode == "grad":
        ours, theirs = (torch.autograd.grad(value.square().sum(), (states, weight)) for value in (found, wanted))
        for one, other in zip(ours, theirs, strict=True):
            assert torch.allclose(one, other, atol=1e-12)


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


def test_the_product_is_the_matrix_product_for_any_strides(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    a, b = torch.randn(9, 6), torch.randn(12, 7)
    for library in (True, False):
        monkeypatch.setattr(output, "_intel", lambda library=library: library)
        check(a, b)


def check(a: torch.Tensor, b: torch.Tensor) -> None:
    for left, right in ((a, b[:, :6]), (a.T, b[:9].T[:, :9]), (a[:, 1:], b[:, 2:])):
        assert torch.allclose(output.product(left, right), left @ right.T, atol=1e-6)


def test_other_devices_sum_whole_rows_of_logits_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    states, weight, targets = torch.randn(11, 3), torch.randn(7, 3, requires_grad=True), torch.randint(7, (11,))
    sizes, entropy = [], F.cross_entropy

    def watched(logits, *rest, **options):
        sizes.append(logits.numel())
        return entropy(logits, *rest, **options)

    monkeypatch.setattr(output.F, "cross_entropy", watched)
    monkeypatch.setattr(output, "ELSEWHERE", 4 * 7)
    with torch.no_grad():
        torch.testing.assert_close(output._torch(states, weight, targets), token_nll(states, weight, targets))
    assert sizes == [28, 28, 21]
    sizes.clear()
    output._torch(states, weight, targets).sum().backward()  # a gradient needs all of them at some time
    assert weight.grad is not None
    assert sizes == [77]
