"""The bound and its gradient, against Pyro's, on a mixture of texts written out in Pyro."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate

from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.estimators.enumerate import Enumerate
from lvexp.latents.categorical import Categorical
from lvexp.models.sentence import SentenceModel
from lvexp.networks.recurrent import RecurrentEncoder
from lvexp.networks.window import WindowDecoder

K = 5


@pytest.fixture
def model() -> SentenceModel:
    torch.manual_seed(3)
    vocabulary = Vocabulary.train(["a b c d e f"], kind="words", max_size=50, min_count=1, lowercase=False)
    encoder = RecurrentEncoder(vocabulary.size, embedding=6, hidden=7)
    latent = Categorical(encoder.width, categories=K, embedding=4, prior="learned")
    decoder = WindowDecoder(vocabulary.size, latent.width, window=2, embedding=3, hidden=8, dropout_in=0, dropout_out=0)
    made = SentenceModel(encoder, decoder, vocabulary=vocabulary, latent=latent, estimator=Enumerate())
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.5 * torch.randn_like(parameter)
    return made


def batch(vocabulary: Vocabulary) -> Batch:
    return Batch.of(vocabulary.encode(["a b c", "c b", "d e f a", "f"]))


def of_pyro(model: SentenceModel, batch: Batch) -> torch.Tensor:
    """-ELBO summed over texts: prior, words and posterior as Pyro's sites, c summed out by Pyro in parallel."""
    words, decoder = batch.tokens[:, 1:], model.decoder
    present = torch.arange(words.shape[1]) < (batch.lengths - 1)[:, None]

    def generative() -> None:
        with pyro.plate("texts", len(words), dim=-1):
            c = pyro.sample("c", dist.Categorical(logits=model.latent.logits[0]))
            code = model.latent.embedding[0][c]  # [K, 1, W] while Pyro enumerates
            states = decoder.states(batch.tokens[:, :-1], code.expand(K, len(words), -1))
            likelihood = dist.Categorical(logits=states @ decoder.output.weight.T).mask(present).to_event(1)
            pyro.sample("x", likelihood, obs=words)

    @config_enumerate
    def inference() -> None:
        with pyro.plate("texts", len(words), dim=-1):
            pyro.sample("c", dist.Categorical(logits=model.params(model.read(batch))))

    bound = TraceEnum_ELBO(max_plate_nesting=1)
    return bound.differentiable_loss(generative, inference)


def test_the_bound_and_every_gradient_are_pyros(model: SentenceModel):
    some = batch(model.vocabulary)
    theirs = of_pyro(model, some)
    terms = model.terms(some)
    assert terms.rate is not None
    ours = (terms.distortion + terms.rate).sum()
    torch.testing.assert_close(ours, theirs)
    named = dict(model.named_parameters())
    found = torch.autograd.grad(ours, list(named.values()))
    known = torch.autograd.grad(theirs, list(named.values()))
    for name, one, other in zip(named, found, known, strict=True):
        assert other.abs().max() > 1e-4, name  # Pyro reached it at all
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=lambda text, name=name: f"{name}: {text}")
