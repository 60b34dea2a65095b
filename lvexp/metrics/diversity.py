"""How many different words and word pairs a set of texts holds."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lvexp.data.special import TOKENS, UNK

_CHARACTER = re.compile(rf"{TOKENS[UNK]}|\S")

_BLANK = "\u2423"  # an open box: a blank that is a character like any other


def spaced(texts: Sequence[str]) -> list[str]:
    """Texts of characters with a blank between any two, as BLEU and distinct-n want their words; ``<unk>`` is one."""
    return [" ".join(_CHARACTER.findall(text.replace(" ", _BLANK))) for text in texts]


def share_unknown(texts: Sequence[str]) -> float | None:
    """Share of ``<unk>`` among the words of texts; None without any word."""
    words = [word for text in texts for word in text.split()]
    return words.count(TOKENS[UNK]) / len(words) if words else None


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
