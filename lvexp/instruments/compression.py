"""Compressions of texts, beside references and trivial ones."""

from __future__ import annotations

import json
from collections.abc import Sequence

import torch
from torchmetrics import MeanMetric

from lvexp.data import lines
from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.exhibits import reconstruct, sample, spread
from lvexp.metrics.compression import ROUGE, f1, rouge
from lvexp.models.base import LatentModel
from lvexp.models.codec import Codec, known
from lvexp.report.findings import Findings, Group, Row, Score, Section, number
from lvexp.shapes import Shaped, Tensor

#: system → what it is; the first is the model
SYSTEMS = {
    "": "the most probable words",
    "lead": "the first words, as many as the model writes",
    "half": "the first half",
    "all": "the whole text",
}
FIGURES = ("token_f1", *ROUGE)
NEGLIGIBLE, LITTLE = 0.1, 1.0  # nats that a wrong compression must cost
_SAMPLES = 20


class Compression(Instrument):
    """Of compressions of the most probable words, one after the other: ``compression_words``, their mean number;
    ``compression_ratio``, the share of the texts' words, a mean over texts; ``copied``, the share of their words that
    the text has; ``words_used``, how many different words they have in all.

    ``rate_length`` is the part of the rate that is about where a compression ends, ``rate_words`` the rest, nats per
    text. If the decoder was trained, ``distortion_point`` is -log p(s|c) at these compressions, ``distortion_other``
    the same with the one of another text: equal if what is written does not depend on c.

    Where compressions are known, ``token_f1`` and F1 of ``rouge1``, ``rouge2``, ``rougeL`` (0 to 1), mean over texts;
    the same as ``lead_…`` of the first words of the text, as many as the model wrote, ``half_…`` of its first half and
    ``all_…`` of the whole text. Unknown words count as words that are not the same. ``compressions``: how many texts.
    With a file of references, those count.

    Validations measure ``token_f1`` and ``compression_loss`` = 1 - ``token_f1``, if that selects the best one. The file
    ``written.jsonl`` has all texts, compressions and references in the order of the test set.
    """

    order = 0

    def __init__(self, context: Context):
        super().__init__(context)
        self.f1 = MeanMetric(**context.metric).to(self.model.device)
        self.nats = {name: MeanMetric(**context.metric).to(self.model.device) for name in ("length", "point", "other")}
        self.rows: list[int] = []
        self.texts: list[list[int]] = []
        self.found: list[list[int]] = []
        self.references: list[list[str]] = []
        self.last: Tensor | None = None  # the last value so far, which is another text's for the next

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return isinstance(model, Codec)

    @classmethod
    def validates(cls, model: LatentModel) -> tuple[str, ...]:
        return ("token_f1", "compression_loss") if isinstance(model, Codec) and model.best == "f1" else ()

    def update(self, look: Look) -> None:
        model, terms = self.model, look.terms
        assert isinstance(model, Codec)
        batch, special = terms.batch, model.vocabulary.special
        if not self.context.alone and model.best != "f1":
            return
        value = model.latent.point(terms.q)
        found, there = model.written(value), known(batch, model.vocabulary).tolist()
        sources = [[]] * len(batch) if batch.source is None else batch.source.tolist()
        references = [
            [self._told(_words(row, special.silent), "ref")] if own else []
            for row, own in zip(sources, there, strict=True)
        ]
        if not self.context.alone:
            each = [
                f1(self._told(one, "own").split(), right[0].split())
                for one, right in zip(found, references, strict=True)
                if right
            ]
            if each:
                self.f1.update(torch.tensor(each, device=model.device))
            return
        assert batch.index is not None
        self.rows += batch.index.tolist()
        self.texts += [_words(row, special.silent) for row in batch.tokens.tolist()]
        self.found += found
        self.references += references
        self._weigh(look, value)

    def _weigh(self, look: Look, value: Shaped[Tensor, "B L K"]) -> None:
        """Adds what compressions cost, and what they tell."""
        model, terms = self.model, look.terms
        before = value[-1:] if self.last is None else self.last
        self.last = value[-1:]
        told_apart = (("point", value), ("other", torch.cat([before, value[:-1]])))
        for name, told in told_apart if self._writes else ():
            self.nats[name].update(-model.log_likelihood(terms.batch, terms.reading, model.latent.code(told[None])))
        self.nats["length"].update(terms.q.endings(terms.p, terms.draw.value).sum(-1))  # pyright: ignore

    @property
    def _writes(self) -> bool:
        """Whether the decoder was trained."""
        assert isinstance(self.model, Codec)
        return self.model.reconstruct

    def measure(self) -> dict[str, Score]:
        if not self.context.alone:
            if self.model.best != "f1":  # pyright: ignore
                return {}
            found = float(self.f1.compute())
            return {"token_f1": found, "compression_loss": 1 - found}
        pairs = [*zip(self.found, self.texts, strict=True)]
        kept = [len([word for word in found if word in {*text}]) for found, text in pairs]
        words = sum(map(len, self.found))
        scores: dict[str, Score] = {
            "compression_words": words / len(pairs),
            "compression_ratio": sum(len(found) / max(1, len(text)) for found, text in pairs) / len(pairs),
            "copied": sum(kept) / words if words else None,
            "words_used": len({word for found in self.found for word in found}),
            "distortion_point": float(self.nats["point"].compute()) if self._writes else None,
            "distortion_other": float(self.nats["other"].compute()) if self._writes else None,
            "rate_length": float(self.nats["length"].compute()),
        }
        return scores | self._compared()

    def _compared(self) -> dict[str, Score]:
        """The figures against references; none without these."""
        if (file := self.settings.references) is not None:
            given = lines.references(file, len(self.rows))
            self.references = [given[row] for row in self.rows]
        rows = [at for at, right in enumerate(self.references) if right]
        found: dict[str, Score] = {"compressions": len(rows)}
        for system in SYSTEMS if rows else ():
            written = [self._told(self._shortened(at, system), "own") for at in rows]
            each = [
                {"token_f1": max(f1(text.split(), right.split()) for right in self.references[at])}
                | rouge(text, self.references[at])
                for at, text in zip(rows, written, strict=True)
            ]
            for name in FIGURES:
                found[f"{system}_{name}" if system else name] = sum(scores[name] for scores in each) / len(each)
        return found

    def _shortened(self, at: int, system: str) -> list[int]:
        text = self.texts[at]
        most = {"": 0, "lead": len(self.found[at]), "half": (len(text) + 1) // 2, "all": len(text)}
        return text[: most[system]] if system else self.found[at]

    def _told(self, ids: Sequence[int], of: str) -> str:
        """A text in which an unknown word equals no word of a text of another kind."""
        unknown = self.model.vocabulary.decode([self.model.vocabulary.special.unk])
        return self._plain(ids).replace(unknown, f"unknown{of}")

    # --- the report ----------------------------------------------------------------------------------------------

    def report(self, scores: Scores) -> Findings:
        scores = {**scores, "rate_words": float(scores["rate"] or 0) - float(scores["rate_length"] or 0)}
        return Findings(
            {"rate_words": scores["rate_words"]}, self.groups(scores), _verdict(scores),
            [self._section(), *([self._samples()] if self._writes else [])], files={"written.jsonl": self._file()},
        )  # fmt: skip

    @staticmethod
    def groups(scores: Scores) -> Sequence[Group]:
        if scores.get("compression_words") is None:
            return []
        rows: list[Row] = [
            (
                "words",
                number(scores["compression_words"], ".1f"),
                "a text",
                f"{number(scores['compression_ratio'], '.0%')} of the text's; the most probable",
            ),
            (
                "  copied",
                number(scores["copied"], ".1%"),
                "of the words",
                f"are in the text; {number(scores['words_used'], ',d')} different words in all",
            ),
            ("rate of words", number(scores["rate_words"]), "nats/text", "which words come"),
            ("rate of lengths", number(scores["rate_length"]), "nats/text", "where it ends"),
        ]
        if (told := _gain(scores)) is not None:
            what = f"of D = {number(scores['distortion_point'])} with the text's own; 0: c is not used"
            rows.append(("another text's", f"{told:+.2f}", "nats/text", what))
        if not scores.get("compressions"):
            return [("Compression", rows)]
        each: list[Row] = []
        for system, what in SYSTEMS.items():
            values = {
                name: number(100 * float(scores[f"{system}_{name}" if system else name] or 0), ".1f")
                for name in FIGURES
            }
            each.append((
                system or "model", "/".join(values[name] for name in ROUGE), "R-1/2/L",
                f"F1 of words {values['token_f1']}; {what}",
            ))  # fmt: skip
        return [("Compression", rows), (f"Against {number(scores['compressions'], ',d')} references", each)]

    def _section(self) -> Section:
        shown = spread(len(self.texts), self.settings.reconstructions)
        rows = [
            (self._plain(self.texts[at]), self._plain(self.found[at]), " | ".join(self.references[at]), again)
            for at, again in zip(shown, self._again(shown), strict=True)
        ]
        text = [
            line
            for whole, short, right, again in rows
            for line in (
                ("  ", whole),
                ("→ ", short or "(nothing)"),
                *([("= ", right)] if right else []),
                *([("↺ ", again)] if self._writes else []),
                ("", ""),
            )
        ]
        return Section(
            "Compressions", text, "a text, its compression (→), the known one (=), what is written from the first (↺)",
            ("text", "compression", "reference", "written"), rows,
            brief=[f"{whole}\n→ {short or '(nothing)'}" for whole, short, *_ in rows[:3]], place=1,
        )  # fmt: skip

    def _again(self, rows: Sequence[int]) -> list[str]:
        """The texts that greedy decoding writes from the compressions of some."""
        model = self.model
        assert isinstance(model, Codec)
        if not rows or not self._writes:
            return [""] * len(rows)
        eos = model.vocabulary.special.eos
        ids = torch.full((len(rows), model.latent.speaker.length), eos, device=model.device)
        for at, row in enumerate(rows):
            ids[at, : len(self.found[row])] = torch.tensor(self.found[row], dtype=torch.long)
        return reconstruct(model, model.value(ids), self.settings.max_decode)

    def _samples(self) -> Section:
        texts = sample(self.model, min(_SAMPLES, self.settings.samples), self.settings.max_decode)
        return Section(
            "Samples", [("  ", text or "(empty)") for text in texts], "texts written from draws of p(c)",
            ("sample",), [(text,) for text in texts], brief=[], place=2,
        )  # fmt: skip

    def _plain(self, ids: Sequence[int]) -> str:
        return self.model.vocabulary.decode(ids)

    def _file(self) -> str:
        kept = []
        for at in sorted(range(len(self.rows)), key=self.rows.__getitem__):
            each = {"text": self._plain(self.texts[at]), "compression": self._plain(self.found[at])}
            kept.append(json.dumps({**each, "references": self.references[at]}, ensure_ascii=False))
        return "\n".join(kept) + "\n"


def _gain(scores: Scores) -> float | None:
    """What the compression of another text costs more, nats per text; None if the decoder was not trained."""
    own, other = (scores.get(f"distortion_{name}") for name in ("point", "other"))
    return None if own is None or other is None else float(other) - float(own)


def _verdict(scores: Scores) -> str:
    """Whether the decoder reads c, how short it is, and how it compares with the first words of the text."""
    told, said = _gain(scores), f"{number(scores['compression_ratio'], '.0%')} of the words"
    if told is None:
        said = f"compressions: {said}, learnt from known ones alone"
    else:
        kind = "ignores z" if told < NEGLIGIBLE else "weak" if told < LITTLE else "healthy"
        said = f"{kind}: {said}, another text's costs {told:.2f} nats more"
    if scores.get("rouge1") is None:
        return said
    own, lead = (100 * float(scores[name] or 0) for name in ("rouge1", "lead_rouge1"))
    return f"{said}; ROUGE-1 {own:.1f}, first words {lead:.1f}"


def _words(ids: Sequence[int], silent: Sequence[int]) -> list[int]:
    return [word for word in ids if word not in silent]
