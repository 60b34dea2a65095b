"""Bounds and their gradients, against Pyro's: a mixture of texts, and a sequence of symbols, written out in Pyro."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO, config_enumerate

from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.distributions.rate import rate
from lvexp.draws import expect
from lvexp.estimators.enumerate import Enumerate
from lvexp.latents.categorical import Categorical
from lvexp.latents.symbols import Symbols
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


# --- sequences of symbols --------------------------------------------------------------------------------------------


def test_the_bound_of_a_sequence_and_its_gradients_are_pyros():
    """One text, three symbols of three and an end; each symbol a site of Pyro's, summed out one after the other."""
    torch.manual_seed(4)
    latent = Symbols(4, dim=3, categories=2, hidden=5, embedding=3, prior="learned").double()
    table = torch.randn(3, 3, 3).double()  # log p(x|z)
    features = torch.randn(1, 4).double()
    with torch.no_grad():
        for parameter in latent.parameters():
            parameter.mul_(2)

    def spoken(policy, params: torch.Tensor) -> torch.Tensor:
        """The symbols, each a site; after the end there is only the end."""
        state, found = policy.start(params), []
        for step in range(policy.length):
            if found:
                state = policy.listen(torch.nn.functional.one_hot(found[-1], policy.size)[None].double(), state)
            log_p = policy.speak(state)[0]
            if found and found[-1] == policy.end:
                log_p = torch.where(torch.arange(policy.size) == policy.end, 0.0, -1e9).double()
            found.append(pyro.sample(f"z{step}", dist.Categorical(logits=log_p, validate_args=False)))
        return torch.stack(found)

    def generative() -> None:
        value = spoken(latent.before, latent.nothing[None])
        pyro.factor("x", table[tuple(value)])

    @config_enumerate(default="sequential")
    def inference() -> None:
        spoken(latent.speaker, latent.params(features))

    theirs = TraceEnum_ELBO(max_plate_nesting=0).differentiable_loss(generative, inference)
    q, p = latent.posterior(latent.params(features)), latent.prior()
    draw = Enumerate().draw(q, 1)
    cost = -table[tuple(draw.value.argmax(-1).unbind(-1))]
    ours = (expect(cost, draw) + rate(q, p, draw)[0]).sum()
    torch.testing.assert_close(ours, theirs)
    watched = {name: part for name, part in latent.named_parameters() if not name.startswith("listener")}
    found = torch.autograd.grad(ours, list(watched.values()))
    known = torch.autograd.grad(theirs, list(watched.values()))
    for name, one, other in zip(watched, found, known, strict=True):
        assert other.abs().max() > 1e-4, name
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-8, msg=lambda text, name=name: f"{name}: {text}")
