"""How much information z carries about x."""

from __future__ import annotations

import math

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.metrics.mutual_information import MutualInformation
from lvexp.models.base import LatentModel
from lvexp.report.findings import Findings, Group, Score, error, number, row

_DRAWS = 10_000  # over all texts together: takes about a second, with an error of 0.02 nats
_NEAR = 0.95  # the mutual information is "near" its cap from this share of it


class Information(Instrument):
    """``mi`` in nats over ``mi_n`` texts. It is at most ``mi_cap``, the log of ``mi_n`` or, if smaller, of the number
    of values of z. If ``mi_exact``, it is a sum over all values of z; otherwise it is an estimate from 10,000 draws, at
    least two for each text, with the standard error ``mi_se``, and ``mi_near_cap`` tells whether it is within 5 % of
    its cap. ``mi_batch``: the same over groups of ``mi_batch_size`` texts. Validations use one draw for each text."""

    order = 30
    figures = ("mi", "mi_se", "mi_n", "mi_exact", "mi_cap", "mi_near_cap", "mi_batch", "mi_batch_size")

    def __init__(self, context: Context):
        super().__init__(context)
        draws = {"size": self.settings.mi_batch, "draws": _DRAWS} if context.alone else {}
        posterior, affordable = self.model.latent.posterior, self.model.latent.compared
        limit = min(self.settings.mi_sentences, affordable or self.settings.mi_sentences)
        self.metric = MutualInformation(posterior, limit, **draws, **context.metric).to(self.model.device)

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return "use" in model.reported and model.latent.has_prior

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        return ("mi",)

    def update(self, look: Look) -> None:
        self.metric.update(look.terms, look.value)

    def measure(self) -> dict[str, Score]:
        found = self.metric.compute()
        cap = math.log(min(found["mi_n"], self.model.latent.configurations or math.inf))
        near = not found["mi_exact"] and found["mi"] > _NEAR * cap
        return found | {"mi_cap": cap, "mi_near_cap": near, "mi_batch_size": self.metric.size}

    def report(self, scores: Scores) -> Findings:
        return Findings(groups=[self.rows(scores)])

    @staticmethod
    def rows(scores: Scores) -> Group:
        near = "near its cap," if scores.get("mi_near_cap") else "at most"
        cap = f", {near} ln N = {number(scores.get('mi_cap'))}" if scores.get("mi_cap") is not None else ""
        cap = f", exact, at most {number(scores.get('mi_cap'))}" if scores.get("mi_exact") else cap
        texts, size = number(scores.get("mi_n"), ",d"), number(scores.get("mi_batch_size"), "d")
        mi = number(scores.get("mi")) + error(scores.get("mi_se"), 1)  # pyright: ignore[reportArgumentType]
        return "Use of z", [
            row("mutual information", mi, "nats", f"N = {texts}{cap}"),
            row("  in minibatches", number(scores.get("mi_batch")), "nats", f"of {size}, as papers print it"),
        ]
