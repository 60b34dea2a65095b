"""N independent categorical variables."""

from __future__ import annotations

import torch
from torch import nn
from torch.distributions import Distribution, Independent

from lvexp.distributions.onehot import OneHot
from lvexp.errors import ConfigError
from lvexp.latents.base import AbstractLinear
from lvexp.shapes import Float, Shaped, Tensor

PRIORS = ("uniform", "learned")


class Categoricals(AbstractLinear):
    r""":math:`q(z|x) = \prod_n \mathrm{Cat}(z_n; \mathrm{softmax}(W_n h(x)))`, N variables of K values each.

    A value is N one-hot vectors, [N, K]; the decoder reads the concatenation of their embeddings, so it sees a relaxed
    value as a mixture of embeddings. The rate is the exact :math:`\sum_n \sum_k q_{nk} \log(q_{nk} / p_{nk})`.
    Parameters P = N K: logits.

    Args:
        features: H, width of the encoder's features.
        dim: N, number of variables.
        categories: K, number of values of each.
        embedding: width of a value's embedding; the code is N times as wide.
        prior: "uniform", or "learned": its own logits, which belong to the generative model's parameters.
    """

    def __init__(self, features: int, dim: int = 8, categories: int = 8, embedding: int = 32, prior: str = "uniform"):
        super().__init__()
        if prior not in PRIORS:
            raise ConfigError(f"latent.prior={prior}: it is one of {', '.join(PRIORS)}")
        self.dim, self.categories, self.width = dim, categories, dim * embedding
        self.values = (categories,) * dim
        self.linear = nn.Linear(features, dim * categories)
        self.embedding = nn.Parameter(torch.randn(dim, categories, embedding) * embedding**-0.5)
        logits = torch.zeros(dim, categories)
        self.logits: Tensor
        if prior == "learned":
            self.logits = nn.Parameter(logits)
        else:
            self.register_buffer("logits", logits, persistent=False)

    def posterior(self, params: Float[Tensor, "B P"]) -> Distribution:
        return self._variables(params.unflatten(-1, (len(self.values), self.categories)))

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Distribution:
        return self._variables(self.logits)

    def _variables(self, logits: Float[Tensor, "*batch N K"]) -> Distribution:
        return Independent(OneHot(logits=logits, validate_args=False), 1, validate_args=False)

    def code(self, value: Shaped[Tensor, "S B N K"]) -> Float[Tensor, "S B W"]:
        return torch.einsum("sbnk,nkw->sbnw", value, self.embedding).flatten(2)

    def point(self, q: Distribution) -> Shaped[Tensor, "B N K"]:
        return q.mode

    def means(self, q: Distribution) -> None:
        return None

    def marginals(self, q: Distribution) -> Float[Tensor, "B N K"]:
        return q.mean
