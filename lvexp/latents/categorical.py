"""One categorical variable."""

from __future__ import annotations

from torch.nn import functional as F

from lvexp.latents.base import AbstractClassLatent
from lvexp.latents.categoricals import Categoricals
from lvexp.shapes import Float, Int, Shaped, Tensor

#: difference between the label's logit and all others: e^-1e4 is 0 and 1e4 is finite in every precision
_SURE = 1e4


class Categorical(Categoricals, AbstractClassLatent):
    r""":math:`q(z|x) = \mathrm{Cat}(\mathrm{softmax}(W h(x)))`: which of K kinds of text x is.

    :class:`~lvexp.latents.categoricals.Categoricals` with N = 1. If it is not observed it clusters the texts (Yang et
    al. 2017); if it is observed it is their class (Kingma et al. 2014).

    Args:
        features: H, width of the encoder's features.
        categories: K.
        embedding: W, width of a value's embedding, and of the code.
        prior: "uniform" or "learned".
    """

    def __init__(self, features: int, categories: int = 10, embedding: int = 32, prior: str = "uniform"):
        super().__init__(features, 1, categories, embedding, prior)

    @property
    def classes(self) -> list[tuple[str, int]]:
        return [("latent.categories", self.categories)]

    def class_logits(self, params: Float[Tensor, "B K"]) -> list[Float[Tensor, "B K"]]:
        return [params]

    def observe(self, params: Float[Tensor, "B K"], classes: Int[Tensor, "B 1"]) -> Float[Tensor, "B K"]:
        point = _SURE * (self._one_hot(classes[:, 0], params) - 1)
        return point.where(classes >= 0, params)

    def fixed(self, value: Shaped[Tensor, "*B 1 K"], classes: Int[Tensor, "*B 1"]) -> Shaped[Tensor, "*B 1 K"]:
        return self._one_hot(classes, value).where((classes >= 0)[..., None], value)

    def _one_hot(self, classes: Int[Tensor, "*B"], like: Tensor) -> Float[Tensor, "*B K"]:
        return F.one_hot(classes.clamp(min=0), self.categories).to(like)
