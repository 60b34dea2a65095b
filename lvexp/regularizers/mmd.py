"""Makes the aggregate posterior similar to the prior."""

from __future__ import annotations

from lvexp.errors import ConfigError
from lvexp.regularizers.base import Regularizer
from lvexp.shapes import Float, Tensor
from lvexp.terms import Terms

_KERNELS = ("imq", "rbf")


class MMD(Regularizer):
    r"""Adds weight × MMD²(q(z), p(z)), the distance of the aggregate posterior from the prior.

    InfoVAE (Zhao, Song & Ermon 2017) and the Wasserstein auto-encoder (Tolstikhin et al. 2018) use this divergence. It
    pulls the distribution of z over all texts towards p, while the rate pulls the posterior of each text. With
    ``anneal.beta=0`` the rate is omitted: MMD-VAE, and WAE-MMD with a random encoder.

    .. math:: \frac{1}{B(B-1)} \sum_{i \ne j} \big[k(z_i, z_j) + k(y_i, y_j)\big] - \frac{2}{B^2} \sum_{i,j} k(z_i, y_j)

    with one z_i ~ q(z|x_i) for each text of the batch, drawn for this purpose, and y_i ~ p(z): the unbiased estimator
    (Gretton et al. 2012). Its mean is 0 if q(z) = p(z), so it is often negative then. It needs two texts and is 0 for a
    batch of one. MMD² itself lies between 0 and 2, whatever the rate.

    - ``kernel=imq``: :math:`k(a, b) = C / (C + \|a - b\|^2)`, with C = 2D as in Tolstikhin et al., the mean squared
      distance of two draws from N(0, I) in D dimensions; its tails are heavy enough to reach distant outliers;
    - ``kernel=rbf``: :math:`k(a, b) = \exp(-\|a - b\|^2 / C)`, with the same C.

    Args:
        weight: of MMD², nats per text.
        kernel: "imq" or "rbf".
    """

    def __init__(self, weight: float = 10.0, kernel: str = "imq"):
        super().__init__()
        if weight < 0:
            raise ConfigError(f"regularizer.mmd.weight={weight}: a weight is not negative")
        if kernel not in _KERNELS:
            raise ConfigError(f"regularizer.mmd.kernel={kernel}: the kernel is one of {', '.join(_KERNELS)}")
        self.weight, self.kernel = weight, kernel

    def penalty(self, terms: Terms) -> Float[Tensor, " B"] | float:
        assert terms.p is not None  # lvexp.checks rejects models without a prior
        texts = len(terms.batch)
        if texts < 2:
            return 0.0
        # not the draw that the decoder read: an estimator may have taken it without a gradient to the encoder
        z, y = terms.q.rsample().flatten(1), terms.p.expand(terms.q.batch_shape).sample().flatten(1)
        return self.weight * mmd(z, y, self.kernel).expand(texts)


def mmd(z: Float[Tensor, "N D"], y: Float[Tensor, "N D"], kernel: str) -> Float[Tensor, ""]:
    """The unbiased estimate of MMD² between the distributions that ``z`` and ``y`` were drawn from."""
    scale, n = 2.0 * z.shape[1], len(z)

    def k(a: Tensor, b: Tensor) -> Tensor:
        squared = (a[:, None] - b).square().sum(-1)
        return (-squared / scale).exp() if kernel == "rbf" else scale / (scale + squared)

    within = k(z, z) + k(y, y)
    return (within.sum() - within.diagonal().sum()) / (n * (n - 1)) - 2 * k(z, y).mean()
