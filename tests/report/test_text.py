from __future__ import annotations

import tiny

from lvexp.instruments.evaluate import Evaluation, evaluate
from lvexp.instruments.settings import EvaluationSettings
from lvexp.report.text import samples_text


def told(evaluation):
    return samples_text(evaluation.verdict, evaluation.sections)


def test_all_texts_under_their_headings(evaluation):
    text = told(evaluation)
    samples, rest = text.split("Reconstructions\n===", 1)
    reconstructions, interpolations = rest.split("Interpolations\n===", 1)
    assert samples.startswith(evaluation.verdict)
    assert "Samples\n=======" in samples
    assert "1  play some music\n2  (empty)\n3  book a table for two" in samples
    assert "1 of 2 are exact, marked =" in reconstructions
    assert "  play jazz\n= play jazz" in reconstructions
    assert "  rate this book\n→ rate this album" in reconstructions
    assert "0.00  play jazz\n0.50  rate jazz\n1.00  rate this book" in interpolations
    assert interpolations.index("from  play jazz") < interpolations.index("0.00") < interpolations.index("  to  rate")


def test_long_texts_go_on_below_their_start_and_lose_no_word(evaluation):
    text = told(evaluation)
    assert max(map(len, text.splitlines())) <= 100
    shown = text[text.index("3  book") + 3 : text.index("Reconstructions")]
    assert shown.split() == evaluation.sections[0].rows[2][0].split()
    assert shown.splitlines()[1].startswith("   ")


def test_blank_lines_come_one_at_a_time_and_not_last(evaluation):
    text = told(evaluation)
    assert "\n\n\n" not in text
    assert text.endswith("rate this book\n")


def test_a_language_model_has_samples_only():
    text = told(evaluate(tiny.model("none"), tiny.corpus(), EvaluationSettings(samples=3, max_decode=5)))
    assert "drawn from the model" in text
    assert "prior" not in text
    assert "Reconstructions" not in text


def test_an_evaluation_without_texts_is_its_verdict():
    assert told(Evaluation(scores={}, verdict="collapsed")) == "collapsed\n"
