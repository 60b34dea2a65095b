"""How a language relates what is said to what is meant."""

from __future__ import annotations

import collections
import math
from collections.abc import Hashable, Sequence

import numpy as np

Message = tuple[int, ...]


def entropy(values: Sequence[Hashable]) -> float:
    """Entropy of the values that occur, nats."""
    shares = [count / len(values) for count in collections.Counter(values).values()]
    return -sum(share * math.log(share) for share in shares) + 0.0


def information(first: Sequence[Hashable], second: Sequence[Hashable]) -> float:
    """Mutual information of two columns, nats."""
    return entropy(first) + entropy(second) - entropy([*zip(first, second, strict=True)])


def topographic_similarity(messages: Sequence[Message], meanings: Sequence[Message]) -> float | None:
    """Spearman correlation of the distances of all pairs: the edit distance of their messages (Levenshtein 1966), and
    the number of attributes in which their meanings differ (Brighton & Kirby 2006). 1: alike where the other is alike;
    None if all messages are equally far from each other."""
    from scipy.stats import spearmanr
    from torchmetrics.functional.text import edit_distance

    pairs = [(a, b) for a in range(len(messages)) for b in range(a)]
    letters = ["".join(map(chr, message)) for message in messages]  # a character for each symbol
    firsts, seconds = ([letters[pair[side]] for pair in pairs] for side in (0, 1))
    said = edit_distance(firsts, seconds, reduction="none").tolist() if pairs else []
    meant = [sum(x != y for x, y in zip(meanings[a], meanings[b], strict=True)) for a, b in pairs]
    if len(set(said)) < 2 or len(set(meant)) < 2:
        return None
    return float(spearmanr(said, meant)[0])  # pyright: ignore[reportArgumentType]


def disentanglement(columns: Sequence[Sequence[Hashable]], meanings: Sequence[Message]) -> float | None:
    r"""Whether each column tells of one attribute alone (Chaabouni et al. 2020, eq. 1):

    .. math:: \frac{1}{C} \sum_c \frac{I(c; a_1) - I(c; a_2)}{H(c)}

    where a_1 and a_2 are the attributes about which c has most information. Columns that never vary do not count; None
    if none does. With the positions of messages as columns it is their positional disentanglement, with the number of
    times that each symbol occurs their bag-of-symbols disentanglement.
    """
    attributes = [*zip(*meanings, strict=True)]
    gaps = []
    for column in columns:
        if (spread := entropy(column)) > 1e-9:
            best = sorted((information(column, attribute) for attribute in attributes), reverse=True)
            gaps.append((best[0] - best[1]) / spread)
    return float(np.mean(gaps)) if gaps and len(attributes) > 1 else None


def positions(messages: Sequence[Message], length: int) -> list[list[int]]:
    """The symbol at each position, -1 after the end."""
    return [[message[at] if at < len(message) else -1 for message in messages] for at in range(length)]


def counts(messages: Sequence[Message], symbols: int) -> list[list[int]]:
    """How often each symbol occurs in each message."""
    return [[message.count(symbol) for message in messages] for symbol in range(symbols)]
