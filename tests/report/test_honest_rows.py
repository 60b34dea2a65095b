"""Rows that say what a figure is worth."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lvexp.report.table import show


def told(result, **scores):
    file = io.StringIO()
    result["test"] |= scores
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
    assert "2.83 ±0.021 nats" in told(result)[1]["mutual information"]
    assert "±" not in told(result, mi_se=0.0, mi_exact=True)[1]["mutual information"]


@pytest.mark.parametrize("key", ["mi", "mi_batch", "rate", "elbo", "distortion", "nll", "nll_iw"])
def test_nothing_is_minus_zero(result, key):
    assert "-0.0" not in told(result, **{key: -0.0001})[0]
    assert "-0.0" not in told(result, **{key: 0.0001})[0]
