"""Refinement of posteriors: that it refines, and what is learnt through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import tiny
import torch

from lvexp.errors import ConfigError
from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.settings import EvaluationSettings
from lvexp.regularizers.base import refined, regularizers
from lvexp.regularizers.semi_amortized import SemiAmortized

THROUGH = ("exact", "finite_difference", "none")
SMALL = EvaluationSettings(iw_samples=2, samples=2, max_decode=4, bleu_sentences=2)


class Smooth(torch.nn.Module):
    """A loss of two posteriors of three parameters with weights of its own, in 64 bits."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]], dtype=torch.float64))

    def forward(self, params: torch.Tensor) -> torch.Tensor:
        return (params @ self.weight.T).sin().sum(-1) + params.square().sum(-1) + (params[:, 0] * params[:, 1]).exp()


def learnt(through: str, clip: float = 0.0, **more: Any) -> Sequence[torch.Tensor]:
    """The gradients, in the starting parameters and the weights, of the loss at the refined ones."""
    loss = Smooth()
    start = torch.tensor([[0.3, -0.2, 0.9], [1.0, 0.4, -0.5]], dtype=torch.float64, requires_grad=True)
    remedy = SemiAmortized(steps=4, lr=0.05, momentum=0.6, clip=clip, through=through, **more)
    remedy.models = (loss,)  # type: ignore[assignment]
    found = remedy.refine(start, loss)
    return torch.autograd.grad(loss(found).sum(), [start, loss.weight])


def unrolled(clip: float = 0.0) -> Sequence[torch.Tensor]:
    """The same by hand: torch differentiates four plain steps."""
    loss = Smooth()
    start = torch.tensor([[0.3, -0.2, 0.9], [1.0, 0.4, -0.5]], dtype=torch.float64, requires_grad=True)
    at, speed = start, torch.zeros_like(start)
    for _ in range(4):
        (slope,) = torch.autograd.grad(loss(at).sum(), at, create_graph=True)
        norm = slope.norm(dim=1, keepdim=True)
        if clip:
            slope = torch.where(norm > clip, slope / norm * clip, slope)
        speed = 0.6 * speed - slope
        at = at + 0.05 * speed
    return torch.autograd.grad(loss(at).sum(), [start, loss.weight])


@pytest.mark.parametrize("clip", [0.0, 2.0])
def test_exact_gradients_are_those_of_the_unrolled_computation(clip: float):
    for ours, theirs in zip(learnt("exact", clip), unrolled(clip), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("clip", [0.0, 2.0])
def test_finite_differences_agree_with_them(clip: float):
    for ours, theirs in zip(learnt("finite_difference", clip, epsilon=1e-6), unrolled(clip), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-6)


def test_without_a_way_through_the_start_gets_the_gradient_at_the_end():
    loss = Smooth()
    start = torch.tensor([[0.3, -0.2, 0.9], [1.0, 0.4, -0.5]], dtype=torch.float64, requires_grad=True)
    found = SemiAmortized(steps=4, lr=0.05, through="none").refine(start, loss)
    end = found.detach().requires_grad_()
    ours, theirs = (torch.autograd.grad(loss(at).sum(), [p, loss.weight]) for at, p in ((found, start), (end, end)))
    assert all(torch.equal(p, q) for p, q in zip(ours, theirs, strict=True))


def test_one_step_by_hand():
    start = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    remedy = SemiAmortized(steps=1, lr=0.5, clip=1.0)
    found = remedy.refine(start, lambda p: 0.5 * p.square().sum(-1))
    assert torch.allclose(found, torch.tensor([[2.7, 3.6], [0.15, 0.2]])), "the first is clipped to length 1"


def test_finite_differences_agree_on_a_model_with_dropout_and_draws():
    def gradient(through: str) -> torch.Tensor:
        model = tiny.model(remedies=[SemiAmortized(steps=5, through=through)], scale=3.0)
        torch.manual_seed(5)
        tiny.training(model).training_step(next(iter(tiny.corpus())), 0).backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    exact, differences, straight = (gradient(through) for through in THROUGH)
    assert (differences - exact).norm() < 0.01 * exact.norm()
    assert (straight - exact).norm() > 0.05 * exact.norm()


def test_refinement_is_in_full_precision_where_training_is_not():
    def gradient(through: str) -> torch.Tensor:
        # GRU: not every processor has an LSTM in bf16
        model = tiny.model(remedies=[SemiAmortized(steps=3, through=through)], scale=3.0, cell="gru")
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16):
            loss = tiny.training(model).training_step(next(iter(tiny.corpus())), 0)
        loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    exact, differences = gradient("exact"), gradient("finite_difference")
    assert (differences - exact).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("through", THROUGH)
def test_refinement_raises_the_bound(through: str):
    model = tiny.model(remedies=[SemiAmortized(through=through)], scale=4.0).eval()
    batch = next(iter(tiny.corpus()))
    start = model.params(model.read(batch))

    def nelbo(params: torch.Tensor) -> torch.Tensor:
        terms = model.terms(batch, params=params)
        return terms.distortion + terms.rate

    with torch.no_grad():
        found = refined(regularizers(model), start, nelbo)
        assert found is not start
        plain, better = (
            torch.stack([terms.distortion + terms.rate for terms in (model.terms(batch, 1, p) for _ in range(50))])
            for p in (start, found)
        )
    assert better.mean() < plain.mean() - 1.0
    assert all(parameter.grad is None for parameter in model.parameters())


def test_no_text_is_refined_by_the_others_in_its_batch():
    model = tiny.model(remedies=[SemiAmortized(steps=3)], scale=3.0).eval()
    batch, start = next(iter(tiny.corpus())), torch.randn(4, 3)

    def loss(rows: slice):
        return lambda p: model.decoder(batch.inputs[rows], batch.targets[rows], batch.lengths[rows], p[None])[0]

    together = model.regularizers[0].refine(start, loss(slice(None)))
    alone = [model.regularizers[0].refine(start[row : row + 1], loss(slice(row, row + 1))) for row in range(4)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_the_report_has_the_refined_bound_beside_the_amortised_figures():
    plain = evaluate(tiny.model(scale=3.0), tiny.corpus(), SMALL).scores
    found = evaluate(tiny.model(remedies=[SemiAmortized()], scale=3.0), tiny.corpus(), SMALL).scores
    new = {"elbo_refined", "rate_refined"}
    assert {name: score for name, score in found.items() if name not in new} == {
        name: score for name, score in plain.items() if name not in new
    }
    assert plain["elbo_refined"] is None
    assert found["elbo_refined"] > found["elbo"]
    assert found["rate_refined"] >= 0


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"lr": 0.0}, {"momentum": 1.0}, {"through": "all"}, {"epsilon": 0.0}])
def test_nonsense_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        SemiAmortized(**wrong)
