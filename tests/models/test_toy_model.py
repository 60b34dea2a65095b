"""The toy: log p(x) against closed forms, and a report without words."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from helpers import Command, Compose, plain
from matplotlib.figure import Figure
from matplotlib.text import Text
from torch import nn

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.points import as_batch
from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.settings import EvaluationSettings
from lvexp.loading import load
from lvexp.metrics import evidence
from lvexp.metrics.likelihood import importance_weighted
from lvexp.models.toy import ToyModel
from lvexp.report import figures

SIGMA = 0.3


@pytest.fixture
def linear(composed: Compose) -> ToyModel:
    """f(z) = A z + b with a diagonal A: p(x) and p(z|x) are normal, and q is p(z|x)."""
    typed = ("model=toy", f"decoder.sigma={SIGMA}", "encoder=linear", "encoder.hidden=2")
    model = build.model(plain(composed(*typed)), Features(1, 2)).eval()
    assert isinstance(model, ToyModel)
    scale, shift = torch.tensor([0.8, 1.5]), torch.tensor([0.5, -1.0])
    model.decoder.mean = nn.Linear(2, 2)
    posterior = scale / (scale**2 + SIGMA**2)
    log_variance = torch.log(SIGMA**2 / (scale**2 + SIGMA**2))
    with torch.no_grad():
        model.decoder.mean.weight.copy_(scale.diag())
        model.decoder.mean.bias.copy_(shift)
        model.encoder.embedding.weight.copy_(torch.eye(2))
        model.latent.linear = nn.Linear(2, 4)
        model.latent.linear.weight.copy_(torch.cat([posterior.diag(), torch.zeros(2, 2)]))
        model.latent.linear.bias.copy_(torch.cat([-posterior * shift, log_variance]))
    return model


def marginal(model: ToyModel, x: torch.Tensor, noise: float = SIGMA**2) -> np.ndarray:
    """log N(x; b, A Aᵀ + noise I)."""
    layer = model.decoder.mean
    a, b = layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()
    return scipy.stats.multivariate_normal(b, a @ a.T + noise * np.eye(2)).logpdf(x.double().numpy())


POINTS = torch.tensor([[0.5, -1.0], [0.0, 0.0], [1.7, -2.2], [-1.0, 2.5]])


def test_quadrature_is_the_closed_form_and_its_error_is_small(linear: ToyModel):
    found = evidence.quadrature(linear, POINTS, side=401)
    np.testing.assert_allclose(found.log_p.numpy(), marginal(linear, POINTS), atol=2e-5)
    # ∫ N(x; f(z), σ²)² p(z) dz = N(x; b, A Aᵀ + σ²/2) / (4 π σ²)
    square = marginal(linear, POINTS, SIGMA**2 / 2) - math.log(4 * math.pi * SIGMA**2)
    np.testing.assert_allclose(found.variance.numpy(), np.exp(square - 2 * marginal(linear, POINTS)) - 1, rtol=1e-3)
    assert found.error < 1e-5
    coarse = evidence.quadrature(linear, POINTS, side=21)
    assert coarse.error > 1e-3, "a grid that is too coarse says so"


def test_with_the_true_posterior_every_weight_is_p_of_x(linear: ToyModel):
    batch = as_batch(POINTS[:, None])
    q = linear.latent.posterior(linear.params(linear.read(batch)))
    log_w = evidence.from_posterior(linear, batch, q, 700)
    assert log_w.shape == (700, 4)
    np.testing.assert_allclose(log_w.numpy(), np.tile(marginal(linear, POINTS), (700, 1)), atol=2e-4)
    terms = linear.terms(batch)
    np.testing.assert_allclose(linear.terms(batch, 4000).rate.detach().numpy(), terms.rate.detach().numpy(), rtol=1e-5)
    found = importance_weighted(linear, batch, 5)
    np.testing.assert_allclose(found.nll.numpy(), -marginal(linear, POINTS), atol=2e-4)


def test_draws_of_the_prior_estimate_p_of_x_with_the_variance_of_the_integral(linear: ToyModel):
    torch.manual_seed(0)
    draws, exact = 200_000, evidence.quadrature(linear, POINTS, side=401)
    log_w = evidence.from_prior(linear, POINTS, draws)
    ratio = (log_w - exact.log_p).exp()
    error = (exact.variance / draws).sqrt()
    assert ((ratio.mean(0) - 1).abs() < 4 * error).all()
    measured = evidence.relative_variance(log_w, exact.log_p)
    torch.testing.assert_close(measured, exact.variance, rtol=0.1, atol=0.0)


def test_repetitions_by_hand():
    log_w = torch.tensor([[1.0, 4.0], [3.0, 4.0], [2.0, 8.0], [6.0, 4.0], [9.0, 9.0]], dtype=torch.float64).log()
    log_p = torch.tensor([3.0, 5.0], dtype=torch.float64).log()
    one, two = evidence.estimates(log_w, log_p, [1, 2])
    values = log_w.flatten().tolist()
    assert one.mean == pytest.approx(sum(values) / 10)
    pairs = [[2.0, 4.0], [4.0, 6.0]]  # the fifth draw has no partner
    assert two.mean == pytest.approx(sum(math.log(v) for row in pairs for v in row) / 4)
    squares = [(math.log(v) - math.log(p)) ** 2 for row in pairs for v, p in zip(row, (3, 5), strict=True)]
    assert two.error == pytest.approx(math.sqrt(sum(squares) / 4))
    wanted = [sum((w / p) ** 2 for w in column) / 5 - 1
              for column, p in zip(log_w.exp().T.tolist(), (3, 5), strict=True)]  # fmt: skip
    assert evidence.relative_variance(log_w, log_p).tolist() == pytest.approx(wanted)


def test_the_likelihood_is_normal_and_gradient_reaches_sigma_only_if_it_is_learned(composed: Compose):
    for learned in (True, False):
        typed = ("model=toy", "decoder.sigma=0.2", f"decoder.learned={str(learned).lower()}")
        model = build.model(plain(composed(*typed)), Features(1, 2))
        batch, code = as_batch(torch.randn(5, 1, 2)), torch.randn(3, 5, 2)
        found = model.log_likelihood(batch, model.read(batch), code)
        for s, b in np.ndindex(3, 5):
            mean = model.decoder.mean(code[s, b]).detach().numpy()
            wanted = scipy.stats.multivariate_normal(mean, 0.04).logpdf(batch.vectors[b, 0].numpy())
            assert float(found[s, b].detach()) == pytest.approx(wanted, rel=1e-4, abs=1e-4)
        model.terms(batch).distortion.sum().backward()
        assert (model.decoder.log_sigma.grad is not None) is learned


def test_points_are_drawn_from_the_model(linear: ToyModel):
    torch.manual_seed(0)
    x, clean = linear.draw(40_000), linear.draw(40_000, noise=False)
    a = linear.decoder.mean.weight.detach()
    torch.testing.assert_close(x.T.cov(), a @ a.T + SIGMA**2 * torch.eye(2), atol=0.05, rtol=0)
    torch.testing.assert_close(clean.T.cov(), a @ a.T, atol=0.05, rtol=0)


def test_no_picture_calls_points_texts(composed: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = plain(composed("model=toy", "data.points.train=40", "data.points.valid=4", "data.points.test=20"))
    data, model = build.data(config), build.model(config, Features(1, 2))
    found = evaluate(model, data.test_dataloader(), EvaluationSettings(iw_samples=2), data.labels)
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(figures, "_write", lambda figure, path: drawn.update({Path(path).stem: figure}))
    rows = [{"step": step, "epoch": 0, "train/rate": 1.0, "val/distortion": 2.0, "val/nelbo": 3.0} for step in (1, 2)]
    figures.draw(tmp_path, rows, found.pictures, found.monitor, found.unit)
    assert set(drawn) == {"curves", "estimates", "plane", "projection", "rate_per_dimension"}
    said = {name: [text.get_text() for text in figure.findobj(Text)] for name, figure in drawn.items()}
    for name, words in said.items():
        assert not [word for word in words if "text" in word], name
    assert "Posterior means of 20 points, principal components" in said["projection"]
    assert "label (points)" in said["projection"]
    assert "mean rate, nats per point" in said["rate_per_dimension"]
    assert said["curves"].count("nats per point") == 3


@pytest.mark.parametrize("typed", [("latent=iaf", "latent.dim=2"), ("latent=ladder", "latent.dim=1", "latent.top=1")])
def test_where_the_means_of_q_are_not_known_the_report_has_all_else(typed: tuple[str, ...], composed: Compose):
    config = plain(composed("model=toy", *typed, "data.points.train=4", "data.points.valid=4", "data.points.test=20"))
    data, model = build.data(config), build.model(config, Features(1, 2))
    found = evaluate(model, data.test_dataloader(), EvaluationSettings(iw_samples=2), data.labels)
    assert float(found.scores["quadrature_error"]) < 0.02
    assert {"plane", "estimates"} <= set(found.pictures)
    assert found.scores.get("active_units") is None


@pytest.mark.slow
def test_a_job_runs_from_the_command_line_to_its_report(lvexp: Command, tmp_path: Any):
    small = ("data.points.train=300", "data.points.valid=40", "data.points.test=30", "trainer.max_epochs=2")
    done = lvexp("model=toy", *small, "trainer.check_val_every_n_epoch=1", "logger=csv", "evaluation.iw_samples=10")
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "outputs").rglob("result.json")
    result = json.loads(file.read_text())
    test, folder = result["test"], file.parent
    assert test["gap"] == pytest.approx(-test["elbo"] - test["nll_quadrature"])
    assert test["gap"] > -0.01
    assert test["quadrature_error"] < 0.1
    assert {"perplexity", "token", "text", "BLEU", "distinct"}.isdisjoint(str(result["groups"]).split())
    assert "nats/point" in str(result["groups"])
    assert "nats/text" not in done.stdout
    assert "tokens/s" not in done.stdout
    drawn = {picture.stem for picture in (folder / "figures").iterdir()}
    assert {"plane", "estimates", "curves", "projection"} <= drawn
    run = load(folder)
    assert run.encode([[0.1, 0.2], [1.0, 0.0], [0.5, 0.5]]).shape == (3, 2)
    assert len(run.score([[0.1, 0.2], [1.0, 0.0]], samples=5)) == 2
    assert run.draw(7).shape == (7, 2)
    again = lvexp(f"evaluate={folder}", "evaluation.iw_samples=20")
    assert again.returncode == 0, again.stderr
    (later,) = (folder / "evaluations").rglob("result.json")
    found = json.loads(later.read_text())["test"]
    assert found["iw_samples"] == 20
    assert found["nll_quadrature"] == pytest.approx(test["nll_quadrature"])


def test_a_batch_of_points_is_sliced_and_moved_like_one_of_texts():
    batch = as_batch(torch.randn(5, 1, 2))
    assert isinstance(batch, Batch)
    assert torch.equal(batch[torch.tensor([3, 1])].vectors, batch.vectors[[3, 1]])
    assert torch.equal(batch.to("cpu").vectors, batch.vectors)
