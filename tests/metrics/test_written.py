"""BLEU, self-BLEU and distinct-n."""

from __future__ import annotations

import math

import pytest
import sacrebleu

from lvexp.metrics.bleu import corpus_bleu, self_bleu
from lvexp.metrics.diversity import distinct


def test_bleu_by_hand():
    # 4/5 words, 3/4 pairs, 2/3 triples, 1/2 quadruples, no brevity penalty
    assert corpus_bleu(["a b c d e"], ["a b c d f"]) == pytest.approx(100 * (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25)
    # all n-grams match; four words for five cost exp(1 - 5/4)
    assert corpus_bleu(["a b c d"], ["a b c d e"]) == pytest.approx(100 * math.exp(-1 / 4))


def test_bleu_is_sacrebleus_on_tokenised_text():
    written = ["the cat , sat on the mat .", "it 's <unk> day", ""]
    references = ["the cat , sat on a mat .", "it 's a nice <unk> day", "well"]
    expected = sacrebleu.corpus_bleu(written, [references], tokenize="none", force=True).score
    assert corpus_bleu(written, references) == pytest.approx(expected)
    assert 0 < expected < 100


def test_bleu_counts_over_the_corpus_not_the_mean_of_sentences():
    both = corpus_bleu(["a b c d", "x y z w v u"], ["a b c d", "x y z w r s"])
    alone = [corpus_bleu(["a b c d"], ["a b c d"]), corpus_bleu(["x y z w v u"], ["x y z w r s"])]
    assert both != pytest.approx(sum(alone) / 2, abs=0.5)


def test_words_are_what_blanks_separate():
    assert corpus_bleu(["a b c d, e"], ["a b c d , e"]) < 100


def test_self_bleu():
    assert self_bleu(["a b c d e"] * 4) == pytest.approx(100)
    assert self_bleu(["a b c d", "e f g h", "i j k l"]) == pytest.approx(0)
    one = sacrebleu.sentence_bleu("a b c d e", ["a b c d f", "x y"], tokenize="none", use_effective_order=True).score
    two = sacrebleu.sentence_bleu("a b c d f", ["a b c d e", "x y"], tokenize="none", use_effective_order=True).score
    assert self_bleu(["a b c d e", "a b c d f", "x y"]) == pytest.approx((one + two + 0) / 3)
    assert self_bleu(["a"]) is None


def test_distinct_by_hand():
    texts = ["a b a", "b a", ""]
    assert distinct(texts, 1) == pytest.approx(2 / 5)
    assert distinct(texts, 2) == pytest.approx(2 / 3)  # ab ba ba; no pair across texts
    assert distinct(["a", ""], 2) is None
