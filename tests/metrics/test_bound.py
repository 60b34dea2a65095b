from __future__ import annotations

import math

import pytest
import tiny
import torch

from lvexp.metrics.bound import Bound, perplexity

FOUR_LINES = ("a b c", "d", "", "e f")  # 3 + 1 + 0 + 2 words and four <eos>


@pytest.mark.parametrize("latent", ["gaussian", "none"])
def test_uniform_model_has_perplexity_v_on_four_lines(latent):
    model = tiny.model(latent)
    with torch.no_grad():
        model.decoder.output.weight.zero_()  # every token has probability 1/V
        if latent == "gaussian":
            model.latent.linear.weight.zero_()  # q = p: no rate
    metric = Bound()
    metric.update(model.terms(tiny.encode(*FOUR_LINES)))
    found = metric.compute()
    assert found["sentences"] == 4
    assert found["tokens"] == 10
    assert found["ppl"] == pytest.approx(tiny.V)
    assert found["nelbo"] == pytest.approx(10 * math.log(tiny.V) / 4)


def test_sums_over_unequal_batches():
    model = tiny.model().eval()
    metric, distortion, rate, split = Bound(), [], [], []
    for batch in tiny.corpus():
        with torch.no_grad():
            terms = model.terms(batch)
        metric.update(terms)
        distortion.append(terms.distortion)
        rate.append(terms.rate)
        split.append(terms.rate_per_dimension)
    found = metric.compute()
    assert found["distortion"] == pytest.approx(float(torch.cat(distortion).mean()), rel=1e-5)
    assert found["rate"] == pytest.approx(float(torch.cat(rate).mean()), rel=1e-5)
    assert found["rate_per_dimension"] == pytest.approx(torch.cat(split).mean(0).tolist(), rel=1e-5)
    assert sum(found["rate_per_dimension"]) == pytest.approx(found["rate"], rel=1e-5)
    assert found["nelbo"] == pytest.approx(found["distortion"] + found["rate"])
    tokens = sum(len(text.split()) + 1 for text in ("a b c", "c b", "d", "a b c d e f", "e f a b", "f f"))
    tokens += sum(len(text.split()) + 1 for text in ("a a a c", "b", "e d c b a", "c", "d e f"))
    assert found["tokens"] == tokens
    assert found["ppl"] == pytest.approx(math.exp(found["nelbo"] * 11 / tokens))


@pytest.mark.parametrize(("latent", "missing"), [("none", {"rate"}), ("point", {"rate", "nelbo", "ppl"})])
def test_what_does_not_exist_is_none(latent, missing):
    metric = Bound()
    metric.update(tiny.model(latent).terms(tiny.encode("a b")))
    found = metric.compute()
    assert {name for name, value in found.items() if value is None} == missing | {"rate_per_dimension"}


def test_kept_in_float64():
    """Two thousand equal batches: float32 sums would drift in the fifth digit."""
    with torch.no_grad():
        terms = tiny.model("none").terms(tiny.encode("a b c d"))
    metric = Bound()
    for _ in range(2000):
        metric.update(terms)
    assert metric.compute()["distortion"] == pytest.approx(float(terms.distortion), rel=1e-12)


def test_reset_starts_anew():
    model, metric = tiny.model(), Bound()
    metric.update(model.terms(tiny.encode("a b")))
    metric.reset()
    metric.update(model.terms(tiny.encode("c")))
    assert metric.compute()["sentences"] == 1
    assert len(metric.compute()["rate_per_dimension"]) == 3


def test_perplexity_overflows_to_infinity():
    assert perplexity(1e6, 1) == math.inf
    assert math.isnan(perplexity(math.nan, 1))
