"""The bound at posteriors that a regularizer refined for each text."""

from __future__ import annotations

import torch

from lvexp.instruments.base import Context, Instrument, Look, Scores, finite_or_none, seeded
from lvexp.metrics.bound import Bound
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import refined, regularizers
from lvexp.report.findings import Findings, Group, Score, number
from lvexp.shapes import Float, Tensor


class Refined(Instrument):
    """``elbo_refined``, ``rate_refined``: as ``elbo`` and ``rate``, at refined posteriors. All other figures use the
    encoder's own posteriors."""

    order = 12
    figures = ("elbo_refined", "rate_refined")

    def __init__(self, context: Context):
        super().__init__(context)
        self.metric = Bound(**context.metric).to(self.model.device)

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return model.latent.has_prior and any(part.refines for part in regularizers(model))

    def update(self, look: Look) -> None:
        terms, model = look.terms, self.model

        def nelbo(params: Float[Tensor, "B P"]) -> Float[Tensor, " B"]:
            found = model.terms(terms.batch, params=params, reading=terms.reading.again)
            return found.distortion if found.rate is None else found.distortion + found.rate

        with seeded(self.settings.seed + look.number):
            params = refined([part for part in regularizers(model) if part.refines], terms.params, nelbo)
            assert look.before is not None
            torch.set_rng_state(look.before)  # the same draws as for the encoder's own posteriors
            self.metric.update(model.terms(terms.batch, params=params, reading=terms.reading))

    def measure(self) -> dict[str, Score]:
        found = self.metric.compute()
        scores = {"elbo_refined": -found["nelbo"], "rate_refined": found["rate"]}
        return {name: finite_or_none(score) for name, score in scores.items()}

    def report(self, scores: Scores) -> Findings:
        return Findings(groups=[self.rows(scores)] if "bound" in self.model.reported else ())

    @staticmethod
    def rows(scores: Scores) -> Group:
        bound = scores.get("elbo_refined")
        rate = f"text by text; R = {number(scores.get('rate_refined'))}"
        row = ("−ELBO, refined", number(None if bound is None else -float(bound)), "nats/text", rate)
        return "Bound", [] if bound is None else [row]
