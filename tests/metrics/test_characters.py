"""Texts of characters, and words that the vocabulary does not know."""

from __future__ import annotations

import pytest
import tiny

from lvexp.data.vocabulary import Vocabulary
from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.settings import EvaluationSettings
from lvexp.metrics.bleu import corpus_bleu
from lvexp.metrics.diversity import distinct, share_unknown, spaced

SMALL = EvaluationSettings(iw_samples=2, samples=4, max_decode=6)


def test_characters_are_set_apart_blanks_and_unknown_ones_among_them():
    assert spaced(["ab c", "x<unk>y", ""]) == ["a b ␣ c", "x <unk> y", ""]


def test_distinct_and_bleu_of_characters_count_characters():
    texts = ["abab", "ab b"]
    assert distinct(spaced(texts), 1) == pytest.approx(3 / 8)  # a, b and the blank, of eight
    assert distinct(texts, 1) == 1.0, "as words all are different"
    assert corpus_bleu(spaced(["abcdef"]), spaced(["abcdeg"])) > 50
    assert corpus_bleu(["abcdef"], ["abcdeg"]) == 0


def test_the_share_of_unknown_words():
    assert share_unknown(["a <unk> b <unk>", "c"]) == pytest.approx(2 / 5)
    assert share_unknown(["", " "]) is None


@pytest.mark.parametrize("kind", ["words", "characters"])
def test_the_report_says_what_it_compared(kind):
    model = tiny.model("none")
    if kind == "characters":
        model.vocabulary = Vocabulary.train(["".join(tiny.WORDS)], kind, max_size=100, min_count=1, lowercase=False)
    found = evaluate(model, [tiny.encode("a b x", "c"), tiny.encode("x")], SMALL)  # no x in the vocabulary
    assert found.scores["text_unit"] == kind
    assert found.scores["unk"] == pytest.approx(2 / 5)
    (samples,) = (part for part in found.sections if part.title == "Samples")
    texts = [text for (text,) in samples.rows]
    words = spaced(texts) if kind == "characters" else texts
    assert found.scores["distinct_1"] == distinct(words, 1)
    assert found.scores["samples_unk"] == share_unknown(words)
