"""The loss of the words without their order."""

from __future__ import annotations

import dataclasses

import pytest
import tiny
import torch
from helpers import Compose, checked

from lvexp.data.batch import Batch
from lvexp.data.special import PAD
from lvexp.errors import ConfigError, Refusal
from lvexp.estimators.score import Score
from lvexp.regularizers.bag_of_words import BagOfWords


def test_each_word_counts_as_often_as_it_occurs_and_padding_never():
    model = tiny.model(remedies=[BagOfWords(weight=2.0, hidden=5)])
    batch = tiny.encode("a a b", "c")
    terms = model.terms(batch, samples=3)
    remedy = model.regularizers[0]
    log_p = remedy.words(terms.code).log_softmax(-1)
    by_hand = []
    for row, length in enumerate(batch.lengths.tolist()):
        words = batch.tokens[row, 1:length]  # <eos> among them
        by_hand.append(-sum(log_p[s, row, word] for s in range(3) for word in words) / 3)
    assert torch.allclose(remedy.penalty(terms), 2 * torch.stack(by_hand), atol=1e-4)
    wider = Batch(torch.cat([batch.tokens, torch.full((2, 4), PAD)], 1), batch.lengths)
    assert torch.allclose(remedy.penalty(dataclasses.replace(terms, batch=wider)), remedy.penalty(terms), atol=1e-5)


def test_order_does_not_matter():
    model = tiny.model(remedies=[BagOfWords()])
    terms = model.terms(tiny.encode("a b c d"))
    shuffled = dataclasses.replace(terms, batch=tiny.encode("d b a c"))
    remedy = model.regularizers[0]
    assert torch.allclose(remedy.penalty(terms), remedy.penalty(shuffled), atol=1e-5)


@pytest.mark.parametrize("estimator", [None, Score()])
def test_it_teaches_the_encoder_with_any_estimator(estimator):
    model = tiny.model(remedies=[BagOfWords()])
    model.estimator = estimator or model.estimator
    model.regularizers[0].penalty(model.terms(tiny.encode("a b c", "d"), samples=2)).sum().backward()
    assert model.latent.linear.weight.grad.abs().sum() > 0
    assert model.regularizers[0].words[0].weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in model.decoder.parameters())


def test_what_is_reported_does_not_depend_on_it():
    plain, helped = tiny.model(), tiny.model(remedies=[BagOfWords(weight=100.0)])
    helped.load_state_dict(plain.state_dict(), strict=False)
    batch, found = tiny.encode("a b c", "d"), []
    for model in (plain, helped):
        torch.manual_seed(1)
        terms = tiny.training(model.eval()).validation_step(batch, 0)
        found.append(terms.distortion + terms.rate)
    assert torch.equal(*found)


def test_it_works_for_an_auto_encoder_and_is_refused_without_a_latent_variable(composed: Compose):
    checked(composed("model=ae", "regularizer=bag_of_words"))
    model = tiny.model("point", remedies=[BagOfWords()])
    assert tiny.training(model).training_step(tiny.encode("a b"), 0).isfinite()
    with pytest.raises(Refusal, match=r"(?s)latent=none.*no latent variable.*regularizer=bag_of_words"):
        checked(composed("model=rnnlm", "regularizer=bag_of_words"))
    with pytest.raises(ConfigError, match="weight=-1"):
        BagOfWords(weight=-1)
    with pytest.raises(ConfigError, match="at least 0"):
        checked(composed("regularizer=bag_of_words", "regularizer.bag_of_words.weight=-1"))
