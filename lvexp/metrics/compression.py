"""How much of a text a shorter one keeps, by the words of references."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Sequence
from typing import Any

ROUGE = ("rouge1", "rouge2", "rougeL")


def f1(found: Sequence[str], reference: Sequence[str]) -> float:
    """F1 of the words of a text against those of a reference, each counted as often as it occurs (Filippova & Altun
    2013 compare the words that a compression keeps); 0 without a common word, 1 if both are empty."""
    if not found and not reference:
        return 1.0
    common = (Counter(found) & Counter(reference)).total()
    return 2 * common / (len(found) + len(reference))


def rouge(found: str, references: Sequence[str]) -> dict[str, float]:
    """F1 of ROUGE-1, -2 and -L (Lin 2004) by rouge-score, without stemming; the best of several references."""
    return {name: float(score.fmeasure) for name, score in _scorer().score_multi(list(references), found).items()}


@functools.cache
def _scorer() -> Any:
    from rouge_score import rouge_scorer  # takes half a second, and few reports need it

    return rouge_scorer.RougeScorer(list(ROUGE))
