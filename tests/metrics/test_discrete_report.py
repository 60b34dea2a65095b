"""The report of a discrete z: exact, and about values instead of units."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
import tiny
import torch
from helpers import F32
from torch.distributions import Categorical

from lvexp.instruments.evaluate import evaluate, shipped
from lvexp.instruments.settings import EvaluationSettings
from lvexp.metrics.clustering import clustering
from lvexp.metrics.code_usage import CodeUsage
from lvexp.metrics.likelihood import importance_weighted, marginal
from lvexp.report import figures
from lvexp.report.codes import codes_figure
from lvexp.report.findings import PARTS
from lvexp.report.text import samples_text
from lvexp.report.verdict import verdict

#: every figure of a report, in its order
SCORES = tuple(dict.fromkeys(name for instrument in shipped() for name in instrument.figures))
SMALL = EvaluationSettings(iw_samples=5, samples=6, max_decode=8)


def corpus(labels: bool = True):
    for number, batch in enumerate(tiny.corpus()):
        yield dataclasses.replace(batch, labels=(torch.arange(len(batch)) + number) % 2) if labels else batch


def titles(found):
    return {part.title for part in found.sections}


@pytest.fixture(scope="module")
def found():
    return {name: evaluate(tiny.model(name), corpus(), SMALL, ["one", "two"]) for name in tiny.DISCRETE}


def test_the_exact_perplexity_needs_no_texts(found, monkeypatch: pytest.MonkeyPatch):
    model = tiny.model("categorical")
    monkeypatch.setattr(type(model), "reported", frozenset(PARTS) - {"text"})
    scores = evaluate(model, corpus(), SMALL).scores
    assert scores["samples"] is None
    assert scores["ppl_marginal"] == found["categorical"].scores["ppl_marginal"]


def _values(name):
    """All of them, and their prior probabilities."""
    if name == "categorical":
        return torch.eye(3)[:, None], torch.full((3,), 1 / 3)
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * (3 if name == "binary" else 2))
    if name == "binary":
        return bits, torch.full((8,), 1 / 8)
    values = torch.stack([torch.cat([two, one]) for two in bits for one in torch.eye(3)])
    return values, torch.tensor([0.2, 0.3, 0.5]).repeat(4) / 4


@pytest.mark.parametrize("name", ["categorical", "binary", "blocks"])
def test_the_marginal_is_the_sum_over_all_values(name):
    model = tiny.model(name).eval()
    if name == "blocks":
        with torch.no_grad():
            model.latent.parts["c"].logits.copy_(torch.tensor([0.2, 0.3, 0.5]).log())
    batch = tiny.encode("a b c", "c b", "d")
    total = 0.0
    with torch.no_grad():
        reading = model.read(batch)
        for value, prior in zip(*_values(name), strict=True):
            code = model.latent.code(value.expand(1, 3, *value.shape))
            total = total + model.log_likelihood(batch, reading, code)[0].double().exp() * prior
        torch.testing.assert_close(marginal(model, batch), -total.log(), **F32)
        torch.testing.assert_close(marginal(model, batch, reading, positions=4), -total.log(), **F32)
        torch.manual_seed(0)
        flat = torch.zeros_like(model.params(reading))  # a posterior that misses no value
        drawn = importance_weighted(model, model.terms(batch, params=flat), 3000)
    assert ((drawn.nll - marginal(model, batch)).abs() < 4.5 * drawn.error + 1e-4).all()


def test_figures_fit_together(found):
    for name in ("categorical", "binary", "blocks"):
        scores = found[name].scores
        assert tuple(scores) == SCORES
        assert scores["nll_kind"] == "exact marginal"
        assert scores["nll"] <= -scores["elbo"] == pytest.approx(scores["distortion"] + scores["rate"])
        assert scores["ppl_marginal"] == pytest.approx(math.exp(scores["nll"] * 11 / scores["tokens"]))
        for absent in ("nll_iw", "ppl_iw", "iw_samples", "active_units", "class_accuracy"):
            assert scores[absent] is None
        assert 1 <= scores["code_perplexity"] <= scores["code_values"] == (2 if name == "binary" else 3)
        assert scores["mi_exact"]
        assert 0 <= scores["mi"] <= scores["rate"]
        assert scores["mi_cap"] == pytest.approx(math.log({"categorical": 3, "binary": 8, "blocks": 11}[name]))
        assert "Interpolations" not in titles(found[name])
        assert "projection" not in found[name].pictures
        assert len(found[name].pictures["codes"].args[0]) == 11
        assert "Reconstructions" in titles(found[name])
        used = scores["mi"] >= 0.1 or scores["code_perplexity"] < 1.03
        assert ("values in use" in found[name].verdict) is used
        assert ("values, which tell next to nothing" in found[name].verdict) is not used
    scores = found["mixed"].scores
    assert scores["nll_kind"] == "importance-weighted"
    assert scores["mi_exact"] is False
    assert scores["active_units"] <= 3
    assert scores["latent_dim"] == 4
    assert "Interpolations" in titles(found["mixed"]), "in what is continuous"
    assert len(found["mixed"].pictures["projection"].args[0][0]) == 3
    assert "active units" in found["mixed"].verdict
    assert "values in use" in found["mixed"].verdict


def test_without_labels_there_are_no_clusters_to_judge():
    scores = evaluate(tiny.model("categorical"), corpus(labels=False), SMALL).scores
    assert scores["cluster_accuracy"] is None
    assert scores["code_perplexity"] is not None


def test_usage_is_the_perplexity_of_the_modes():
    probabilities = torch.tensor([[[0.6, 0.4, 0.0]], [[0.5, 0.3, 0.2]], [[0.1, 0.8, 0.1]], [[0.9, 0.05, 0.05]]])
    metric = CodeUsage()
    for part in probabilities.split(3):
        metric.update(part)
    shares = torch.tensor([0.75, 0.25, 0.0])
    assert metric.compute()["usage"] == [shares.tolist()]
    assert metric.compute()["code_perplexity"] == pytest.approx(Categorical(shares).entropy().exp().item())
    two = CodeUsage()
    two.update(torch.tensor([[[0.9, 0.1], [0.9, 0.1]], [[0.9, 0.1], [0.1, 0.9]]]))
    assert two.compute()["code_perplexity"] == pytest.approx((1 + 2) / 2), "mean over variables"


def test_clustering_against_scikit_learn():
    rng = np.random.default_rng(0)
    truth, noise = rng.integers(0, 3, 200), rng.integers(0, 4, 200)
    clusters = np.where(rng.random(200) < 0.7, (truth + 1) % 3, noise)
    scores = clustering(clusters[:, None].tolist(), truth.tolist())
    assert scores["cluster_nmi"] == pytest.approx(sklearn.metrics.normalized_mutual_info_score(truth, clusters))
    assert scores["cluster_ari"] == pytest.approx(sklearn.metrics.adjusted_rand_score(truth, clusters))
    import itertools

    best = max(
        sum(((clusters == cluster) & (truth == kind)).sum() for kind, cluster in enumerate(order))
        for order in itertools.permutations(range(4), 3)
    )
    assert scores["cluster_accuracy"] == pytest.approx(best / 200)


def test_clusters_of_several_variables_and_texts_without_a_label():
    assigned, labels = [[0, 1], [0, 1], [1, 1], [1, 0], [0, 0]], [2, 2, 0, 1, -1]
    assert clustering(assigned, labels) == {"cluster_accuracy": 1.0, "cluster_nmi": 1.0, "cluster_ari": 1.0}
    assert clustering(assigned, [-1] * 5) is None
    alone = clustering([[3]] * 4, [0, 1, 0, 1])
    assert alone["cluster_accuracy"] == 0.5
    assert alone["cluster_nmi"] == alone["cluster_ari"] == 0


def test_a_verdict_on_values(found):
    scores = dict(found["categorical"].scores) | {"mi": 1.4, "rate": 1.5, "code_perplexity": 5.2, "code_values": 7}
    assert verdict(scores) == "healthy: rate 1.50 nats, 5.20 of 7 values in use, MI 1.40"
    assert verdict(scores | {"code_perplexity": 1.0}).startswith("weak")
    assert verdict(scores | {"mi": 0.01, "rate": 0.02}).startswith("collapsed")


@pytest.mark.parametrize("name", list(tiny.DISCRETE))
def test_pictures_and_texts(found, name, tmp_path: Path):
    drawn = {path.stem for path in figures.draw(tmp_path, [], found[name].pictures, found[name].monitor)}
    rates = {"rate_per_dimension"} if name != "categorical" else set()
    assert drawn == {"codes"} | rates | ({"projection"} if name == "mixed" else set())
    text = samples_text(found[name].verdict, found[name].sections)
    assert "draws of the prior" in text
    assert "modes" in text
    assert ("Interpolations" in text) is (name == "mixed")


def test_a_line_between_two_values_of_a_mixed_z_moves_what_is_continuous_alone():
    latent = tiny.model("mixed").latent
    q = latent.posterior(torch.randn(2, latent.params(torch.zeros(1, 7)).shape[1]))
    start, end = latent.point(q)
    middle = latent.between(start, end, 0.25)
    split = [latent.prior().split(value) for value in (start, end, middle)]
    assert torch.equal(split[2]["c"], split[0]["c"])
    torch.testing.assert_close(split[2]["z"], 0.75 * split[0]["z"] + 0.25 * split[1]["z"])
    discrete = tiny.model("binary").latent
    assert torch.equal(discrete.between(torch.zeros(3), torch.ones(3), 0.9), torch.zeros(3))


def test_the_picture_shows_labels_against_values():
    figure = codes_figure([[0], [1], [1], [2]], [[0.25, 0.5, 0.25]], [0, 1, 1, 1], ["first", "second"])
    shares = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shares, [[1, 0, 0], [0, 2 / 3, 1 / 3]])
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["first (1)", "second (3)"]
    bars = codes_figure([[0], [1]], [[0.5, 0.5]], None, [])
    assert [bar.get_height() for bar in bars.axes[0].patches] == [0.5, 0.5]
