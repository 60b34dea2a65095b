"""The estimator that fits the distribution, where it falls back on the score function."""

from __future__ import annotations

import pytest
import tiny
import torch

from lvexp.estimators.auto import Auto
from lvexp.estimators.score import Score


@pytest.fixture
def auto() -> Auto:
    return Auto().train()


def test_its_baseline_is_the_mean_of_the_other_draws(auto: Auto):
    cost, batch = torch.randn(4, 3), tiny.encode("a", "b c", "d")
    found = auto.control(cost, batch)
    others = torch.stack([cost[[other for other in range(4) if other != draw]].mean(0) for draw in range(4)])
    torch.testing.assert_close(found.baseline, others)
    known = Score("leave_one_out").train().control(cost, batch)
    assert isinstance(known.baseline, torch.Tensor)
    torch.testing.assert_close(found.baseline, known.baseline)
    assert (found.scale, found.fit) == (known.scale, known.fit) == (1.0, 0.0)
    assert auto.control(cost[:1], batch).baseline == 0.0
    assert auto.eval().control(cost, batch).baseline == 0.0


def test_it_works_where_the_cost_lies_and_makes_nothing_for_a_step(auto: Auto, monkeypatch: pytest.MonkeyPatch):
    """A device without numbers stands for any but the processor."""
    batch = tiny.encode("a", "b c", "d").to("meta")
    cost = torch.empty(4, 3, device="meta")

    def made(*_: object, **__: object) -> None:
        raise AssertionError("a module made in a step has its buffers on the wrong device, and forgets them")

    monkeypatch.setattr(torch.nn.Module, "__init__", made)
    found = auto.control(cost, batch).baseline
    assert isinstance(found, torch.Tensor)
    assert found.device.type == "meta"
    q = torch.distributions.Independent(torch.distributions.Poisson(torch.ones(3, 2)), 1)
    draw = auto.draw(q, 4)
    torch.testing.assert_close(draw.score, q.log_prob(draw.value))


def test_checkpoints_of_before_still_open(auto: Auto):
    assert not auto.state_dict()
