"""Values of z with one dimension moved, and the vectors that stand for no value."""

from __future__ import annotations

import pytest
import torch

from lvexp.latents.base import AbstractLatent
from lvexp.latents.binary import Binary
from lvexp.latents.categoricals import Categoricals
from lvexp.latents.dirichlet import Dirichlet
from lvexp.latents.gaussian import Gaussian
from lvexp.latents.vmf import VMF
from lvexp.priors.fitted import fits

D = 4
SPACES = {"gaussian": Gaussian, "vmf": VMF, "dirichlet": Dirichlet}


@pytest.fixture(params=SPACES)
def latent(request: pytest.FixtureRequest) -> AbstractLatent:
    torch.manual_seed(0)
    return SPACES[request.param](6, dim=D).eval()


def values(latent: AbstractLatent) -> torch.Tensor:
    return latent.posterior(latent.params(torch.randn(5, 6))).sample()


def is_value(latent: AbstractLatent, value: torch.Tensor) -> bool:
    if isinstance(latent, VMF):
        return bool(torch.isclose(value.norm(dim=-1), torch.tensor(1.0)).all())
    return latent.flat or bool((value >= 0).all() and torch.isclose(value.sum(-1), torch.tensor(1.0)).all())


def test_a_moved_value_is_a_value_with_one_dimension_as_asked(latent: AbstractLatent):
    z = values(latent)
    low, high = latent.span(1, z)
    assert low < high
    for to in (low, 0.5 * (low + high) + 0.1, high):
        moved = latent.moved(z[0], 1, to)
        assert float(moved[1]) == pytest.approx(to, abs=1e-6)
        assert is_value(latent, moved)
        others = torch.tensor([0, 2, 3])
        torch.testing.assert_close(moved[others] / moved[others][0], z[0, others] / z[0, 0], rtol=1e-4, atol=1e-4)
    assert is_value(latent, z), "the value itself is as it was"


def test_sums_noise_and_lines_end_at_values(latent: AbstractLatent):
    a, b, c = values(latent)[:3]
    for found in (latent.onto(a - b + c), latent.near(a[None], 0.5)[0], latent.between(a, b, 0.3)):
        assert is_value(latent, found)
    torch.testing.assert_close(latent.onto(a), a)


def test_only_where_every_vector_is_a_value_something_is_fitted(latent: AbstractLatent):
    assert fits(latent) == latent.flat == isinstance(latent, Gaussian)


def test_a_discrete_variable_takes_the_value():
    several = Categoricals(6, dim=2, categories=3)
    z = several.posterior(several.params(torch.randn(1, 6))).sample()[0]
    moved = several.moved(z, 1, 2)
    assert moved[1].tolist() == [0, 0, 1]
    assert torch.equal(moved[0], z[0])
    assert Binary(6, dim=3).moved(torch.zeros(3), 2, 1.0).tolist() == [0, 0, 1]
