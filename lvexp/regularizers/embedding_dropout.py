"""Word types the decoder does not get to see."""

from __future__ import annotations

import torch
from torch import nn

from lvexp.data.special import SPECIAL
from lvexp.errors import ConfigError
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import Regularizer
from lvexp.shapes import Float, Int, Tensor


class EmbeddingDropout(Regularizer):
    """Hides whole word types from the decoder, text by text (Gal & Ghahramani 2016, section 4.2, "word embedding
    dropout"): the input vectors of a hidden type are 0 wherever it stands in the text, the others grow by
    1 / (1 - share), so the mean stays.

    Unlike ``word_dropout``, which draws anew for every token and puts ``<unk>`` in its place, a word that stands twice
    cannot be looked up at its other place; unlike ``decoder.dropout_in``, which zeroes single entries of the vectors,
    nothing of the word is left. ``<bos>``, ``<eos>`` and padding stay as they are. Each draw of z hides other words.
    In training only.

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
        tokens = inputs[0]  # a decoder may look a text up as windows, [N, T, K]: still one text
        return vectors * self.factors(tokens.flatten(1)).view(tokens.shape)[..., None].to(vectors.dtype)

    def factors(self, tokens: Int[Tensor, "N T"]) -> Float[Tensor, "N T"]:
        """What each input vector is multiplied by: 0, 1 / (1 - share), or 1 for what is no word."""
        # one random number for a type: that of its first place in the text. A number for each type of the vocabulary
        # would cost hundreds of times as many
        first = (tokens[:, :, None] == tokens[:, None, :]).int().argmax(-1)
        drawn = torch.rand(tokens.shape, device=tokens.device).gather(1, first)
        factors = (drawn >= self.share) / (1 - self.share)
        no_word = torch.isin(tokens, torch.tensor(self.special.silent, device=tokens.device))
        return factors.masked_fill(no_word, 1.0)
