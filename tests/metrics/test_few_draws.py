"""What the importance-weighted estimate says of itself where few draws decide, in a case whose likelihood is known."""

from __future__ import annotations

import math
from typing import Any

import pytest
import tiny
import torch
from torch.distributions import Distribution, Independent, Normal

from lvexp.data.batch import Batch
from lvexp.estimators.auto import Auto
from lvexp.latents.point import Point
from lvexp.metrics.likelihood import FEW, ImportanceWeighted, importance_weighted
from lvexp.models.base import LatentModel
from lvexp.reading import Reading

REPETITIONS = 4000


def missed(mean: float, deviation: float, dim: int) -> Any:
    """Every text has probability 1 whatever z is, so -log p(x) = 0; the posterior is the prior N(0, I), and q misses it
    by as much as is asked for."""
    q = Independent(Normal(torch.full((REPETITIONS, dim), mean), deviation), 1)
    return Certain(tiny.vocabulary(), Fixed(q, dim), Auto()).eval()


class Fixed(Point):
    """A posterior that is the same whatever its parameters, under the prior N(0, I)."""

    def __init__(self, q: Distribution, dim: int):
        super().__init__(1, dim)
        self.q, self.p = q, Independent(Normal(torch.zeros(dim), 1.0), 1)

    def posterior(self, params):
        return self.q

    def prior(self, condition=None):
        return self.p


class Certain(LatentModel):
    def read(self, batch):
        return Reading(torch.zeros(len(batch), 1))

    def log_likelihood(self, batch, reading, code, inputs=None):
        return torch.zeros(code.shape[:2])


def repeated(model: Any, samples: int, **more: Any):
    """The texts of one batch are repetitions of the same estimate, each with draws of its own."""
    torch.manual_seed(0)
    batch = Batch(torch.full((REPETITIONS, 2), 2), torch.full((REPETITIONS,), 2))
    return importance_weighted(model, batch, samples, **more)


@pytest.mark.parametrize(
    ("mean", "deviation", "dim"), [(1.0, 1.0, 1), (2.0, 1.0, 1), (2.0, 1.0, 2), (0.0, 0.5, 5), (0.0, 2.0, 10)]
)
def test_the_standard_error_is_the_spread_however_few_draws_decide(mean, deviation, dim):
    """From 40 effective draws of 100 down to 5, bounded and unbounded weights (0.5: of infinite variance). Over 4000
    repetitions a standard deviation of such estimates is known to 3 % or so; the jackknife is biased upward."""
    found = repeated(missed(mean, deviation, dim), 100)
    told, true = float(found.error.square().mean().sqrt()), float(found.nll.std())
    assert 0.95 < told / true < 1.12
    if float(found.effective.mean()) < FEW:
        delta = ((100 / found.effective - 1) / 99).mean().sqrt()
        assert delta < 0.75 * true, "what it replaces is of no use here"


def test_few_effective_draws_tell_of_an_estimate_that_leans_up():
    leaning, straight = repeated(missed(2.0, 1.0, 2), 100), repeated(missed(0.3, 1.0, 1), 100)
    assert leaning.effective.mean() < FEW
    assert leaning.nll.mean() > 0.3
    assert straight.effective.mean() > 50
    assert straight.nll.mean().abs() < 0.01


def test_one_draw_with_all_the_weight_has_a_finite_error():
    """Shares that round to 1 and to 0: what remains without the draw is still told apart from nothing."""
    found = repeated(missed(30.0, 1.0, 1), 50)
    assert found.error.isfinite().all()
    assert found.effective.min() == pytest.approx(1, abs=1e-6)


def test_a_tolerance_gives_the_error_of_the_draws_it_took():
    model = missed(2.0, 1.0, 1)
    found = repeated(model, 320, tolerance=0.3)
    assert 0.05 < float((found.draws == 320).double().mean()) < 0.95
    for draws in (32, 96, 320):
        whole = repeated(model, draws)
        same = found.draws == draws
        assert same.any()
        for name in ("nll", "error", "effective"):
            torch.testing.assert_close(getattr(found, name)[same], getattr(whole, name)[same], rtol=1e-9, atol=1e-9)


def test_the_metric_tells_how_many_draws_decide():
    model = missed(2.0, 1.0, 1)
    metric = ImportanceWeighted(samples=100)
    batch = Batch(torch.full((REPETITIONS, 2), 2), torch.full((REPETITIONS,), 2))
    torch.manual_seed(0)
    metric.update(model, batch)
    found, known = metric.compute(), repeated(model, 100)
    assert found["iw_effective"] == pytest.approx(float(known.effective.mean()))
    assert found["iw_few"] == pytest.approx(float((known.effective < FEW).double().mean()))
    assert 0.2 < found["iw_few"] < 0.8
    assert found["nll_iw_se"] == pytest.approx(math.sqrt(float(known.error.square().mean()) / REPETITIONS))
