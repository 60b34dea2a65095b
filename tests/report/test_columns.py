"""Figures of runs as columns."""

from __future__ import annotations

import statistics

import pytest
from results import result

from lvexp.errors import ConfigError
from lvexp.report import columns

SVAE = [result("a", seed, nll=float(seed), elbo=-2.0 - seed, distortion=4.0, rate=2.0, ppl=4.0) for seed in (1, 2, 4)]
RNNLM = [result("b", 1, nll=1.5, elbo=-1.5, nll_kind="exact", mi_exact=True, distinct_1=0.03)]


def test_mean_and_deviation_are_over_seeds_and_absent_where_a_run_lacks_the_figure():
    assert columns.spread(SVAE, "nll") == (pytest.approx(7 / 3), pytest.approx(statistics.stdev([1, 2, 4])))
    assert columns.spread(RNNLM, "nll") == (1.5, None)
    assert columns.spread(RNNLM, "rate") is None
    assert columns.spread([*SVAE, *RNNLM], "rate") is None
    assert columns.spread(SVAE, "nelbo") == (pytest.approx(13 / 3), pytest.approx(statistics.stdev([1, 2, 4])))
    assert columns.spread(SVAE, "valid.nelbo") == (pytest.approx(14 / 3), pytest.approx(statistics.stdev([2, 4, 8])))
    assert columns.spread(SVAE, "seconds") == (pytest.approx(70 / 3), pytest.approx(statistics.stdev([10, 20, 40])))


@pytest.mark.parametrize(
    ("test", "wanted"),
    [
        ({"nll": 1.0, "elbo": -1.0, "rate": 1.0, "recon_bleu": 2.0}, "nll nelbo rate recon_bleu"),
        ({"nll": 1.0, "elbo": -1.0, "bleu": 2.0, "chrf": 3.0, "recon_bleu": None}, "nll nelbo bleu chrf"),
        ({"nll": 1.0, "elbo": -1.0, "map": 0.5, "mrr": 0.6}, "map mrr nll"),
        ({"nll": 1.0, "elbo": -1.0, "ppl_document": 9.0, "npmi": 0.1, "accuracy": 0.5}, "ppl_document npmi accuracy"),
        ({"nll": 1.0, "elbo": -1.0, "code_perplexity": 2.0, "class_accuracy": 0.5},
         "nll nelbo code_perplexity class_accuracy"),
    ],
)  # fmt: skip
def test_each_kind_of_model_has_its_usual_figures(test: dict, wanted: str):
    found = columns.usual([[result("a", 1, **test)]])
    assert [column.key for column in found] == [*wanted.split(), "seconds"]


def test_models_of_two_kinds_share_a_table_and_no_title_is_there_twice():
    found = columns.usual([[result("a", 1, nll=1.0, recon_bleu=1.0)], [result("b", 1, nll=1.0, bleu=1.0)]])
    assert [column.label for column in found] == ["NLL", "recon_bleu", "bleu", "seconds"]


def test_any_figure_may_be_asked_for():
    asked = ["rate", "test.nll", "nelbo", "valid.nelbo", "seconds", "ppl", "distinct_1"]
    found = columns.named(asked, [*SVAE, *RNNLM])
    assert [column.label for column in found] == [
        "R", "NLL", "-ELBO", "valid.nelbo", "seconds", "ppl", "distinct_1",
    ]  # fmt: skip
    assert found[-1].digits == 4


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("rat", "--figures rat: none of these runs has this figure\ntry  rate"),
        ("nelb0", "try  nelbo | elbo | valid.nelbo"),
        ("distinkt", "try  distinct_1"),
        ("xyz", "try  nll | elbo"),
        ("nll_kind", "--figures nll_kind: it is not a number"),
        ("mi_exact", "is not a number"),
    ],
)
def test_an_unknown_figure_gets_its_neighbours(asked: str, said: str):
    with pytest.raises(ConfigError) as told:
        columns.named(["nll", asked], [*SVAE, *RNNLM])
    assert said in str(told.value)
