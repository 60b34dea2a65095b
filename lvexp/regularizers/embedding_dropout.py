"""Hides word types from the decoder."""

from __future__ import annotations

import torch
from torch import nn

from lvexp.data.special import SPECIAL
from lvexp.errors import ConfigError
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import Regularizer
from lvexp.shapes import Float, Int, Tensor


class EmbeddingDropout(Regularizer):
    """Hides whole word types from the decoder, chosen for each text separately (Gal & Ghahramani 2016, section 4.2,
    "word embedding dropout"). The input vectors of a hidden type are 0 wherever it occurs in the text; the others are
    scaled by 1 / (1 - share), so the mean is unchanged.

    ``word_dropout``, in contrast, draws for every token separately and replaces it by ``<unk>``, so a word that occurs
    twice may remain visible in one place. ``decoder.dropout_in`` zeroes single entries of a vector; here the whole
    vector is 0. ``<bos>``, ``<eos>`` and padding are never hidden. Different words are hidden for each draw of z. It
    acts in training only.

    Args:
        share: of the word types hidden in a text, at least 0 and below 1.
    """

    def __init__(self, share: float = 0.2):
        super().__init__()
        if not 0 <= share < 1:
            raise ConfigError(f"regularizer.embedding_dropout.share={share}: must be at least 0 and below 1")
        self.share, self.special = share, SPECIAL

    def attach(self, model: LatentModel) -> None:
        self.special = model.vocabulary.special
        model.get_submodule("decoder.embedding").register_forward_hook(self._hide)

    def _hide(
        self, table: nn.Module, inputs: tuple[Tensor], vectors: Float[Tensor, "N *T E"]
    ) -> Float[Tensor, "N *T E"]:
        if not self.training or inputs[0].is_floating_point():  # a relaxed text has no types to hide
            return vectors
        tokens = inputs[0]  # a decoder may look up windows, [N, T, K], which still belong to one text
        return vectors * self.factors(tokens.flatten(1)).view(tokens.shape)[..., None].to(vectors.dtype)

    def factors(self, tokens: Int[Tensor, "N T"]) -> Float[Tensor, "N T"]:
        """The factor of each input vector: 0 or 1 / (1 - share) for words, 1 for other tokens."""
        # one random number per type: that of its first position in the text. A number for each type of the vocabulary
        # would need hundreds of times as many
        first = (tokens[:, :, None] == tokens[:, None, :]).int().argmax(-1)
        drawn = torch.rand(tokens.shape, device=tokens.device).gather(1, first)
        factors = (drawn >= self.share) / (1 - self.share)
        no_word = torch.isin(tokens, torch.tensor(self.special.silent, device=tokens.device))
        return factors.masked_fill(no_word, 1.0)
