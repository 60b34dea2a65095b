"""The likelihood, exact if possible."""

from __future__ import annotations

import json
from collections.abc import Mapping

import torch
from torchmetrics import MeanMetric

from lvexp.data.batch import Batch
from lvexp.instruments.base import Context, Instrument, Look, Scores, seeded
from lvexp.metrics.bound import perplexity
from lvexp.metrics.likelihood import ImportanceWeighted, countable, marginal
from lvexp.models.base import LatentModel
from lvexp.report.findings import Findings, Group, Row, Score, error, number, per, row, worded
from lvexp.shapes import Tensor

FEW = 0.05  # share of texts from which the report mentions that a likelihood is based on few draws


class Likelihood(Instrument):
    """``nll``, the most accurate available -log p(x), nats per text, and ``nll_kind``, which is "exact" (no latent
    variable), "exact marginal" (the sum over all values of a discrete z, if there are at most 256) or
    "importance-weighted".

    ``nll_iw`` is the importance-weighted estimate from ``iw_samples`` draws (``iw_draws`` on average, if a tolerance
    stopped some texts early), with the standard error ``nll_iw_se``. ``iw_effective``: effective number of draws, mean
    over texts. ``iw_few``: share of texts with fewer than ten effective draws, whose estimates are biased upward.
    ``iw_tail_se``: the part of the standard error that is due to sampled words, if ``iw_words`` is set.
    ``ppl_iw``, ``ppl_marginal``: perplexity from the estimate or from the exact marginal.

    The file ``scores.jsonl`` has ``distortion``, ``rate`` and ``nll`` of each text in the order of the test set, and
    the number of its predicted ``tokens``.
    """

    order = 20
    figures = (
        *("nll", "nll_kind", "nll_iw", "nll_iw_se", "iw_samples", "iw_draws", "iw_effective", "iw_few", "ppl_iw"),
        *("iw_tail_se", "ppl_marginal"),
    )

    def __init__(self, context: Context):
        super().__init__(context)
        device, settings = self.model.device, self.settings
        self.counted = countable(self.model)
        self.exact = MeanMetric(**context.metric).set_dtype(torch.float64).to(device)
        self.weighted = ImportanceWeighted(
            settings.iw_samples, settings.iw_tolerance, words=settings.iw_words, **context.metric
        ).to(device)
        self.texts, self.tokens = 0, 0
        self.each: list[dict[str, float]] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return "likelihood" in model.reported

    def update(self, look: Look) -> None:
        terms = look.terms
        found = {"distortion": terms.distortion, "tokens": terms.batch.lengths - 1}
        if terms.p is None:
            self._keep(terms.batch, found | ({"nll": terms.distortion} if self.model.latent.dim is None else {}))
            return
        self.texts, self.tokens = self.texts + len(terms.batch), self.tokens + terms.batch.predicted()
        with seeded(self.settings.seed + look.number):  # seeded separately, so that K affects no other figure
            if self.counted:
                nll = marginal(self.model, terms.batch, terms.reading)
                self.exact.update(nll)
            else:
                self.weighted.update(self.model, terms)
                nll = self.weighted.last
        self._keep(terms.batch, found | {"rate": terms.rate, "nll": nll})

    def _keep(self, batch: Batch, found: Mapping[str, Tensor | None]) -> None:
        index = range(len(self.each), len(self.each) + len(batch)) if batch.index is None else batch.index.tolist()
        columns = {name: values.tolist() for name, values in found.items() if values is not None}
        self.each += [
            {"index": row, **{name: round(values[at], 5) for name, values in columns.items()}}
            for at, row in enumerate(index)
        ]

    def measure(self) -> dict[str, Score]:
        if not self.texts:
            return {}
        if self.counted:
            nll = float(self.exact.compute())
            found = perplexity(nll * self.texts, self.tokens)
            return {"nll": nll, "nll_kind": "exact marginal", "ppl_marginal": found}
        scores = self.weighted.compute()
        return scores | {"nll": scores["nll_iw"], "nll_kind": "importance-weighted"}

    def report(self, scores: Scores) -> Findings:
        ordered = sorted(self.each, key=lambda text: text["index"])
        lines = "".join(f"{json.dumps(text)}\n" for text in ordered)
        return Findings(groups=[self.rows(scores)], files={"scores.jsonl": lines})

    @staticmethod
    def rows(scores: Scores) -> Group:
        kind = scores.get("nll_kind")
        lacks = "no latent variable" if scores.get("latent_dim") is None else "no prior"
        weighted = kind not in ("exact", "exact marginal") and scores.get("nll_iw") is not None
        k, mean = scores.get("iw_samples"), scores.get("iw_draws")
        draws = f"k = {k}" if mean is None or mean == k else f"k ≤ {k}, mean {float(mean):.0f}"
        draws += ", words sampled" if scores.get("iw_tail_se") else ""
        texts = number(scores.get("sentences"), ",d")
        how = {"exact marginal": "exact: the sum over all z", "exact": f"exact, {texts} texts"}
        perplexity = {"exact marginal": "ppl_marginal", "exact": "ppl"}.get(str(kind), "ppl_iw" if weighted else "ppl")
        nll = number(scores.get("nll_iw" if weighted else "nll")) + error(scores.get("nll_iw_se"))  # pyright: ignore
        name = "NLL" if kind in how else "NLL ± s.e."
        return "Likelihood", [
            row(name, nll, per(scores), how.get(str(kind), f"importance-weighted, {draws}"), lacks),
            *effective(scores),
            *worded(scores, row("perplexity", number(scores.get(perplexity)), "per token", "from this NLL", lacks)),
        ]


def effective(scores: Scores) -> list[Row]:
    """How many effective draws an importance-weighted estimate is based on."""
    if scores.get("iw_effective") is None:
        return []
    few, what = float(scores["iw_few"] or 0), f"{scores.get('unit') or 'text'}s"
    said = f"mean over {what}" if few < FEW else f"below 10 for {few:.0%} of {what}: their NLL is too large"
    return [("  effective draws", number(scores["iw_effective"], ".1f"), f"of {scores['iw_samples']}", said)]
