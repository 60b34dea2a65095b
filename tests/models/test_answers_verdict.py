"""What the report of answers may not claim."""

from __future__ import annotations

from lvexp.instruments.answers import _verdict
from lvexp.models.answers import AnswerModel

SCORES = {"map": 0.52, "mrr": 0.55, "questions": 120}


def test_a_model_below_word_counts_says_so():
    line = "answers: MAP 0.5200, MRR 0.5500 over 120 questions"
    assert _verdict(SCORES) == line
    assert _verdict({**SCORES, "map_counts": 0.51}) == line
    assert _verdict({**SCORES, "map_counts": 0.63}) == f"{line}, below word counts alone (MAP 0.6300)"
    assert "no question" in _verdict({"map": None, "mrr": None, "questions": 0})


def test_its_posterior_is_given_the_label():
    assert AnswerModel.sees_labels
