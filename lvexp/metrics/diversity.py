"""How many different words and word pairs a set of texts holds."""

from __future__ import annotations

from collections.abc import Sequence


def distinct(texts: Sequence[str], order: int) -> float | None:
    """distinct-n: different n-grams over all n-grams of all texts, 0 to 1 (after Li et al. 2016).

    They divide by the number of words, we by the number of n-grams, as most code since: equal for n = 1, and 1 means
    no repetition for any n. Falls with the number of texts: compare at one number only. None without any n-gram.
    """
    grams = []
    for text in texts:
        words = text.split()
        grams += [tuple(words[at : at + order]) for at in range(len(words) - order + 1)]
    return len(set(grams)) / len(grams) if grams else None
