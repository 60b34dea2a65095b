"""A distribution fitted to the aggregate posterior after training, in place of the prior."""

from __future__ import annotations

import torch

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.exhibits import decode
from lvexp.models.base import LatentModel
from lvexp.networks.writing import Decoding
from lvexp.priors.fitted import fits, fitted
from lvexp.report.findings import Findings, Group, Score, Section, number

_MOST = 10_000  # training texts that it is fitted to
_SHOWN = 10


class Sampler(Instrument):
    r"""``hole_fitted``, with ``evaluation.sampler=mixture|flow``: KL of the aggregate posterior of the test texts from
    a distribution :math:`\hat p` that is fitted to draws of z for the training texts (:mod:`lvexp.priors.fitted`),
    nats: ``hole`` plus the mean of :math:`\log p(z) - \log \hat p(z)` over draws of z for the test texts. Samples from
    it are shown. Directions have a density on the sphere, to which nothing is fitted."""

    order = 42
    figures = ("hole_fitted",)

    def __init__(self, context: Context):
        super().__init__(context)
        self.draws: list[torch.Tensor] = []
        self.log_p: list[torch.Tensor] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return "use" in model.reported and model.latent.has_prior and fits(model.latent)

    @property
    def asked(self) -> bool:
        return self.settings.sampler is not None and "train" in self.context.splits

    def update(self, look: Look) -> None:
        if self.asked and look.value is not None and look.terms.p is not None:
            self.draws.append(look.value)
            self.log_p.append(look.terms.p.log_prob(look.value))

    def report(self, scores: Scores) -> Findings:
        if not self.asked or scores.get("hole") is None:
            return Findings()
        model, kind, drawn = self.model, str(self.settings.sampler), []
        for batch in self.context.splits["train"]:
            reading = model.read(batch.to(model.device))
            drawn.append(model.latent.posterior(model.params(reading)).sample())
            if sum(map(len, drawn)) >= _MOST:
                break
        p = fitted(kind, torch.cat(drawn)[:_MOST], self.settings.seed)
        gap = torch.cat(self.log_p) - p.log_prob(torch.cat(self.draws))
        found: dict[str, Score] = {"hole_fitted": float(scores["hole"] or 0) + float(gap.double().mean())}
        sections = []
        if "text" in model.reported:
            code = model.latent.code(p.sample(torch.Size((1, _SHOWN))))[0]
            texts = decode(model, code, Decoding("sample", max_length=self.settings.max_decode))
            lines = [(f"{row:>2}  ", text or "(empty)") for row, text in enumerate(texts, 1)]
            sections = [Section("Samples of the fitted prior", lines, f"z from a {kind} fitted to q(z|x)", place=4)]
        return Findings(scores=found, groups=[self.rows({**scores, **found})], sections=sections)

    def rows(self, scores: Scores) -> Group:
        hole = number(scores.get("hole_fitted"))
        return "Use of z", [("hole, fitted prior", hole, "nats", f"from a {self.settings.sampler} fitted to train")]
