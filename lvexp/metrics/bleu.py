"""BLEU by sacrebleu, on texts as they are."""

from __future__ import annotations

from collections.abc import Sequence

from sacrebleu.metrics.bleu import BLEU


def corpus_bleu(written: Sequence[str], references: Sequence[str]) -> float:
    """Corpus BLEU-4 (Papineni et al. 2002), 0 to 100, one reference for each text.

    The texts are taken as tokenised: words are what blanks separate (sacrebleu, ``tokenize="none"``), so the figure
    compares between models of one corpus, not with papers on others. For a corpus of characters those are set apart
    first (:func:`lvexp.metrics.diversity.spaced`).
    """
    return BLEU(tokenize="none", force=True).corpus_score(list(written), [list(references)]).score


def self_bleu(texts: Sequence[str]) -> float | None:
    """Mean BLEU-4 of each text against all others (Zhu et al. 2018), 0 to 100; lower is more diverse.

    Grows with the number of texts and costs its square: compare at one number only (100 here). Texts shorter than
    four words use the orders they have; an empty text scores 0. None for fewer than two texts.
    """
    if len(texts) < 2:
        return None
    bleu = BLEU(tokenize="none", force=True, effective_order=True)
    scores = [
        bleu.sentence_score(text, [*texts[:number], *texts[number + 1 :]]).score for number, text in enumerate(texts)
    ]
    return sum(scores) / len(scores)
