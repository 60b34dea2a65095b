"""Texts written given their sources, beside the references."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any, cast

import torch
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from torch import distributed

from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.exhibits import spread
from lvexp.metrics.bleu import self_bleu
from lvexp.metrics.diversity import distinct
from lvexp.models.base import LatentModel
from lvexp.models.conditional import ConditionalModel
from lvexp.networks.writing import Decoding
from lvexp.reading import Reading
from lvexp.report import figures
from lvexp.report.alignment import Alignment
from lvexp.report.findings import Findings, Group, Row, Score, Section, number
from lvexp.report.verdict import verdict
from lvexp.shapes import Float, Tensor

DRAWS = 5  # texts for each source, each from a draw of z
BOOTSTRAP = 1000  # resamples of the test set
_DRAWN, _FEW, _MANY = 4, 8, 16  # texts whose attention is drawn, and their tokens
_DIVERSE = 200  # sources for which the draws of one text are set against each other


class Translation(Instrument):
    """``bleu`` and ``chrf`` of what the model writes by beam search, at the mean of p(z|x), over all sources of the
    test set; ``bleu_ci``, half the width of the 95 % interval of a bootstrap over the texts (Koehn 2004), and
    ``bleu_greedy`` of greedy decoding. With a latent variable, over ``draws`` draws of z for each source,
    decoded greedily: ``bleu_drawn`` of the first, ``bleu_oracle`` of the one nearest to its reference by sentence BLEU,
    ``draws_self_bleu`` and ``draws_distinct_2`` of the texts of one source, mean over sources; and
    ``bleu_wrong_z`` with the z of the source before: it is as high as ``bleu_greedy`` where z does not matter.
    ``z_changed`` is the share of texts that this z changes.

    Validations measure ``bleu_greedy`` and ``bleu_loss`` = 100 - BLEU if that selects the best one.

    Texts are taken as tokenised: what blanks separate (sacrebleu, ``tok:none``); ``bleu_signature`` says so. The file
    ``written.jsonl`` has all sources, references and texts in the order of the test set.
    """

    order = 0

    def __init__(self, context: Context):
        super().__init__(context)
        self.rows: list[int] = []  # of the texts in their split
        self.sources: list[str] = []
        self.references: list[str] = []
        self.written: dict[str, list[str]] = {}
        self.last: Tensor | None = None  # the code of the last source so far, which is another for the next
        self.pictures: list[Alignment] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return isinstance(model, ConditionalModel)

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        return ("bleu_greedy", "bleu_loss") if isinstance(model, ConditionalModel) and model.best == "bleu" else ()

    def update(self, look: Look) -> None:
        model, batch, reading = self.model, look.terms.batch, look.terms.reading
        assert isinstance(model, ConditionalModel)
        assert batch.source is not None
        self.references += [model.vocabulary.decode(row) for row in batch.tokens.tolist()]
        middle = model.code(reading)
        self._write("greedy", middle, reading)
        if not self.context.alone:
            return
        assert batch.index is not None
        self.rows += batch.index.tolist()
        self.sources += [model.sources.decode(row) for row in batch.source.tolist()]
        self._write("beam", middle, reading, "beam")
        self._draw(batch, middle, reading)
        if model.latent.dim is None:
            return
        for at in range(DRAWS):
            self._write(f"draw {at}", model.code(reading, draw=True), reading)
        before = middle[-1:] if self.last is None else self.last
        self._write("wrong", torch.cat([before, middle[:-1]]), reading)
        self.last = middle[-1:]

    def _write(self, name: str, code: Float[Tensor, "B W"], reading: Reading, method: str = "greedy") -> None:
        how = Decoding(method, max_length=self.settings.max_decode)
        written = [self.model.vocabulary.decode(ids) for ids in self.model.write(code, how, reading)]
        self.written.setdefault(name, []).extend(written)

    def _draw(self, batch: Batch, code: Float[Tensor, "B W"], reading: Reading) -> None:
        """Keeps what the references' words look at, of the first text of some batches."""
        model = self.model
        assert isinstance(model, ConditionalModel)
        assert batch.source is not None
        fits = _FEW <= batch.tokens.shape[1] <= _MANY and not batch.source.is_floating_point()
        if not fits or len(self.pictures) == _DRAWN:
            return
        one = torch.tensor([0], device=code.device)
        weights = model.attended(batch[one], reading[one], code[one])
        if weights is None:
            return
        sources, vocabulary = cast(Vocabulary, model.sources), cast(Vocabulary, model.vocabulary)
        source = sources.tokens(number for number in batch.source[0].tolist() if number != sources.special.pad)
        text = vocabulary.tokens(batch.targets[0, : int(batch.lengths[0]) - 1].tolist())
        self.pictures.append(Alignment(source, text, weights[0, : len(text), : len(source)].cpu().numpy()))

    def measure(self) -> dict[str, Score]:
        bleu = BLEU(tokenize="none", force=True)
        texts = self._all(self.written["greedy"]), self._all(self.references)
        greedy = bleu.corpus_score(texts[0], [texts[1]]).score
        if not self.context.alone:
            return {"bleu_greedy": greedy, "bleu_loss": 100 - greedy}
        beam: Any = bleu.corpus_score(self.written["beam"], [self.references], n_bootstrap=BOOTSTRAP)
        found: dict[str, Score] = {
            "bleu": beam.score,
            "bleu_ci": float(beam._ci),
            "bleu_greedy": greedy,
            "chrf": CHRF().corpus_score(self.written["beam"], [self.references]).score,
            "bleu_signature": str(bleu.get_signature()),
        }
        if "wrong" not in self.written:
            return found
        drawn = list(zip(*(self.written[f"draw {at}"] for at in range(DRAWS)), strict=True))
        nearest = [_nearest(texts, reference) for texts, reference in zip(drawn, self.references, strict=True)]
        some = [drawn[row] for row in spread(len(drawn), _DIVERSE)]
        changed = [a != b for a, b in zip(self.written["greedy"], self.written["wrong"], strict=True)]
        return found | {
            "bleu_drawn": bleu.corpus_score(self.written["draw 0"], [self.references]).score,
            "bleu_oracle": bleu.corpus_score(nearest, [self.references]).score,
            "bleu_wrong_z": bleu.corpus_score(self.written["wrong"], [self.references]).score,
            "z_changed": sum(changed) / len(changed),
            "draws": DRAWS,
            "draws_self_bleu": _mean([self_bleu(texts) for texts in some]),
            "draws_distinct_2": _mean([distinct(texts, 2) for texts in some]),
        }

    def _all(self, texts: list[str]) -> list[str]:
        """The texts of all processes."""
        if self.context.alone or not distributed.is_initialized():
            return texts
        parts: list[Any] = [None] * distributed.get_world_size()
        distributed.all_gather_object(parts, texts)
        return [text for part in parts for text in part]

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
        pictures = {"attention": functools.partial(figures.alignment, self.pictures)} if self.pictures else {}
        return Findings(
            groups=[self.group(scores)], sections=[section], verdict=_verdict(scores), pictures=pictures,
            files={"written.jsonl": self._file()},
        )  # fmt: skip

    def _file(self) -> str:
        columns = {"source": self.sources, "reference": self.references}
        columns |= {name: self.written[name] for name in ("beam", "greedy", "draw 0") if name in self.written}
        order = sorted(range(len(self.rows)), key=self.rows.__getitem__)
        lines = [json.dumps({name: texts[at] for name, texts in columns.items()}, ensure_ascii=False) for at in order]
        return "\n".join(lines) + "\n"

    @staticmethod
    def group(scores: Scores) -> Group:
        if scores.get("bleu") is None:
            return "Translation", []
        rows: list[Row] = [
            (
                "BLEU", f"{number(scores['bleu'])} ±{number(scores['bleu_ci'], '.1f')}", f"beam of {Decoding.beam}",
                "tokens as they are: sacrebleu, tok:none; 95 %",
            ),
            ("  greedy", number(scores["bleu_greedy"]), "", ""),
            ("chrF", number(scores["chrf"]), f"beam of {Decoding.beam}", ""),
        ]  # fmt: skip
        if scores.get("bleu_oracle") is not None:
            rows += [
                ("BLEU, z drawn", number(scores["bleu_drawn"]), "greedy", "a draw of p(z|x)"),
                ("  best of draws", number(scores["bleu_oracle"]), "", f"of {scores['draws']}, by its own reference"),
                ("  z of another", number(scores["bleu_wrong_z"]), "greedy", "that of the source before"),
                ("  changed by it", number(100 * float(scores["z_changed"] or 0), ".0f"), "% of texts", ""),
                ("  self-BLEU", number(scores["draws_self_bleu"], ".1f"), "", "of the draws of one source"),
                ("  distinct-2", number(scores["draws_distinct_2"]), "of 1", "of the draws of one source"),
            ]
        return "Translation", rows


def _verdict(scores: Scores) -> str:
    """The usual verdict on z, and whether it changes what is written."""
    bleu = f"BLEU {number(scores['bleu'], '.1f')}"
    if scores.get("bleu_wrong_z") is None:
        return f"{bleu}, without a latent variable; exact NLL {number(scores['nll'])} nats"
    own, other = float(scores["bleu_greedy"] or 0), float(scores["bleu_wrong_z"] or 0)
    changed = float(scores["z_changed"] or 0)
    use = f"changes {100 * changed:.0f}% of the texts, BLEU {own:.1f} to {other:.1f}" if changed else "changes no text"
    return f"{verdict(scores)}; {bleu}; the z of another source {use}"


def _nearest(texts: Sequence[str], reference: str) -> str:
    """The text of the highest sentence BLEU."""
    bleu = BLEU(tokenize="none", force=True, effective_order=True)
    return max(texts, key=lambda text: bleu.sentence_score(text, [reference]).score)


def _mean(found: Sequence[float | None]) -> float | None:
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None
