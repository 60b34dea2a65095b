"""A Gaussian followed by inverse autoregressive transformations."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution, TransformedDistribution

from lvexp.distributions.autoregressive import InverseAutoregressive
from lvexp.distributions.normal import diagonal
from lvexp.latents.gaussian import Gaussian
from lvexp.shapes import Float, Shaped, Tensor


class Block(nn.Module):
    """The masked network of one transformation (Germain et al. 2015, MADE), and its order.

    Hidden unit j is of degree 1 … D - 1 in turn: it reads the first dimensions up to its degree, and is read by later
    ones. Output weights start at 0, with the gate at σ(2): at first z' = 0.88 z.

    Args:
        dim: D. hidden: M, hidden units. context: width of h. reverse: whether the order is reversed first.
    """

    def __init__(self, dim: int, hidden: int, context: int, reverse: bool):
        super().__init__()
        self.reverse = reverse
        self.inputs, self.context = nn.Linear(dim, hidden, bias=False), nn.Linear(context, hidden)
        self.outputs = nn.Linear(hidden, 2 * dim)
        degree = torch.arange(hidden) % max(1, dim - 1) + 1
        place = torch.arange(1, dim + 1)
        reads = (degree[:, None] >= place).float()
        self.reads: Tensor
        self.told: Tensor
        self.register_buffer("reads", reads, persistent=False)
        self.register_buffer("told", (place[:, None] > degree).float().repeat(2, 1), persistent=False)
        nn.init.zeros_(self.outputs.weight)
        with torch.no_grad():
            self.outputs.bias.copy_(torch.cat([torch.zeros(dim), torch.full((dim,), 2.0)]))

    def forward(self, h: Float[Tensor, "*batch C"]) -> InverseAutoregressive:
        """The transformation in the context h."""
        inputs, outputs = self.inputs.weight * self.reads, self.outputs.weight * self.told
        return InverseAutoregressive(inputs, outputs, self.outputs.bias, self.context(h), self.reverse)


class IAF(Gaussian):
    r""":math:`z_0 \sim N(\mu(x), \mathrm{diag}\,\sigma^2(x))`, then :math:`z_k = s_k z_{k-1} + (1 - s_k) m_k` (Kingma
    et al. 2016).

    .. math:: \log q(z_K|x) = \log N(z_0; \mu, \sigma^2) - \sum_k \sum_d \log s_{k,d}

    with the Gaussian at z₀. The order of the dimensions is reversed from one block to the next. Draws are cheap; the
    density at other points, which only the mutual information needs, costs a pass over the dimensions, so that figure
    is of fewer texts. The mean of q has no closed form: reconstructions are from the image of μ, and active units are
    not counted. Parameters P = 2D + C: means, log variances, context.

    Args:
        features: H, width of the encoder's features.
        dim: D, dimensions of z.
        depth: number of blocks.
        hidden: hidden units of each.
        context: C, width of what each block is told about the text.
    """

    units = False
    compared = 256

    def __init__(self, features: int, dim: int = 32, depth: int = 2, hidden: int = 64, context: int = 32):
        super().__init__(features, dim)
        self.linear = nn.Linear(features, 2 * dim + context, bias=False)
        self.blocks = nn.ModuleList(Block(dim, hidden, context, reverse=number > 0) for number in range(depth))

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return itertools.chain(self.linear.parameters(), self.blocks.parameters())

    def posterior(self, params: Float[Tensor, "B P"]) -> Distribution:
        context = params[..., 2 * self.width :]
        transforms = [block(context) for block in self.blocks]
        return TransformedDistribution(diagonal(params[..., : 2 * self.width]), transforms, validate_args=False)

    def point(self, q: Distribution) -> Shaped[Tensor, "B D"]:
        """The image of μ."""
        assert isinstance(q, TransformedDistribution)
        value: Any = q.base_dist.mean
        for transform in q.transforms:
            value = transform(value)
        return value

    def means(self, q: Distribution) -> None:
        return None
