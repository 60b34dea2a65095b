"""Texts written given their sources, beside the references."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.exhibits import spread
from lvexp.metrics.bleu import self_bleu
from lvexp.metrics.diversity import distinct
from lvexp.models.base import LatentModel
from lvexp.models.conditional import ConditionalModel
from lvexp.networks.writing import Decoding
from lvexp.reading import Reading
from lvexp.report.findings import Findings, Group, Row, Score, Section, number
from lvexp.shapes import Float, Tensor

DRAWS = 5  # texts for each source, each from a draw of z
_DIVERSE = 200  # sources for which the draws of one text are set against each other


class Translation(Instrument):
    """``bleu`` and ``chrf`` of what the model writes by beam search, at the mean of p(z|x), over all sources of the
    test set; ``bleu_greedy`` of greedy decoding. With a latent variable, over ``draws`` draws of z for each source,
    decoded greedily: ``bleu_drawn`` of the first, ``bleu_oracle`` of the one nearest to its reference by sentence BLEU,
    ``draws_self_bleu`` and ``draws_distinct_2`` of the texts of one source, mean over sources; and
    ``bleu_wrong_z`` with the z of the source before: it is as high as ``bleu_greedy`` where z does not matter.

    Texts are taken as tokenised: what blanks separate (sacrebleu, ``tok:none``); ``bleu_signature`` says so.
    """

    order = 0

    def __init__(self, context: Context):
        super().__init__(context)
        self.sources: list[str] = []
        self.references: list[str] = []
        self.written: dict[str, list[str]] = {}
        self.last: Tensor | None = None  # the code of the last source so far, which is another for the next

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return isinstance(model, ConditionalModel)

    def update(self, look: Look) -> None:
        model, batch, reading = self.model, look.terms.batch, look.terms.reading
        assert isinstance(model, ConditionalModel)
        assert batch.source is not None
        self.references += [model.vocabulary.decode(row) for row in batch.tokens.tolist()]
        self.sources += [model.sources.decode(row) for row in batch.source.tolist()]
        middle = model.code(reading)
        self._write("beam", middle, reading, "beam")
        self._write("greedy", middle, reading)
        if model.latent.dim is None:
            return
        for at in range(DRAWS):
            self._write(f"draw {at}", model.code(reading, draw=True), reading)
        before = middle[-1:] if self.last is None else self.last
        self._write("wrong", torch.cat([before, middle[:-1]]), reading)
        self.last = middle[-1:]

    def _write(self, name: str, code: Float[Tensor, "B W"], reading: Reading, method: str = "greedy") -> None:
        self.written.setdefault(name, []).extend(self._texts(code, reading, method))

    def _texts(self, code: Float[Tensor, "B W"], reading: Reading, method: str = "greedy") -> list[str]:
        how = Decoding(method, max_length=self.settings.max_decode)
        return [self.model.vocabulary.decode(ids) for ids in self.model.write(code, how, reading)]

    def measure(self) -> dict[str, Score]:
        bleu = BLEU(tokenize="none", force=True)
        found: dict[str, Score] = {
            "bleu": bleu.corpus_score(self.written["beam"], [self.references]).score,
            "bleu_greedy": bleu.corpus_score(self.written["greedy"], [self.references]).score,
            "chrf": CHRF().corpus_score(self.written["beam"], [self.references]).score,
            "bleu_signature": str(bleu.get_signature()),
        }
        if "wrong" not in self.written:
            return found
        drawn = list(zip(*(self.written[f"draw {at}"] for at in range(DRAWS)), strict=True))
        nearest = [_nearest(texts, reference) for texts, reference in zip(drawn, self.references, strict=True)]
        some = [drawn[row] for row in spread(len(drawn), _DIVERSE)]
        return found | {
            "bleu_drawn": bleu.corpus_score(self.written["draw 0"], [self.references]).score,
            "bleu_oracle": bleu.corpus_score(nearest, [self.references]).score,
            "bleu_wrong_z": bleu.corpus_score(self.written["wrong"], [self.references]).score,
            "draws": DRAWS,
            "draws_self_bleu": _mean([self_bleu(texts) for texts in some]),
            "draws_distinct_2": _mean([distinct(texts, 2) for texts in some]),
        }

    def report(self, scores: Scores) -> Findings:
        rows = spread(len(self.references), self.settings.reconstructions)
        shown = [(self.sources[row], self.references[row], self.written["beam"][row]) for row in rows]
        lines = [line for parts in shown for line in (*zip(("  ", "= ", "→ "), parts, strict=True), ("", ""))]
        section = Section(
            "Translations", [(label, text or "(empty)") if label else (label, text) for label, text in lines],
            "sources, their references (=), and what beam search finds at the mean of p(z|x) (→)",
            columns=("source", "reference", "written"), rows=shown,
            brief=[f"{source}\n→ {written or '(nothing)'}" for source, _, written in shown[:3]], place=1,
        )  # fmt: skip
        return Findings(groups=[self.rows(scores)], sections=[section])

    @staticmethod
    def rows(scores: Scores) -> Group:
        if scores.get("bleu") is None:
            return "Translation", []
        rows: list[Row] = [
            ("BLEU", number(scores["bleu"]), f"beam of {Decoding.beam}", "tokens as they are: sacrebleu, tok:none"),
            ("  greedy", number(scores["bleu_greedy"]), "", ""),
            ("chrF", number(scores["chrf"]), f"beam of {Decoding.beam}", ""),
        ]
        if scores.get("bleu_oracle") is not None:
            rows += [
                ("BLEU, z drawn", number(scores["bleu_drawn"]), "greedy", "a draw of p(z|x)"),
                ("  best of draws", number(scores["bleu_oracle"]), "", f"of {scores['draws']}, by its own reference"),
                ("  z of another", number(scores["bleu_wrong_z"]), "greedy", "that of the source before"),
                ("  self-BLEU", number(scores["draws_self_bleu"], ".1f"), "", "of the draws of one source"),
                ("  distinct-2", number(scores["draws_distinct_2"]), "of 1", "of the draws of one source"),
            ]
        return "Translation", rows


def _nearest(texts: Sequence[str], reference: str) -> str:
    """The text of the highest sentence BLEU."""
    bleu = BLEU(tokenize="none", force=True, effective_order=True)
    return max(texts, key=lambda text: bleu.sentence_score(text, [reference]).score)


def _mean(found: Sequence[float | None]) -> float | None:
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None
