"""The inverse autoregressive posterior: against Jacobians, against Pyro, and as a latent variable."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal

from lvexp.distributions.rate import in_closed_form, rate
from lvexp.draws import Draw
from lvexp.estimators.auto import Auto
from lvexp.latents.iaf import IAF, Block
from lvexp.metrics.mutual_information import mutual_information
from lvexp.priors.mixture import Mixture
from lvexp.priors.vamp import Vamp

H, D = 7, 5


def latent(dim: int = D, depth: int = 3, **how: int) -> IAF:
    torch.manual_seed(0)
    made = IAF(H, dim, depth=depth, hidden=11, context=4, **how).double()
    for block in made.blocks:
        torch.nn.init.normal_(block.outputs.weight, std=0.4)
        torch.nn.init.normal_(block.outputs.bias, std=0.5)
    return made


def base(q: torch.distributions.TransformedDistribution, z: torch.Tensor) -> torch.Tensor:
    return q.base_dist.log_prob(z)


def pairwise(made: IAF, params: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """log q(z_i|x_j), one by one."""
    return torch.stack([
        torch.cat([made.posterior(params[at : at + 1]).log_prob(one[None]) for at in range(len(params))]) for one in z
    ])  # fmt: skip


@pytest.mark.parametrize("dim", [1, 2, 5])
def test_the_density_by_the_jacobian_of_the_whole_transformation(dim: int):
    made = latent(dim)
    q = made.posterior(made.params(torch.randn(1, H).double()))

    def through(z: torch.Tensor) -> torch.Tensor:
        for transform in q.transforms:
            z = transform(z)
        return z

    z0 = q.base_dist.sample((4,))
    for row in z0:
        jacobian = torch.autograd.functional.jacobian(lambda z: through(z[None])[0], row[0])
        z = through(row)
        expected = base(q, row) - torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(q.log_prob(z.clone()), expected)  # by the inverse
        torch.testing.assert_close(q.log_prob(z), expected)  # as it was drawn


def test_each_dimension_depends_on_those_before_it_and_the_order_turns():
    for number, turned in ((0, False), (1, True)):
        block = latent().blocks[number]
        transform = block(torch.randn(4).double())
        jacobian = torch.autograd.functional.jacobian(transform, torch.randn(D).double())
        seen = jacobian.flip(1) if turned else jacobian
        assert torch.equal(seen.triu(1), torch.zeros(D, D).double())
        assert (seen.tril() != 0)[torch.tril_indices(D, D).unbind()].float().mean() > 0.7


def test_the_inverse_undoes_it_for_pairs_of_texts():
    made = latent()
    params = made.params(torch.randn(6, H).double())
    q = made.posterior(params)
    z = q.sample()
    torch.testing.assert_close(pairwise(made, params, z), q.log_prob(z[:, None]))
    pairs = q.log_prob(z[:, None])  # [draw, text]
    assert pairs.shape == (6, 6)
    torch.testing.assert_close(pairs.diagonal(), q.log_prob(z))


def test_against_pyro():
    """Pyro's transformation in its stable form, around our network."""
    oracle = pytest.importorskip("pyro.distributions.transforms", reason="pyro is not installed")
    block = latent(depth=1).blocks[0]
    h = torch.randn(3, 4).double()
    ours = block(h)

    class Network(torch.nn.Module):
        permutation = torch.arange(D)

        def forward(self, x):
            m, g = ours._parts(x)
            return m, g - 2.0

    theirs = oracle.AffineAutoregressive(Network(), stable=True, sigmoid_bias=2.0)
    x = torch.randn(3, D).double()
    torch.testing.assert_close(theirs(x), ours(x))
    torch.testing.assert_close(theirs.log_abs_det_jacobian(x, theirs(x)), ours.log_abs_det_jacobian(x, ours(x)))


def test_at_first_the_gate_is_open():
    block = Block(D, 8, 4, reverse=False)
    x = torch.randn(2, D)
    torch.testing.assert_close(block(torch.randn(2, 4))(x), x * torch.sigmoid(torch.tensor(2.0)))


