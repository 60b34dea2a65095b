"""How many different words and word pairs a set of texts contains."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lvexp.data.special import TOKENS, UNK

_CHARACTER = re.compile(rf"{TOKENS[UNK]}|\S")

_BLANK = "\u2423"  # an open box: stands for a blank that is itself a character of the text


def spaced(texts: Sequence[str]) -> list[str]:
    """Texts of characters with blanks between them, as BLEU and distinct-n expect; ``<unk>`` is one character."""
    return [" ".join(_CHARACTER.findall(text.replace(" ", _BLANK))) for text in texts]


def share_unknown(texts: Sequence[str]) -> float | None:
    """Share of ``<unk>`` among the words of texts; None if there are no words."""
    words = [word for text in texts for word in text.split()]
    return words.count(TOKENS[UNK]) / len(words) if words else None


def distinct(texts: Sequence[str], order: int) -> float | None:
    """distinct-n: distinct n-grams over all n-grams of all texts, 0 to 1 (after Li et al. 2016).

    They divide by the number of words; we divide by the number of n-grams, as most later code does. The two are equal
    for n = 1, and here 1 means no repetition for any n. The figure falls with the number of texts: compare it only for
    the same number. None if there are no n-grams.
    """
    grams = []
    for text in texts:
        words = text.split()
        grams += [tuple(words[at : at + order]) for at in range(len(words) - order + 1)]
    return len(set(grams)) / len(grams) if grams else None
