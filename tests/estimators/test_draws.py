"""`expect` with every estimator, against sums and integrals that are known."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, Normal

from lvexp.distributions.delta import Delta
from lvexp.draws import Draw, expect
from lvexp.estimators.auto import Auto
from lvexp.estimators.enumerate import Enumerate
from lvexp.estimators.pathwise import Pathwise
from lvexp.estimators.score import Score


@pytest.fixture
def logits():
    return torch.tensor([[0.3, -1.2, 0.9], [2.0, 0.1, -0.4]], requires_grad=True)


COST = torch.tensor([[4.0, -2.0, 1.0], [0.5, 3.0, 7.0]])  # of each value, for each of two texts


def cost_of(draw, theta):
    """A cost that depends on the draw and on a parameter of the decoder."""
    return theta * COST.gather(1, draw.value.T).T


def exact(logits, theta):
    value = (logits.softmax(-1) * theta * COST).sum(-1)
    return value, torch.autograd.grad(value.sum(), (logits, theta))


def test_enumeration_is_exact(logits):
    theta = torch.tensor(1.7, requires_grad=True)
    draw = Enumerate()(Categorical(logits=logits), samples=1)
    value = expect(cost_of(draw, theta), draw)
    gradients = torch.autograd.grad(value.sum(), (logits, theta))
    expected, expected_gradients = exact(logits, theta)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients, expected_gradients)
    torch.testing.assert_close(draw.log_weight.exp().sum(0), torch.ones(2))


@pytest.mark.parametrize("baseline", [0.0, 2.5])
def test_score_function_is_unbiased(logits, baseline):
    """200,000 draws; the standard error of each entry is measured, and 4.5 of them allowed (p < 1e-4 for all six)."""
    torch.manual_seed(0)
    theta = torch.tensor(1.7, requires_grad=True)
    groups = 200
    wide = logits.detach().repeat(groups, 1).requires_grad_()  # one gradient for each group of 1000 draws
    draw = Score()(Categorical(logits=wide), samples=1000)
    cost = theta * COST.repeat(groups, 1).gather(1, draw.value.T).T
    value = expect(cost, draw, baseline)
    (gradient,) = torch.autograd.grad(value.sum(), wide)
    gradient, value = gradient.view(groups, 2, 3), value.detach().view(groups, 2)
    expected, (expected_gradient, _) = exact(logits, theta)
    for found, known in ((gradient, expected_gradient), (value, expected)):
        error = found.std(0) / groups**0.5
        assert error.max() < 0.02
        assert error.min() > 0
        assert ((found.mean(0) - known).abs() < 4.5 * error).all()


def test_a_baseline_changes_variance_not_value(logits):
    torch.manual_seed(0)
    draw = Score()(Categorical(logits=logits), samples=50)
    cost = 100 + cost_of(draw, torch.tensor(1.0))
    plain, steadied = expect(cost, draw), expect(cost, draw, baseline=100.0)
    torch.testing.assert_close(plain, steadied)
    gradients = [torch.autograd.grad(value.sum(), logits, retain_graph=True)[0] for value in (plain, steadied)]
    assert gradients[0].norm() > 3 * gradients[1].norm()


def test_score_carries_the_gradient_of_the_cost_itself(logits):
    """The decoder's gradient is the plain one: the surrogate must not touch it."""
    torch.manual_seed(0)
    theta = torch.tensor(1.7, requires_grad=True)
    draw = Score()(Categorical(logits=logits), samples=20)
    (found,) = torch.autograd.grad(expect(cost_of(draw, theta), draw).sum(), theta)
    torch.testing.assert_close(found, cost_of(draw, 1.0).mean(0).sum())


def test_pathwise_against_the_closed_form():
    """E[z^2] = m^2 + s^2 with gradients 2 m and 2 s; standard errors below 0.02 at 100,000 draws."""
    torch.manual_seed(0)
    mean = torch.tensor([0.5, -1.0], requires_grad=True)
    deviation = torch.tensor([1.5, 0.3], requires_grad=True)
    draw = Pathwise()(Normal(mean, deviation), samples=100_000)
    value = expect(draw.value.square(), draw)
    gradients = torch.autograd.grad(value.sum(), (mean, deviation))
    torch.testing.assert_close(value, mean.square() + deviation.square(), atol=0.06, rtol=0)
    torch.testing.assert_close(gradients[0], 2 * mean, atol=0.06, rtol=0)
    torch.testing.assert_close(gradients[1], 2 * deviation, atol=0.06, rtol=0)


def test_pathwise_costs_are_averaged_not_summed():
    draw = Pathwise()(Normal(torch.zeros(3), torch.ones(3)), samples=7)
    torch.testing.assert_close(expect(torch.full((7, 3), 2.0), draw), torch.full((3,), 2.0))


def test_auto_takes_what_fits(logits):
    torch.manual_seed(0)
    gaussian = Auto()(Normal(torch.zeros(2, requires_grad=True), torch.ones(2)), 3)
    assert gaussian.value.requires_grad
    assert gaussian.value.shape == (3, 2)
    discrete = Auto()(Categorical(logits=logits), 1)
    assert discrete.value.shape == (3, 2)  # every value, whatever was asked for
    assert discrete.log_weight.requires_grad
    several = Auto()(Independent(Bernoulli(logits=torch.zeros(2, 6, requires_grad=True)), 1), 5)
    assert several.value.shape == (5, 2, 6)  # 64 values are too many
    assert several.score.requires_grad


def test_equal_weights_sum_to_one():
    draw = Draw.equal(torch.zeros(9, 4, 2))
    torch.testing.assert_close(draw.log_weight.exp().sum(0), torch.ones(4))
    assert (draw.score == 0).all()


def test_delta_is_its_point():
    point = torch.randn(4, 3, requires_grad=True)
    delta = Delta(point)
    assert delta.batch_shape == (4,)
    assert delta.event_shape == (3,)
    assert torch.equal(delta.rsample((5,)), point.expand(5, 4, 3))
    assert torch.equal(delta.mean, point)
    assert torch.equal(delta.mode, point)
    assert (delta.variance == 0).all()
    assert not delta.sample((2,)).requires_grad
    assert delta.expand(torch.Size((6, 4))).rsample().shape == (6, 4, 3)
    (gradient,) = torch.autograd.grad(delta.rsample((5,)).sum(), point)
    assert (gradient == 5).all()
