"""BLEU by sacrebleu, without further tokenisation."""

from __future__ import annotations

from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU


def corpus_bleu(written: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-4 (Papineni et al. 2002), 0 to 100, one reference for each text.

    The texts are taken as tokenised: words are separated by blanks (sacrebleu, ``tokenize="none"``), so the figure is
    comparable between models of one corpus, not with papers on other corpora. In a corpus of characters, blanks are
    inserted between them first (:func:`lvexp.metrics.diversity.spaced`).
    """
    return BLEU(tokenize="none", force=True).corpus_score(list(written), [list(references)]).score


def self_bleu(texts: Sequence[str]) -> float | None:
    """Mean BLEU-4 of each text against all others (Zhu et al. 2018), 0 to 100; lower is more diverse.

    It grows with the number of texts, and its cost with the square: compare figures only for the same number (100
    here). Texts shorter than four words use the n-gram orders they have; an empty text scores 0. None for fewer than
    two texts.
    """
    if len(texts) < 2:
        return None
    bleu = BLEU(tokenize="none", force=True, effective_order=True)
    scores = [
        bleu.sentence_score(text, [*texts[:number], *texts[number + 1 :]]).score for number, text in enumerate(texts)
    ]
    return sum(scores) / len(scores)


def mean_bleu(written: Sequence[str], references: Sequence[str]) -> float | None:
    """Mean of the texts' BLEU-4 without smoothing, 0 to 100, as papers on transfer of style print it: a text without a
    common sequence of four words scores 0. It can differ from :func:`corpus_bleu` by more than ten points. None without
    texts."""
    bleu = BLEU(tokenize="none", force=True, smooth_method="none")
    pairs = zip(written, references, strict=True)
    scores = [bleu.corpus_score([text], [[reference]]).score for text, reference in pairs]
    return sum(scores) / len(scores) if scores else None
