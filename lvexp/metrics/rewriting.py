"""How well texts were rewritten into another class."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lvexp.metrics.bleu import corpus_bleu, mean_bleu
from lvexp.metrics.judge import Judge
from lvexp.report.findings import Score


def rewriting(
    written: Sequence[str],
    classes: Sequence[int],
    texts: Sequence[str],
    judge: Judge,
    people: Sequence[str] | None = None,
) -> dict[str, Score]:
    """``accuracy``: share of the written texts that are of the wanted class; ``self_bleu``, ``self_bleu_corpus``: BLEU
    with the texts that they were made from, as a mean over texts without smoothing and of the corpus; ``g``:
    :func:`geometric`; with rewrites by ``people``, ``bleu`` and ``bleu_corpus`` with these.

    Args:
        written: texts, at least one. classes: the class that each was to have. texts: what each was made from.
    """
    accuracy, kept = judge.accuracy(written, classes), mean_bleu(written, texts)
    assert accuracy is not None
    assert kept is not None
    found: dict[str, Score] = {"accuracy": accuracy, "self_bleu": kept, "g": geometric(accuracy, kept)}
    found["self_bleu_corpus"] = corpus_bleu(written, texts)
    if people is not None:
        found |= {"bleu": mean_bleu(written, people), "bleu_corpus": corpus_bleu(written, people)}
    return found


def geometric(accuracy: float, bleu: float) -> float:
    """Geometric mean of an accuracy, in percent, and BLEU."""
    return math.sqrt(100 * accuracy * bleu)
