"""The dimensions of z: which of them vary between texts, and the rate of each."""

from __future__ import annotations

import functools
import math

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.metrics.active_units import ActiveUnits
from lvexp.metrics.bound import Bound
from lvexp.models.base import LatentModel
from lvexp.report import figures
from lvexp.report.findings import Findings, Group, Score, number, row


class Units(Instrument):
    """``active_units`` out of ``latent_dim``, for a continuous z whose units can be counted: the number of dimensions
    whose posterior mean varies over texts by more than the threshold
    (:class:`~lvexp.metrics.active_units.ActiveUnits`). The picture shows the rate of each dimension."""

    order = 34
    figures = ("active_units",)

    def __init__(self, context: Context):
        super().__init__(context)
        self.metric = ActiveUnits(self.settings.active_threshold, **context.metric).to(self.model.device)
        self.rates = Bound(**context.metric).to(self.model.device)
        self.variances: list[float] | None = None

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return model.latent.dim is not None

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        return ("active_units",) if _counted(model) else ()

    def update(self, look: Look) -> None:
        if _counted(self.model):
            means = self.model.latent.means(look.terms.q)
            assert means is not None
            self.metric.update(means)
        if self.context.alone:
            self.rates.update(look.terms)

    def measure(self) -> dict[str, Score]:
        if not _counted(self.model):
            return {}
        found = self.metric.compute()
        self.variances = found["variance"]
        return {"active_units": found["active_units"]}

    def report(self, scores: Scores) -> Findings:
        rates = self.rates.compute()["rate_per_dimension"]
        groups = [self.rows(scores)] if _counted(self.model) else []
        # a single bar is not worth a picture
        if rates is None or not all(map(math.isfinite, rates)) or (len(rates) < 2 and self.model.latent.values):
            return Findings(groups=groups)
        whole = self.variances is not None and len(self.variances) == len(rates)  # false if part of z is discrete
        variances = self.variances if whole else None
        drawn = functools.partial(figures.rate_per_dimension, rates, variances, unit=self.model.unit)
        return Findings(groups=groups, pictures={"rate_per_dimension": drawn})

    @staticmethod
    def rows(scores: Scores) -> Group:
        units = scores.get("active_units")
        said = number(units, "d") + ("" if units is None else f" of {scores.get('latent_dim')}")
        return "Use of z", [row("active units", said, "", "variance of mean > 0.01")]


def _counted(model: LatentModel) -> bool:
    return "use" in model.reported and model.latent.continuous and model.latent.units
