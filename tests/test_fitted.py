"""Distributions fitted to z after training, and reconstruction under noise."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import tiny
import torch
from helpers import Compose, finished_run, plain
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

import lvexp
from lvexp.errors import ConfigError, RunError
from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.reconstruction import Reconstruction
from lvexp.instruments.settings import EvaluationSettings
from lvexp.job import identity
from lvexp.latents.vmf import VMF
from lvexp.priors.fitted import KINDS, fits, fitted

SETTINGS = EvaluationSettings(iw_samples=2, samples=4, max_decode=6, interpolations=0)


@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_the_distribution_that_z_was_drawn_from(kind: str):
    """Two far apart Gaussians, which a flow must bend one Gaussian into; N(0, I) loses several nats."""
    torch.manual_seed(0)
    means = torch.tensor([[2.5, 0.0, 0.0], [-2.5, 1.0, 0.0]])
    each = Independent(Normal(means, torch.tensor([0.4, 0.6, 1.0]).expand(2, 3)), 1)
    true = MixtureSameFamily(Categorical(torch.ones(2)), each)
    found = fitted(kind, true.sample((4_000,)))
    z = true.sample((2_000,))
    lost = (true.log_prob(z) - found.log_prob(z)).mean().item()
    assert lost + 0.02 > 0
    assert lost < {"mixture": 0.05, "flow": 0.3}[kind]
    assert (true.log_prob(z) - Independent(Normal(torch.zeros(3), 1.0), 1).log_prob(z)).mean() > 2
    drawn = found.sample((500,))
    assert drawn.shape == (500, 3)
    assert not drawn.requires_grad
    assert (drawn[:, 0].abs() > 1).float().mean() > 0.9


def test_the_seed_decides_and_the_global_generator_is_left_alone():
    draws = torch.randn(60, 2)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, other = fitted("flow", draws, seed=1), fitted("flow", draws, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(one.log_prob(draws), other.log_prob(draws))


def test_what_cannot_be_fitted():
    with pytest.raises(ConfigError, match="one of mixture, flow"):
        fitted("vine", torch.randn(50, 2))
    with pytest.raises(ConfigError, match="19 texts are too few"):
        fitted("mixture", torch.randn(19, 2))
    assert not fits(VMF(4, 3))


def test_the_hole_of_a_fitted_prior_and_noise_in_the_report(monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    model = tiny.model(dim=3)
    with torch.no_grad():
        model.latent.linear.weight.mul_(20)  # an aggregate posterior unlike N(0, I)
    corpus = tiny.corpus()
    plainly = evaluate(model, corpus, SETTINGS, others={"train": [*corpus] * 4})
    assert plainly.scores["hole_fitted"] is None
    assert not any(name.startswith("noise") for name in plainly.scores)
    asked = dataclasses.replace(SETTINGS, sampler="mixture", noise=[0.0, 3.0])
    found = evaluate(model, corpus, asked, others={"train": [*corpus] * 4})
    same = {name for name in plainly.scores if name != "hole_fitted"}
    assert {name: found.scores[name] for name in same} == {name: plainly.scores[name] for name in same}
    assert found.scores["noise_bleu_0"] == pytest.approx(found.scores["recon_bleu"])
    assert found.scores["hole_fitted"] < found.scores["hole"]
    assert "noise" in found.pictures
    assert [section.title for section in found.sections].count("Samples of the fitted prior") == 1


def test_texts_are_decoded_from_z_with_noise_of_each_size(monkeypatch: pytest.MonkeyPatch):
    model, sizes, decoded = tiny.model(dim=3), [], []
    near, again = type(model.latent).near, Reconstruction.again

    def watched(self, point, size):
        sizes.append(size)
        return near(self, point, size) + 100 * size

    def kept(self, values, originals):
        decoded.append(values)
        return again(self, values, originals)

    monkeypatch.setattr(type(model.latent), "near", watched)
    monkeypatch.setattr(Reconstruction, "again", kept)
    evaluate(model, tiny.corpus(), dataclasses.replace(SETTINGS, noise=[0.0, 0.5, 2.0]))
    plain, *noisy = decoded
    assert sizes == [0.0, 0.5, 2.0]
    assert torch.equal(noisy[0], plain)
    for size, values in zip(sizes[1:], noisy[1:], strict=True):
        moved = (values - plain - 100 * size) / size
        assert 0.4 < moved.std() < 1.8, "of unit size for each unit of noise"
        assert abs(moved.mean()) < 1


def test_a_finished_run_samples_from_what_is_fitted(tmp_path: Path, composed: Compose):
    small = ("latent.dim=3", "encoder.hidden=8", "decoder.hidden=8", "encoder.embedding=8", "decoder.embedding=8")
    run = lvexp.load(finished_run(tmp_path / "run", plain(composed("model=ae", *small))))
    with pytest.raises(RunError, match="no prior"):
        run.sample(2)
    p = run.fit(["a b", "c", "b b a", "a"] * 10)
    texts = run.sample(5, seed=1, prior=p, max_length=6)
    assert len(texts) == 5
    assert texts == run.sample(5, seed=1, prior=p, max_length=6)
    language = lvexp.load(finished_run(tmp_path / "rnnlm", plain(composed("model=rnnlm", *small))))
    with pytest.raises(RunError, match="fit: this model has no z"):
        language.fit(["a b"] * 30)


def test_settings_that_are_not_asked_for_leave_the_id_as_it_was(composed: Compose):
    usual = identity.essence(composed())["evaluation"]
    assert not {"sampler", "noise"} & {*usual}
    asked = identity.essence(composed("evaluation.sampler=flow", "evaluation.noise=[0,1]"))["evaluation"]
    assert asked["sampler"] == "flow"
    assert asked["noise"] == "[0, 1]"
