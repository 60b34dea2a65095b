from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvexp.metrics.active_units import ActiveUnits


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.sampled_from([0.0, 1e4]))
def test_variance_is_numpys_whatever_the_batches(sizes, offset):
    generator = torch.Generator().manual_seed(sum(sizes))
    means = torch.randn(sum(sizes), 4, generator=generator) * torch.tensor([1.0, 0.1, 0.05, 0.0]) + offset
    metric = ActiveUnits()
    for part in means.split(sizes):
        metric.update(part)
    found = metric.compute()
    if len(means) == 1:
        assert found["variance"] == [0.0] * 4
        return
    variance = means.double().numpy().var(0, ddof=1)
    np.testing.assert_allclose(found["variance"], variance, rtol=1e-9, atol=1e-12)
    assert found["active_units"] == (variance > 0.01).sum()


def test_threshold_is_strict_and_n_minus_1():
    # two texts: variance over n - 1 is (a - b)^2 / 2, over n half of that
    means = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.1, 0.9]], dtype=torch.float32)
    metric = ActiveUnits(threshold=0.5)
    metric.update(means)
    assert metric.compute()["active_units"] == 1


def test_devices_merge():
    """What torchmetrics does to the states of two processes: it stacks them."""
    means = torch.randn(30, 5, generator=torch.Generator().manual_seed(0)) + 3
    parts = [ActiveUnits(), ActiveUnits()]
    parts[0].update(means[:7])
    parts[1].update(means[7:])
    merged = ActiveUnits()
    merged.update(means)
    whole = merged.compute()["variance"]
    for name in ("n", "mean", "square"):
        setattr(merged, name, torch.stack([getattr(part, name) for part in parts]))
    merged._computed = None
    assert merged.compute()["variance"] == pytest.approx(whole)