def test_the_density_integrates_to_one():
    made = latent(2)
    q = made.posterior(made.params(torch.randn(1, H).double()))
    edge = torch.linspace(-12, 12, 961).double()
    with torch.no_grad():
        total = q.log_prob(torch.cartesian_prod(edge, edge)).exp().sum() * (24 / 960) ** 2
    assert total.item() == pytest.approx(1, abs=1e-3)


def test_the_rate_is_that_of_the_draws_with_the_gaussian_at_the_start():
    made = latent()
    params = made.params(torch.randn(4, H).double())
    q, p = made.posterior(params), made.prior()
    draw = Draw.equal(q.rsample(torch.Size((3,))))
    total, split = rate(q, p, draw)
    assert split is None
    assert not in_closed_form(q, p)
    z, log_q = draw.value, 0.0
    for transform in reversed(q.transforms):
        x = transform._inverse(z)
        log_q = log_q - transform.log_abs_det_jacobian(x, z)
        z = x
    mean, log_variance, _ = params.split([D, D, 4], -1)
    log_q = log_q + Independent(Normal(mean, (log_variance / 2).exp()), 1).log_prob(z)
    torch.testing.assert_close(total, (log_q - p.log_prob(draw.value)).mean(0))
    total.sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in made.parameters())


def test_as_a_latent_variable():
    made = latent()
    q = made.posterior(made.params(torch.randn(5, H).double()))
    assert q.batch_shape == (5,)
    assert made.means(q) is None
    assert not made.units
    assert made.point(q).shape == (5, D)
    assert made.code(Auto()(q, 3).value).shape == (3, 5, D)
    assert {id(p) for p in made.parameters()} == {id(p) for p in made.inference_parameters()}
    made.give(Mixture(D, 3).double())
    assert len(list(made.parameters())) == len(list(made.inference_parameters())) + 1


@torch.no_grad()
def test_information_is_kept_by_a_transformation_without_context():
    """Where the transformation is the same for all texts, z tells of x what z₀ does."""
    made = latent()
    for block in made.blocks:
        torch.nn.init.zeros_(block.context.weight)
    params = made.params(3 * torch.randn(40, H).double())
    torch.manual_seed(1)
    z0 = made.posterior(params).base_dist.sample()
    z = z0
    for transform in made.posterior(params).transforms:
        z = transform(z)
    whole = mutual_information(made.posterior, params, z)
    start = mutual_information(lambda params: made.posterior(params).base_dist, params, z0)
    assert 0.5 < start < 3.6
    assert whole == pytest.approx(start, rel=1e-6)


def test_a_vamp_prior_of_it():
    from lvexp.networks.recurrent import RecurrentEncoder

    torch.manual_seed(0)
    made = IAF(9, 3, hidden=8, context=4)
    made.give(Vamp(3, RecurrentEncoder(12, embedding=6, hidden=9), made, components=4))
    p = made.prior()
    z = p.sample((6,))
    assert p.log_prob(z).shape == (6,)
    assert p.log_prob(z).isfinite().all()
    assert made.given.inputs.requires_grad


@torch.no_grad()
def test_far_from_its_draws_the_density_is_zero_and_not_undefined():
    torch.manual_seed(3)
    made = IAF(H, 32, depth=2, hidden=16, context=4)
    for block in made.blocks:
        torch.nn.init.normal_(block.outputs.weight, std=4.0)
        torch.nn.init.normal_(block.outputs.bias, std=4.0)
    params = 3 * torch.randn(40, 2 * 32 + 4)
    q = made.posterior(params)
    z = q.sample()
    assert torch.isfinite(q.log_prob(z)).all()
    crossed = q.log_prob(z[:, None])
    assert not crossed.isnan().any()
    assert (crossed == -torch.inf).any(), "otherwise nothing is tested"
    assert not q.log_prob(1e6 * torch.ones(32)).isnan().any()
