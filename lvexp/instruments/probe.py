"""How well a linear classifier predicts labels from z."""

from __future__ import annotations

import torch

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.metrics.probe import features, probe
from lvexp.models.base import LatentModel
from lvexp.report.findings import Findings, Group, number
from lvexp.shapes import Tensor


class Probe(Instrument):
    """``probe_accuracy``, ``majority_accuracy``, ``probe_n``, ``probe_fitted``, for labels that q(z|x) does not see:
    the accuracy of a linear classifier on z, and the accuracy without z (:func:`lvexp.metrics.probe.probe`)."""

    order = 36
    figures = ("probe_accuracy", "majority_accuracy", "probe_n", "probe_fitted")

    def __init__(self, context: Context):
        super().__init__(context)
        self.features: list[Tensor] = []
        self.labels: list[int] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return "text" in model.reported and model.latent.dim is not None and not model.sees_labels

    def update(self, look: Look) -> None:
        if look.terms.batch.labels is not None:
            self.labels += look.terms.batch.labels.tolist()
            self.features.append(features(self.model.latent, look.terms.q))

    def report(self, scores: Scores) -> Findings:
        known = self.context.splits.get("train", self.context.splits.get("valid"))
        if known is None or not self.labels:
            return Findings()
        found = probe(self.model, known, torch.cat(self.features), self.labels)
        return Findings(scores=found, groups=[self.rows(found)])

    @staticmethod
    def rows(scores: Scores) -> Group:
        accuracy = scores.get("probe_accuracy")
        majority = f"labels; most frequent: {number(scores.get('majority_accuracy'), '.1%')}"
        row = ("linear probe", number(accuracy, ".1%"), "right", majority)
        return "Use of z", [] if accuracy is None else [row]
