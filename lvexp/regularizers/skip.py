"""A decoder that meets z in every layer."""

from __future__ import annotations

from typing import cast

from lvexp.models.base import LatentModel
from lvexp.networks.recurrent import RecurrentDecoder
from lvexp.regularizers.base import Regularizer


class Skip(Regularizer):
    r"""Skip-VAE: z goes into every layer of the decoder and into the output (Dieng et al. 2019).

    Layer l hands on :math:`h^{(l)}_t + W^{(l)} z` to the next layer, the last one to the softmax; its own recurrence
    reads :math:`h^{(l)}_t` alone. A sum, with one matrix without bias for each layer, is our choice of how z joins a
    state. It comes on top of ``decoder.entry``.

    It is part of the model: it acts in evaluation and generation too, and counts among its parameters.
    """

    def attach(self, model: LatentModel) -> None:
        cast(RecurrentDecoder, model.get_submodule("decoder")).join(model.latent.width)
