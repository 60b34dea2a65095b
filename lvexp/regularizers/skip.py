"""Feeds z into every layer of the decoder."""

from __future__ import annotations

from typing import cast

from lvexp.models.base import LatentModel
from lvexp.networks.recurrent import RecurrentDecoder
from lvexp.regularizers.base import Regularizer


class Skip(Regularizer):
    r"""Skip-VAE: z goes into every layer of the decoder and into the output (Dieng et al. 2019).

    Layer l passes :math:`h^{(l)}_t + W^{(l)} z` to the next layer, and the last layer passes it to the softmax; the
    recurrence of a layer reads only :math:`h^{(l)}_t`. Adding z by a matrix without bias for each layer is our choice.
    It is used in addition to ``decoder.entry``.

    It is part of the model: it also acts in evaluation and generation, and its parameters are the model's.
    """

    def attach(self, model: LatentModel) -> None:
        cast(RecurrentDecoder, model.get_submodule("decoder")).join(
            model.code_width(model.latent, model.get_submodule("encoder"))
        )
