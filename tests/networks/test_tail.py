"""Sums over the vocabulary whose tail is sampled, against whole sums."""

from __future__ import annotations

import pytest
import torch

from lvexp.networks import tail
from lvexp.networks.output import text_log_p
from lvexp.networks.tail import Tail, scored

DRAWS, TEXTS, LENGTH, WIDTH, TYPES = 96, 2, 4, 12, 1500


@pytest.fixture(scope="module")
def parts():
    """States of draws that differ as those of a trained model do: they are near a common one at each position."""
    torch.manual_seed(0)
    common = torch.randn(1, TEXTS, LENGTH, WIDTH, dtype=torch.float64)
    states = common + 0.2 * torch.randn(DRAWS, TEXTS, LENGTH, WIDTH, dtype=torch.float64)
    weight = torch.randn(TYPES, WIDTH, dtype=torch.float64)
    return states, weight, torch.randint(TYPES, (TEXTS, LENGTH)), torch.tensor([LENGTH + 1, LENGTH - 1])


def sampled(parts, words: int, seed: int = 0) -> torch.Tensor:
    with Tail(words, seed).active():
        return scored(*parts)


def test_the_estimate_is_unbiased(parts):
    """That of Z: p(x|z) holds 1/Z, so log p is too large by about half its variance."""
    error = torch.stack([sampled(parts, 400, seed) for seed in range(300)]) - text_log_p(*parts)
    variance = error.var(0)
    assert variance.min() > 1e-8  # otherwise nothing was sampled
    assert variance.max() < 1e-2
    assert (error.mean(0).abs() < 4.5 * (variance / 300).sqrt() + variance).all()


def test_the_error_is_less_than_that_of_words_drawn_independently(parts):
    """Of which the variance, relative to Z, is (sum of p^2 / q over the tail - mass of the tail^2) / m."""
    states, weight, targets, _ = parts
    error = torch.stack([sampled(parts, 400, seed) for seed in range(100)]) - text_log_p(*parts)
    p = (states[:, 0] @ weight.T).softmax(-1)
    mean, independent = p[:: DRAWS // 8][:8].mean(0).scatter(1, targets[0, :, None], 1.0), 0.0
    for at in range(LENGTH):
        words = mean[at].argsort()[:-200]
        q = mean[at, words] / mean[at, words].sum()
        independent += ((p[:, at, words] ** 2 / q).sum(1) - p[:, at, words].sum(1) ** 2).mean() / 200
    assert 0.02 * independent < error[:, :, 0].square().mean() < 1.1 * independent


def test_more_words_have_a_smaller_error(parts):
    exact = text_log_p(*parts)
    errors = [float((sampled(parts, words) - exact).square().mean()) for words in (64, 256, 1024)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 10 * errors[-1]


def test_a_tail_without_probability_is_nothing(parts, monkeypatch):
    states, weight, targets, lengths = parts
    monkeypatch.setattr(tail, "text_log_p", lambda *_: pytest.fail("the whole vocabulary was summed"))
    same, weight = states[:1, :1, :1].float().expand_as(states), weight.float()
    weight[20:] = -120 * same[0, 0, 0] / same[0, 0, 0].square().sum()  # e^-120 is 0 in 32 bits
    exact = text_log_p(same, weight, targets.clamp(max=19), lengths)
    torch.testing.assert_close(sampled((same, weight, targets.clamp(max=19), lengths), 64), exact)


@pytest.mark.parametrize("where", ["outside", "few draws", "few words"])
def test_elsewhere_the_whole_vocabulary_is_summed(parts, where: str, monkeypatch):
    monkeypatch.setattr(Tail, "text_log_p", lambda *_: pytest.fail("sampled"))
    if where == "outside":
        with Tail(64).active():
            pass
        scored(*parts)
    elif where == "few draws":
        sampled((parts[0][: tail.LEAST - 1], *parts[1:]), 64)
    else:
        sampled(parts, TYPES)


@pytest.mark.parametrize("extreme", ["large", "small"])
def test_extreme_logits_are_summed_with_care(parts, extreme: str):
    states, weight, targets, lengths = parts
    states, weight = 40 * states.float(), weight.float()
    if extreme == "small":  # of which every exponential is 0 in 32 bits
        states = states[:1, :1, :1].expand_as(states)
        weight = 0.01 * weight - 120 * states[0, 0, 0] / states[0, 0, 0].square().sum()
    logits = states @ weight.T
    assert logits.max() > 100 if extreme == "large" else logits.max() < -105
    torch.testing.assert_close(
        sampled((states, weight, targets, lengths), 64),
        text_log_p(states, weight, targets, lengths),
        rtol=1e-4,
        atol=1e-4,
    )


def test_a_draw_that_alone_expects_the_word_that_comes_has_no_more_than_its_probability(parts):
    """The word is the opposite of what the others expect, so only as the target is it in the head."""
    states, weight, targets, _ = (part.clone() for part in parts)
    usual = states[:, 0, 0].mean(0) / states[:, 0, 0].mean(0).norm()
    targets[0, 0], weight[7], states[5, 0, 0] = 7, -10 * usual, -5 * usual
    lengths = torch.tensor([2, 2])
    exact = text_log_p(states, weight, targets, lengths)[5, 0]
    assert exact > -0.01
    assert exact - 0.01 < sampled((states, weight, targets, lengths), 64)[5, 0] <= 0
