from __future__ import annotations

import dataclasses

from lvexp.instruments.evaluate import Evaluation
from lvexp.report.text import samples_text


def test_all_texts_under_their_headings(evaluation):
    text = samples_text(evaluation)
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
    text = samples_text(evaluation)
    assert max(map(len, text.splitlines())) <= 100
    shown = text[text.index("3  book") + 3 : text.index("Reconstructions")]
    assert shown.split() == evaluation.samples[2].split()
    assert shown.splitlines()[1].startswith("   ")


def test_blank_lines_come_one_at_a_time_and_not_last(evaluation):
    text = samples_text(evaluation)
    assert "\n\n\n" not in text
    assert text.endswith("rate this book\n")


def test_a_language_model_has_samples_only(evaluation):
    bare = dataclasses.replace(evaluation, means=None, reconstructions=(), interpolations=())
    text = samples_text(bare)
    assert "drawn from the model" in text
    assert "prior" not in text
    assert "Reconstructions" not in text


def test_an_evaluation_without_texts_is_its_verdict():
    assert samples_text(Evaluation(scores={}, verdict="collapsed")) == "collapsed\n"
