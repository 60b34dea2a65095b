"""What is left of a text when its z is disturbed."""

from __future__ import annotations

import functools

import torch

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.reconstruction import Reconstruction
from lvexp.models.base import LatentModel
from lvexp.report import figures
from lvexp.report.findings import Findings


class Noise(Instrument):
    r"""With ``evaluation.noise=[0,0.5,1]``: BLEU of greedy reconstruction from :math:`z + s\,\varepsilon`, with z as
    for ``recon_bleu`` and :math:`\varepsilon \sim N(0, I)`, for each s, as ``noise_bleu_<s>``, and a curve. Directions
    are normalised again. A flat curve at a low BLEU is a z that is not used; a steep one, isolated codes."""

    order = 43

    def __init__(self, context: Context):
        super().__init__(context)
        self.clean = Reconstruction(context)

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return Reconstruction.applies(model) and not model.latent.values

    def update(self, look: Look) -> None:
        if self.settings.noise and self.context.alone:
            self.clean.update(look)

    def report(self, scores: Scores) -> Findings:
        if not self.settings.noise:
            return Findings()
        points, (rows, originals) = torch.cat(self.clean.points), self.clean.sentences()
        curve = [
            (size, self.clean.again(self.model.latent.near(points[rows], size), originals)[1])
            for size in self.settings.noise
        ]
        said = ", ".join(f"{size:g}: {bleu:.1f}" for size, bleu in curve)
        return Findings(
            scores={f"noise_bleu_{size:g}": bleu for size, bleu in curve},
            groups=[("Use of z", [("under noise on z", "", "BLEU", said)])],
            pictures={"noise": functools.partial(figures.noise, curve)},
        )
