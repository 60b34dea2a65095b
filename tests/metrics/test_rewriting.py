"""The figures of rewritten texts, against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from lvexp.metrics.judge import Judge
from lvexp.metrics.rewriting import geometric, rewriting

#: bad is class 0, good 1
JUDGE = Judge(["bad", "good"] * 4, [0, 1] * 4)


def test_figures_of_two_texts_by_hand():
    """The one lacks a word of its original at the end, the other is a copy and still of its old class."""
    texts, people = ["it is so very bad", "it is so good"], ["it is so very good !", "so bad"]
    written = ["it is so very", "it is so good"]
    found = rewriting(written, [0, 0], texts, JUDGE, people)
    right = JUDGE(["it is so very"])[0] == 0
    assert found["accuracy"] == (1 if right else 0) / 2
    # all sequences match; four words for five cost exp(1 - 5/4), in the corpus eight for nine exp(1 - 9/8)
    first = 100 * math.exp(-1 / 4)
    assert found["self_bleu"] == pytest.approx((first + 100) / 2)
    assert found["self_bleu_corpus"] == pytest.approx(100 * math.exp(-1 / 8))
    # of the rewrites: four words for six; and no common sequence of four words
    assert found["bleu"] == pytest.approx(100 * math.exp(1 - 6 / 4) / 2)
    # 5 of 8 words, 3 of 6 pairs, 2 of 4 triples, 1 of 2 quadruples; as many words as the rewrites have
    assert found["bleu_corpus"] == pytest.approx(100 * (5 / 8 * 3 / 6 * 2 / 4 * 1 / 2) ** 0.25)


def test_the_geometric_mean_is_of_two_figures_in_percent():
    assert geometric(0.5, 32.0) == pytest.approx(40)
    assert geometric(1.0, 100.0) == pytest.approx(100)
    found = rewriting(["it is so good", "it is so very bad"], [1, 1], ["it is so good", "it is so very bad"], JUDGE)
    assert found == pytest.approx(
        {"accuracy": 0.5, "self_bleu": 100, "g": math.sqrt(50 * 100), "self_bleu_corpus": 100}
    )
