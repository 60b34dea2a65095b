"""Which values of a discrete z are used, and how they agree with labels."""

from __future__ import annotations

import functools

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.metrics.clustering import clustering
from lvexp.metrics.code_usage import CodeUsage
from lvexp.models.base import LatentModel
from lvexp.report import figures
from lvexp.report.findings import Findings, Group, Row, Score, number
from lvexp.report.verdict import NEGLIGIBLE, ONE_VALUE


class Codes(Instrument):
    """``code_perplexity`` of at most ``code_values`` (:class:`~lvexp.metrics.code_usage.CodeUsage`); with labels
    ``cluster_accuracy``, ``cluster_nmi``, ``cluster_ari`` (:func:`~lvexp.metrics.clustering.clustering`)."""

    order = 32
    figures = ("code_perplexity", "code_values", "cluster_accuracy", "cluster_nmi", "cluster_ari")

    def __init__(self, context: Context):
        super().__init__(context)
        self.metric = CodeUsage(**context.metric).to(self.model.device)
        self.assigned: list[list[int]] = []
        self.labels: list[int] = []
        self.usage: list[list[float]] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return "use" in model.reported and bool(model.latent.values)

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        return ("code_perplexity",)

    def update(self, look: Look) -> None:
        marginals = self.model.latent.marginals(look.terms.q)
        assert marginals is not None
        self.metric.update(marginals)
        if self.context.alone:
            self.assigned += marginals.argmax(-1).tolist()
            self.labels += [] if look.terms.batch.labels is None else look.terms.batch.labels.tolist()

    def measure(self) -> dict[str, Score]:
        found = self.metric.compute()
        self.usage = found["usage"]
        agreement = (clustering(self.assigned, self.labels) or {}) if self.labels else {}
        scores = {"code_perplexity": found["code_perplexity"], "code_values": max(self.model.latent.values)}
        return scores | agreement

    def report(self, scores: Scores) -> Findings:
        drawn = functools.partial(figures.codes, self.assigned, self.usage, self.labels or None, self.context.labels)
        return Findings(groups=[self.rows(scores)], pictures={"codes": drawn})

    @staticmethod
    def rows(scores: Scores) -> Group:
        perplexity = scores.get("code_perplexity")
        if perplexity is None:
            return "Use of z", []
        # even if z carries no information, modes may differ between texts
        mi = scores.get("mi")
        idle = mi is not None and float(mi) < NEGLIGIBLE and float(perplexity) >= ONE_VALUE
        name, how = ("modes", "perplexity; they tell nothing") if idle else ("values in use", "perplexity of the modes")
        rows: list[Row] = [(name, number(perplexity), f"of {scores['code_values']}", how)]
        if scores.get("cluster_accuracy") is not None:
            agreement = f"NMI {number(scores['cluster_nmi'])}, ARI {number(scores['cluster_ari'])}"
            rows.append(("clusters as labels", number(scores["cluster_accuracy"], ".1%"), "matched", agreement))
        return "Use of z", rows
