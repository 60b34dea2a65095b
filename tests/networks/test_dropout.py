"""Our dropout against what dropout is."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

from lvexp.networks.dropout import Dropout


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
def test_the_share_of_zeros_and_the_mean_are_those_of_dropout(share: float):
    torch.manual_seed(0)
    dropped = Dropout(share)(torch.ones(501, 999))
    zeros = int((dropped == 0).sum())
    assert stats.binomtest(zeros, dropped.numel(), share).pvalue > 1e-3
    kept = dropped[dropped != 0]
    assert kept.unique().tolist() == [pytest.approx(1 / (1 - share), rel=1e-4)]


def test_entries_that_share_a_random_number_are_independent():
    torch.manual_seed(0)
    kept = (Dropout(0.3)(torch.ones(50_000, 4)) != 0).numpy()
    for a in range(4):
        for b in range(a):
            table = [[int(((kept[:, a] == x) & (kept[:, b] == y)).sum()) for x in (0, 1)] for y in (0, 1)]
            assert stats.chi2_contingency(table).pvalue > 1e-3


def test_the_gradient_passes_where_the_entry_did():
    torch.manual_seed(0)
    x = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    y = Dropout(0.5)(x)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.allclose(grad, y.detach() / x.detach())


def test_in_evaluation_and_at_share_0_nothing_happens():
    x = torch.randn(3, 4)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
