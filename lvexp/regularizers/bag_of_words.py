"""Predicts the words of the text from z alone."""

from __future__ import annotations

from torch import nn

from lvexp.draws import expect
from lvexp.errors import ConfigError
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import Regularizer
from lvexp.shapes import Float, Tensor
from lvexp.terms import Terms


class BagOfWords(Regularizer):
    r"""Adds the loss of a second decoder that ignores word order (Zhao, Zhao & Eskenazi 2017, ACL).

    .. math:: -E_q \sum_{t=1}^{n} \log \mathrm{softmax}(f(z))_{x_t}, \quad f(z) = W_2 \tanh(W_1 z + b_1) + b_2

    in nats per text, summed over its tokens: a word counts as often as it occurs, ``<eos>`` once, padding never, as in
    the distortion. An autoregressive decoder can infer much of a text from the preceding words; this decoder needs all
    of it from z. It is used in training only, and its parameters belong to the generative group.

    Args:
        weight: of this loss relative to the distortion.
        hidden: width of the layer between z and the words.
    """

    def __init__(self, weight: float = 1.0, hidden: int = 256):
        super().__init__()
        if weight < 0:
            raise ConfigError(f"regularizer.bag_of_words.weight={weight}: a weight is not negative")
        self.weight, self.hidden = weight, hidden

    def attach(self, model: LatentModel) -> None:
        self.words = nn.Sequential(
            nn.Linear(model.latent.width, self.hidden), nn.Tanh(), nn.Linear(self.hidden, model.vocabulary.size)
        )

    def penalty(self, terms: Terms) -> Float[Tensor, " B"]:
        log_p = self.words(terms.code).log_softmax(-1)  # one distribution per text, not one per token
        each = log_p.gather(-1, terms.batch.targets.expand(len(log_p), -1, -1))
        return self.weight * expect(-(each * terms.batch.mask).sum(-1), terms.draw)
