"""How far the aggregate posterior is from the prior."""

from __future__ import annotations

from lvexp.instruments.base import Instrument, Scores
from lvexp.models.base import LatentModel
from lvexp.report.findings import Findings, Group, Score, error, number


class Hole(Instrument):
    r"""``hole``: :math:`KL(\bar q(z) \| p(z))` of the aggregate posterior of the test texts, nats: the rate minus the
    mutual information (Hoffman & Johnson 2016), hence of the same draws. Where it is large, draws from the prior are
    unlike any text's z, and the decoder was not trained on them. If the mutual information is near its cap, the hole is
    that of so few texts, not of the distribution that they come from: the figure is too large."""

    order = 31
    figures = ("hole",)

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return "use" in model.reported and model.latent.has_prior

    def report(self, scores: Scores) -> Findings:
        if scores.get("rate") is None or scores.get("mi") is None:
            return Findings()
        found: dict[str, Score] = {"hole": float(scores["rate"] or 0) - float(scores["mi"] or 0)}
        return Findings(scores=found, groups=[self.rows({**scores, **found})])

    @staticmethod
    def rows(scores: Scores) -> Group:
        hole = number(scores.get("hole")) + error(scores.get("mi_se"), 1)  # pyright: ignore[reportArgumentType]
        how = "of the aggregate q(z) from p(z): R − MI"
        return "Use of z", [("hole", hole, "nats", how + (", too large" if scores.get("mi_near_cap") else ""))]
