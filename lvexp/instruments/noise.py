"""What is left of a text when its z is disturbed."""

from __future__ import annotations

import functools

import torch

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.exhibits import reconstruct, spread
from lvexp.metrics.bleu import corpus_bleu
from lvexp.metrics.diversity import spaced
from lvexp.models.base import LatentModel
from lvexp.report import figures
from lvexp.report.findings import Findings, Score


class Noise(Instrument):
    r"""With ``evaluation.noise=[0,0.5,1]``: BLEU of greedy reconstruction from :math:`z + s\,\varepsilon`, with z as
    for ``recon_bleu`` and :math:`\varepsilon \sim N(0, I)`, for each s, as ``noise_bleu_<s>``, and a curve. Directions
    are normalised again. A flat curve at a low BLEU is a z that is not used; a steep one, isolated codes."""

    order = 43

    def __init__(self, context: Context):
        super().__init__(context)
        self.points: list[torch.Tensor] = []
        self.texts: list[list[int]] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return "text" in model.reported and model.latent.dim is not None and not model.latent.values

    def update(self, look: Look) -> None:
        if self.settings.noise and self.context.alone:
            batch = look.terms.batch
            self.points.append(self.model.latent.point(look.terms.q))
            ends = batch.lengths.tolist()
            self.texts += [row[1 : end - 1] for row, end in zip(batch.tokens.tolist(), ends, strict=True)]

    def report(self, scores: Scores) -> Findings:
        if not self.settings.noise:
            return Findings()
        model, points = self.model, torch.cat(self.points)
        rows = spread(len(points), self.settings.bleu_sentences)
        originals = [model.vocabulary.decode(self.texts[at]) for at in rows]
        spelled, found = model.vocabulary.kind == "characters", dict[str, Score]()
        for size in self.settings.noise:
            z = model.latent.near(points[rows], size)
            written = reconstruct(model, z, self.settings.max_decode)
            pair = (spaced(written), spaced(originals)) if spelled else (written, originals)
            found[f"noise_bleu_{size:g}"] = corpus_bleu(*pair)
        curve = [(size, float(bleu or 0)) for size, bleu in zip(self.settings.noise, found.values(), strict=True)]
        said = ", ".join(f"{size:g}: {bleu:.1f}" for size, bleu in curve)
        group = ("Use of z", [("under noise on z", "", "BLEU", said)])
        return Findings(scores=found, groups=[group], pictures={"noise": functools.partial(figures.noise, curve)})
