"""Semi-supervised sentence VAE: the class is observed for some texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch.nn import functional as F

from lvexp.data.batch import Batch
from lvexp.models.attributes import AttributeModel, observed
from lvexp.shapes import Float, Tensor


class M2(AttributeModel):
    r"""z includes a class c, which is observed for some of the texts (Kingma et al. 2014, M2; for texts Yang et al.
    2017).

    If the class y of a text is shown, its loss replaces q(c|x) by the point y and adds a term that trains the
    classifier:

    .. math:: -E_{q(z|x)} \log p(x|z, y) - \log p(y) + KL(q(z|x) \| p(z)) - \alpha \log q(y|x)

    All other texts have the usual bound. So does every text in validations and reports, where no label is shown. The
    mean is over all texts of a batch, labelled or not: with α = 1, a nat of -log q(y|x) weighs as much as a nat of
    that text. Kingma et al. use 0.1 N with the mean over labelled texts, which corresponds to α = 0.1 divided by the
    labelled share. ``data.labelled`` determines which labels are shown.

    Args:
        alpha: weight of -log q(y|x).
        parts: arguments of every :class:`~lvexp.models.sentence.SentenceModel`.
    """

    offers: ClassVar[tuple[str, ...]] = (*AttributeModel.offers, "classify")

    def __init__(self, alpha: float = 1.0, **parts: Any):
        super().__init__(**parts)
        self.alpha = alpha

    def observe(self, batch: Batch, params: Float[Tensor, "B P"]) -> tuple[Float[Tensor, "B P"], Tensor | float]:
        known = observed(batch)
        if known is None:
            return params, 0.0
        log_q = self.latent.class_logits(params)
        missing = [
            F.cross_entropy(logits, column, ignore_index=-1, reduction="none")
            for logits, column in zip(log_q, known.unbind(1), strict=True)
        ]
        return self.latent.observe(params, known), self.alpha * torch.stack(missing).sum(0)

    def classify(self, texts: Sequence[str], batch_size: int = 64) -> list[tuple[str | int, float]]:
        """The most probable class of each text under q(c|x), with its probability; of several attributes, that of the
        first. A class without a known name is given by its number."""
        return [next(iter(found.values())) for found in self.attributes(texts, batch_size)]
