"""Texts drawn from the model, and their diversity."""

from __future__ import annotations

from collections.abc import Sequence

from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.exhibits import sample
from lvexp.instruments.fluency import perplexity
from lvexp.metrics.bleu import self_bleu
from lvexp.metrics.diversity import distinct, share_unknown, spaced
from lvexp.models.base import LatentModel
from lvexp.report.findings import Findings, Group, Score, Section, number, row


class Samples(Instrument):
    r"""``distinct_1``, ``distinct_2``, ``self_bleu`` of ``samples`` texts drawn from the model: z from the prior, words
    from p(x|z) without truncation; for language models too. ``unk``, ``samples_unk``: share of ``<unk>`` among the
    words (all tokens except ``<eos>``) of the test set and of the samples. With ``evaluation.language_model``,
    ``sample_perplexity``, theirs per token under that model ("forward perplexity"; Zhao et al. 2018): the lower, the
    more fluent, and lowest for samples that are all alike."""

    order = 40
    figures = (
        *("distinct_1", "distinct_2", "self_bleu", "samples", "sample_perplexity"),
        *("unk", "samples_unk", "text_unit"),
    )

    def __init__(self, context: Context):
        super().__init__(context)
        self.unknown, self.words = 0, 0

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return "text" in model.reported

    def update(self, look: Look) -> None:
        batch = look.terms.batch
        self.unknown += int((batch.tokens == self.model.vocabulary.special.unk).sum())
        self.words += batch.predicted() - len(batch)  # <eos> is not a word

    def measure(self) -> dict[str, Score]:
        unit = "characters" if self.model.vocabulary.kind == "characters" else "words"
        return {"unk": self.unknown / max(1, self.words), "text_unit": unit}

    def report(self, scores: Scores) -> Findings:
        latent, settings = self.model.latent, self.settings
        if latent.dim is not None and not latent.has_prior:
            return Findings(groups=[self.rows(scores)])
        texts = sample(self.model, settings.samples, settings.max_decode)
        words = spaced(texts) if scores["text_unit"] == "characters" else texts
        found: dict[str, Score] = {"distinct_1": distinct(words, 1), "distinct_2": distinct(words, 2)}
        found |= {"self_bleu": self_bleu(words), "samples": len(texts), "samples_unk": share_unknown(words)}
        if self.context.language_model is not None:
            found["sample_perplexity"] = perplexity(self.context.language_model, texts)
        drawn = "drawn from the model" if latent.dim is None else "decoded from draws of the prior"
        return Findings(scores=found, groups=[self.rows({**scores, **found})], sections=[section(texts, drawn)])

    @staticmethod
    def rows(scores: Scores) -> Group:
        spelled = scores.get("text_unit") == "characters"
        by, pair, unit = (", by characters", "character", "characters") if spelled else ("", "word", "words")
        lacks, count = "no prior", number(scores.get("samples"), ",d")
        rows = [
            row("distinct-1", number(scores.get("distinct_1")), "of 1", f"{unit} of {count} samples", lacks),
            row("distinct-2", number(scores.get("distinct_2")), "of 1", f"{pair} pairs; 1: no repetition", lacks),
            row(
                "self-BLEU", number(scores.get("self_bleu"), ".1f"), "BLEU",
                f"samples{by}" if spelled else "samples against each other", lacks,
            ),
        ]  # fmt: skip
        if scores.get("sample_perplexity") is not None:
            fluent = number(scores["sample_perplexity"], ".1f")
            rows.append(("perplexity", fluent, "per token", "of the samples, under the language model"))
        if scores.get("unk") is not None:
            known = scores.get("samples_unk")
            drawn = "" if known is None else f"; samples {number(known, '.1%')}"
            rows.append(
                ("<unk>", number(scores["unk"], ".1%"), "", f"of test {scores.get('text_unit') or 'words'}{drawn}")
            )
        return "Text", rows


def section(texts: Sequence[str], drawn: str) -> Section:
    """Samples to read; ``drawn`` says how."""
    width = len(str(len(texts)))
    return Section(
        "Samples",
        [(f"{number:>{width}}  ", text or "(empty)") for number, text in enumerate(texts, 1)],
        f"texts {drawn}",
        columns=("sample",),
        rows=[(text,) for text in texts],
        brief=texts[:5],
        place=1,
    )
