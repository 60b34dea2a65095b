"""Texts decoded from the posterior, and between two posteriors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.exhibits import Interpolation, interpolate, pairs, reconstruct, spread
from lvexp.metrics.bleu import corpus_bleu
from lvexp.metrics.diversity import spaced
from lvexp.models.base import LatentModel
from lvexp.report.findings import Findings, Group, Score, Section, number, row
from lvexp.shapes import Shaped, Tensor


class Reconstruction(Instrument):
    """``recon_bleu`` of greedy decoding from the posterior mean (the mode if z is discrete), over
    ``recon_bleu_sentences`` texts. The reference is the text as the model could write it, with out-of-vocabulary words
    replaced by ``<unk>``. ``text_unit``: the unit of BLEU and distinct-n, "words" (separated by blanks) or
    "characters".
    """

    order = 38
    figures = ("recon_bleu", "recon_bleu_sentences", "text_unit")

    def __init__(self, context: Context):
        super().__init__(context)
        self.points: list[Tensor] = []
        self.texts: list[list[int]] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return "text" in model.reported and model.latent.dim is not None

    def update(self, look: Look) -> None:
        batch = look.terms.batch
        self.points.append(self.model.latent.point(look.terms.q))
        ends = batch.lengths.tolist()
        self.texts += [row[1 : end - 1] for row, end in zip(batch.tokens.tolist(), ends, strict=True)]

    def report(self, scores: Scores) -> Findings:
        model, settings, points = self.model, self.settings, torch.cat(self.points)
        rows, originals = self.sentences()
        written, bleu = self.again(points[rows], originals)
        shown = [(originals[at], written[at]) for at in spread(len(rows), settings.reconstructions)]
        paths = []
        for first, last in pairs(self.texts, settings.interpolations if model.latent.continuous else 0):
            ends = (model.vocabulary.decode(self.texts[first]), model.vocabulary.decode(self.texts[last]))
            steps, length = settings.interpolation_steps, settings.max_decode
            paths.append(Interpolation(ends, interpolate(model, points[first], points[last], steps, length)))
        middle = "posteriors' modes" if model.latent.values else "posterior means"
        sections = [section(shown, middle)] if shown else []
        found: dict[str, Score] = {"recon_bleu": bleu, "recon_bleu_sentences": len(rows)}
        return Findings(
            scores=found,
            groups=[self.rows({**scores, **found})] if "use" in model.reported else (),
            sections=sections + ([interpolations(paths)] if paths else []),
        )

    def sentences(self) -> tuple[list[int], list[str]]:
        """The texts that are reconstructed, by row and as they are."""
        rows = spread(len(self.texts), self.settings.bleu_sentences)
        return rows, [self.model.vocabulary.decode(self.texts[at]) for at in rows]

    def again(self, values: Shaped[Tensor, "N ..."], originals: Sequence[str]) -> tuple[list[str], float]:
        """The texts that greedy decoding writes from values of z, and their BLEU with the originals."""
        written = reconstruct(self.model, values, self.settings.max_decode)
        if self.model.vocabulary.kind == "characters":
            return written, corpus_bleu(spaced(written), spaced(originals))
        return written, corpus_bleu(written, originals)

    @staticmethod
    def rows(scores: Scores) -> Group:
        by = ", by characters" if scores.get("text_unit") == "characters" else ", greedy"
        texts = number(scores.get("recon_bleu_sentences"), ",d")
        return "Use of z", [
            row("reconstruction", number(scores.get("recon_bleu"), ".1f"), "BLEU", f"{texts} texts{by}")
        ]


def section(shown: Sequence[tuple[str, str]], middle: str) -> Section:
    """Texts and their reconstructions to read; ``middle`` says from where in the posterior."""
    exact = sum(text == copy for text, copy in shown)
    lines = [
        line
        for text, copy in shown
        for line in (("  ", text), ("= " if text == copy else "→ ", copy or "(empty)"), ("", ""))
    ]
    return Section(
        "Reconstructions",
        lines,
        f"texts, and the greedy decodings of their {middle}; {exact} of {len(shown)} are exact, marked =",
        columns=("text", "reconstruction"),
        rows=shown,
        brief=[f"{text}\n→ {copy or '(nothing)'}" for text, copy in shown[:3]],
        place=2,
    )


def interpolations(paths: Sequence[Interpolation]) -> Section:
    """Texts along lines to read."""
    lines: list[tuple[str, str]] = []
    for line in paths:
        steps = max(len(line.path) - 1, 1)
        lines.append(("from  ", line.ends[0]))
        lines += [(f"{step / steps:4.2f}  ", text or "(empty)") for step, text in enumerate(line.path)]
        lines += [("  to  ", line.ends[1]), ("", "")]
    rows = [
        (number, step, text, *line.ends) for number, line in enumerate(paths, 1) for step, text in enumerate(line.path)
    ]
    return Section(
        "Interpolations",
        lines,
        "greedy decodings along the line between two posterior means",
        columns=("path", "step", "text", "from", "to"),
        rows=rows,
        brief=(),
        place=3,
    )
