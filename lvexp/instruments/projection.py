"""Where texts are in the space of z."""

from __future__ import annotations

import functools

import torch

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.models.base import LatentModel
from lvexp.report import figures
from lvexp.report.findings import Findings
from lvexp.shapes import Tensor


class Projection(Instrument):
    """A picture of the posterior means of the continuous part of z, projected on their principal components, by label.
    It is not drawn if q(z|x) sees the labels, because it would then separate them by construction, nor if the means are
    not known."""

    order = 37

    def __init__(self, context: Context):
        super().__init__(context)
        self.means: list[Tensor] = []
        self.labels: list[int] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return model.latent.dim is not None and model.latent.continuous and not model.sees_labels

    def update(self, look: Look) -> None:
        means = self.model.latent.means(look.terms.q)
        if means is None:
            return
        self.means.append(means)
        self.labels += [] if look.terms.batch.labels is None else look.terms.batch.labels.tolist()

    def report(self, scores: Scores) -> Findings:
        means = torch.cat(self.means) if self.means else torch.empty(0)
        if len(means) < 2 or not means.isfinite().all():
            return Findings()
        shown = (means.tolist(), self.labels or None, self.context.labels)
        drawn = functools.partial(figures.projection, *shown, unit=self.model.unit)
        return Findings(pictures={"projection": drawn})
