"""Rows that say what a figure is worth."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from tabled import grouped

from lvexp.report.curves import curves_figure
from lvexp.report.table import show


def told(result, **scores):
    file = io.StringIO()
    result["test"] |= scores
    result["groups"] = grouped(result["test"])
    show(result, Console(file=file, width=80))
    lines = [line.strip("│ ") for line in file.getvalue().splitlines()]
    return file.getvalue(), {line.split("  ")[0]: " ".join(line.split()) for line in lines}


def test_how_many_draws_a_likelihood_rests_on(result):
    _, rows = told(result)
    assert rows["effective draws"] == "effective draws 41.3 of 100 mean over texts"


def test_a_likelihood_that_rests_on_few_draws_says_so(result):
    text, rows = told(result, iw_effective=6.2, iw_few=0.83)
    assert rows["effective draws"].startswith("effective draws 6.2 of 100 below 10 for 83%")
    assert "too large" in text


def test_a_mutual_information_has_its_error(result):
    assert "2.83 ±0.02 nats" in told(result)[1]["mutual information"]
    assert "±" not in told(result, mi_se=0.0, mi_exact=True)[1]["mutual information"]


@pytest.mark.parametrize("key", ["mi", "mi_batch", "rate", "elbo", "distortion", "nll", "nll_iw"])
def test_nothing_is_minus_zero(result, key):
    assert "-0.0" not in told(result, **{key: -0.0001})[0]
    assert "-0.0" not in told(result, **{key: 0.0001})[0]


def test_what_is_unknown_is_told_and_much_of_it_with_advice(result):
    text, rows = told(result, unk=0.034, samples_unk=0.02, text_unit="words")
    assert rows["<unk>"] == "<unk> 3.4% of test words; samples 2.0%"
    assert "data.vocabulary" not in text
    text, _ = told(result, unk=0.31)
    for advice in ("31% of the test set is <unk>", "data.vocabulary.max_size", "min_count", "kind=bpe"):
        assert advice in text


def test_characters_are_named(result):
    _, rows = told(result, text_unit="characters")
    assert "by characters" in rows["reconstruction"]
    assert "by characters" in rows["self-BLEU"]
    assert "characters of 100 samples" in rows["distinct-1"]
    assert "character pairs" in rows["distinct-2"]


def test_a_probe_stands_beside_the_majority(result):
    _, rows = told(result, probe_accuracy=0.813, majority_accuracy=0.141)
    assert rows["linear probe"] == "linear probe 81.3% right labels; most frequent: 14.1%"


def test_a_floor_is_told_and_who_set_it(result):
    _, rows = told(result, rate_floor=3, rate_floor_by="free_bits")
    assert rows["floor"] == "floor 3.00 nats/text set by free_bits"


def test_values_that_are_hardly_likelier_are_not_in_use(result):
    text, rows = told(result, mi=0.02, code_perplexity=4.36, code_values=8)
    assert "values in use" not in text
    assert rows["modes"] == "modes 4.36 of 8 perplexity; they tell nothing"
    assert "values in use" in told(result, mi=0.9)[0]


def test_healthy_claims_no_more_than_it_knows(result):
    assert "how good the model is" in told(result)[0]
    result["verdict"] = "weak: rate 0.5 nats"
    assert "how good the model is" not in told(result)[0]


def test_noise_about_zero_is_not_drawn_at_full_height():
    rows = [{"step": step, "val/mi": 0.001 * step, "val/active_units": 0.0} for step in range(4)]
    tops = {axes.get_title(loc="left").split(",")[0]: axes.get_ylim()[1] for axes in curves_figure(rows).axes}
    assert tops["Mutual information"] >= 0.1
    assert tops["Active units"] >= 1
