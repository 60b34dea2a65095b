"""Semi-supervised sentence VAE: the class is observed for some texts."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch.nn import functional as F

from lvexp.data.batch import Batch
from lvexp.errors import ConfigError
from lvexp.latents.base import AbstractClassLatent
from lvexp.models.records import Record, each
from lvexp.models.records import batch as gathered
from lvexp.models.sentence import SentenceModel
from lvexp.shapes import Float, Tensor


class M2(SentenceModel):
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

    latent: AbstractClassLatent
    offers: ClassVar[tuple[str, ...]] = ("classify",)

    def __init__(self, alpha: float = 1.0, **parts: Any):
        super().__init__(**parts)
        self.alpha = alpha

    def check(self, labels: Sequence[str]) -> None:
        typed, count = self.latent.classes
        if len(labels) > count:
            raise ConfigError(
                f"{typed}={count}: q(c|x) is over as many classes, and the corpus has {len(labels)} "
                f"({textwrap.shorten(', '.join(labels), 60, placeholder=' …')})\ntry  {typed}={len(labels)}"
            )

    def observe(self, batch: Batch, params: Float[Tensor, "B P"]) -> tuple[Float[Tensor, "B P"], Tensor | float]:
        if batch.labels is None:
            return params, 0.0
        log_q = self.latent.class_logits(params)
        missing = F.cross_entropy(log_q, batch.labels, ignore_index=-1, reduction="none")
        return self.latent.observe(params, batch.labels), self.alpha * missing

    @torch.no_grad()
    def classify(self, texts: Sequence[str], batch_size: int = 64) -> list[tuple[str | int, float]]:
        """The most probable class of each text under q(c|x), with its probability. A class without a known name is
        given by its number."""

        def ask(part: Sequence[Record]) -> Tensor:
            return self.class_logits(self.params(self.read(gathered(self.vocabulary, part).to(self.device)))).softmax(
                -1
            )

        best = each(texts, ask, batch_size).max(-1)
        known, rows = list(self.labels), [int(row) for row in best.indices]
        names: list[str | int] = [known[row] if row < len(known) else row for row in rows]
        return list(zip(names, best.values.tolist(), strict=True))

    def class_logits(self, params: Float[Tensor, "B P"]) -> Float[Tensor, "B K"]:
        """log q(c|x) of each text, up to a constant."""
        return self.latent.class_logits(params)
