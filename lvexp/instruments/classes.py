"""The classes that a model learned from labels."""

from __future__ import annotations

import torch

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.models.attributes import AttributeModel, observed
from lvexp.models.base import LatentModel
from lvexp.report.findings import Findings, Group, Score, number


class Classes(Instrument):
    """``class_accuracy``: share of texts whose most probable value of c is their class; of all attributes together."""

    order = 33
    figures = ("class_accuracy",)

    def __init__(self, context: Context):
        super().__init__(context)
        self.right: list[bool] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return isinstance(model, AttributeModel)

    def update(self, look: Look) -> None:
        classes, model = observed(look.terms.batch), self.model
        assert isinstance(model, AttributeModel)
        if classes is not None:
            logits = model.class_logits(look.terms.params)
            guessed = torch.stack([part.argmax(-1) for part in logits[: classes.shape[1]]], 1)
            self.right += (guessed == classes)[classes >= 0].tolist()

    def measure(self) -> dict[str, Score]:
        return {"class_accuracy": sum(self.right) / len(self.right)} if self.right else {}

    def report(self, scores: Scores) -> Findings:
        return Findings(groups=[self.rows(scores)])

    @staticmethod
    def rows(scores: Scores) -> Group:
        accuracy = scores.get("class_accuracy")
        row = ("class", number(accuracy, ".1%"), "right", "argmax q(c|x) is the label")
        return "Use of z", [] if accuracy is None else [row]
