"""The bound and its parts."""

from __future__ import annotations

import math

from lvexp.distributions.rate import in_closed_form
from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.metrics.bound import Bound as BoundMetric
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import Regularizer, regularizers
from lvexp.report.findings import Findings, Group, Row, Score, number, per, row, worded
from lvexp.terms import Terms


class Bound(Instrument):
    """-ELBO = D + R with beta = 1, and the floor at which a regularizer holds the rate.

    ``elbo`` (negative), ``distortion``, ``rate``: nats per text; ``ppl`` from the ELBO, over ``tokens`` predicted
    tokens of ``sentences`` texts, None without tokens; ``rate_exact``: whether the rate is in closed form; otherwise it
    is estimated from one draw of z for each text; ``rate_floor``, ``rate_floor_by``: nats at which a regularizer holds
    the rate or stops pushing it down, and the name of that regularizer. Validations have ``nelbo`` instead of ``elbo``,
    with the sign of a loss.
    """

    order = 10
    figures = (
        *("elbo", "distortion", "rate", "ppl", "latent_dim", "sentences", "tokens", "rate_floor", "rate_floor_by"),
        "rate_exact",
        *("nll", "nll_kind"),
    )

    def __init__(self, context: Context):
        super().__init__(context)
        self.metric = BoundMetric(**context.metric).to(self.model.device)
        self.exact: bool | None = None

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return True

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        bounded = model.latent.has_prior or model.latent.dim is None
        return (
            "distortion",
            *(("rate",) if model.latent.has_prior else ()),
            *(("nelbo",) if bounded else ()),
            *(("ppl",) if bounded and "bound" in model.reported and model.unit == "text" else ()),
        )

    def update(self, look: Look) -> None:
        self.metric.update(look.terms)
        if self.exact is None and look.terms.p is not None and self.context.alone:
            self.exact = in_closed_form(look.terms.q, look.terms.p)

    def measure(self) -> dict[str, Score]:
        found = self.metric.compute()
        found.pop("rate_per_dimension")
        nelbo = found.pop("nelbo")
        signed = {"elbo": None if nelbo is None else -nelbo} if self.context.alone else {"nelbo": nelbo}
        scores: dict[str, Score] = {**found, **signed, "latent_dim": self.model.latent.dim}
        scores |= {"rate_exact": self.exact} if self.context.alone else {}
        if self.model.latent.dim is None:
            scores |= {"nll": nelbo, "nll_kind": "exact"}
        floors = {_name(part): part.floor for part in regularizers(self.model) if part.floor is not None}
        if floors and found["rate"] is not None:
            by = max(floors, key=lambda name: floors[name])
            scores |= {"rate_floor": floors[by], "rate_floor_by": by}
        return scores

    def report(self, scores: Scores) -> Findings:
        return Findings(groups=[self.rows(scores)] if "bound" in self.model.reported else ())

    @staticmethod
    def rows(scores: Scores) -> Group:
        exact = scores.get("nll_kind") == "exact"
        lacks = "no latent variable" if scores.get("latent_dim") is None else "no prior"
        elbo, floor, nats = scores.get("elbo"), scores.get("rate_floor"), per(scores)
        held: list[Row] = []
        if floor is not None:
            held = [("  floor", number(float(floor)), nats, f"set by {scores['rate_floor_by']}")]
        cost = "−log p(x)" if exact else "−E log p(x|z)"
        drawn = ", from draws" if scores.get("rate_exact") is False else ""
        nelbo = number(None if elbo is None else -float(elbo))
        return "Bound", [
            row("−ELBO", nelbo, nats, "exact: the NLL" if exact else "D + R with β = 1", lacks),
            row("distortion D", number(scores.get("distortion")), nats, cost),
            row("rate R", number(scores.get("rate")), nats, f"KL of q(z|x) from p(z){drawn}", lacks),
            *held,
            *worded(
                scores, row(
                    "perplexity", number(scores.get("ppl")), "per token",
                    f"{number(scores.get('tokens'), ',d')} tokens, <eos> too", lacks,
                ),
            ),
        ]  # fmt: skip


def _name(regularizer: Regularizer) -> str:
    """Its name as an option, which is that of its file."""
    return type(regularizer).__module__.rpartition(".")[2]


def diverged(bound: Bound, terms: Terms | None) -> dict[str, Score]:
    """The figures of a model that diverged, given the terms that are not finite: those of the texts so far, and of
    these. None for terms that could not even be computed."""
    if terms is None:
        return {"latent_dim": bound.model.latent.dim, "distortion": math.nan}
    bound.update(Look(terms, None, 0))
    return bound.measure()
