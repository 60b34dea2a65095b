"""The training path: losses, remedies, parameter groups, padding."""

from __future__ import annotations

import itertools

import pytest
import tiny
import torch

from lvexp.anneal.linear import Linear
from lvexp.data.batch import Batch
from lvexp.data.special import BOS, EOS, PAD, UNK
from lvexp.errors import ConfigError
from lvexp.models.base import GROUPS
from lvexp.networks.recurrent import RecurrentDecoder, RecurrentEncoder
from lvexp.regularizers.base import Regularizer
from lvexp.regularizers.free_bits import FreeBits
from lvexp.regularizers.word_dropout import WordDropout

TEXTS = [[BOS, 4, 5, 6, EOS], [BOS, 7, EOS], [BOS, 9, 8, 7, 6, 5, EOS]]


@pytest.mark.parametrize("latent", ["gaussian", "point", "none"])
def test_padding_never_changes_a_loss(latent: str):
    model = tiny.model(latent).eval()
    batch = Batch.of(TEXTS)
    together = model.terms(batch)
    for row, text in enumerate(TEXTS):
        alone = Batch.of([text])
        code = together.code[:, row : row + 1]
        read = model.read(alone)
        assert torch.allclose(model.params(read), together.params[row : row + 1], atol=1e-6)
        assert torch.allclose(
            model.log_likelihood(alone, read, code)[0], -together.distortion[row : row + 1], atol=1e-5
        )
    longer = Batch(torch.cat([batch.tokens, torch.full((3, 4), PAD)], 1), batch.lengths)
    read = model.read(longer)
    assert torch.allclose(model.log_likelihood(longer, read, together.code)[0], -together.distortion, atol=1e-5)


def test_padding_never_changes_a_gradient():
    model = tiny.model("none").eval()
    code = torch.zeros(1, 3, 0)
    batch = Batch.of(TEXTS)
    (-model.log_likelihood(batch, model.read(batch), code)).sum().backward()
    padded = [parameter.grad.clone() for parameter in model.decoder.parameters()]
    model.zero_grad()
    for text in TEXTS:
        alone = Batch.of([text])
        (-model.log_likelihood(alone, model.read(alone), code[:, :1])).sum().backward()
    for ours, parameter in zip(padded, model.decoder.parameters(), strict=True):
        assert torch.allclose(ours, parameter.grad, atol=1e-5)


def test_the_loss_is_distortion_plus_beta_times_rate():
    model = tiny.model()
    terms = model.terms(Batch.of(TEXTS))
    assert torch.allclose(tiny.training(model).loss(terms, 0.3), terms.distortion + 0.3 * terms.rate)


@pytest.mark.parametrize("per", ["dimension", "example", "batch"])
def test_free_bits_floor(per: str):
    rates = torch.tensor([[0.1, 2.0], [0.4, 0.0]], requires_grad=True)
    floored = FreeBits(nats=1.0, per=per).rate(rates.sum(-1), rates)
    expected = {
        "dimension": [0.5 + 2.0, 0.5 + 0.5],  # max(1/2, .) in each
        "example": [2.1, 1.0],
        "batch": [0.5 + 1.0, 0.5 + 1.0],  # batch means .3 and 1.0
    }[per]
    assert torch.allclose(floored, torch.tensor(expected))
    floored.sum().backward()
    free = {"dimension": [[0, 1], [0, 0]], "example": [[1, 1], [0, 0]], "batch": [[0, 1], [0, 1]]}[per]
    assert torch.equal(rates.grad > 0, torch.tensor(free) > 0), "below the floor nothing presses the rate"


def test_word_dropout_replaces_words_and_only_words():
    torch.manual_seed(0)
    tokens = torch.tensor([[BOS, 4, 5, 6, EOS, PAD]] * 4000)
    dropped = WordDropout(keep=0.7).corrupt(tokens)
    assert torch.equal(dropped[:, [0, 4, 5]], tokens[:, [0, 4, 5]])
    words = dropped[:, 1:4]
    assert ((words == tokens[:, 1:4]) | (words == UNK)).all()
    share = (words == UNK).float().mean().item()
    assert share == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / words.numel()) ** 0.5)
    assert torch.equal(WordDropout(keep=1).corrupt(tokens), tokens)
    assert (WordDropout(keep=0).corrupt(tokens)[:, 1:4] == UNK).all()


def test_a_corrupted_input_changes_what_is_read_and_not_what_is_predicted():
    model = tiny.model(remedies=[WordDropout(keep=0)]).eval()
    batch = Batch.of(TEXTS)
    terms = model.terms(batch)
    code = terms.code
    blind = model.log_likelihood(batch, terms.reading, code, model.regularizers[0].corrupt(batch.inputs))
    by_hand = Batch.of([[BOS, *[UNK] * (len(text) - 2), EOS] for text in TEXTS])
    seeing = model.decoder(by_hand.inputs, batch.targets, batch.lengths, code)
    # the last input of a shorter text is its own EOS, which is never read for a counted target
    assert torch.allclose(blind, seeing, atol=1e-5)


def test_parameter_groups_hold_every_parameter_once():
    model = tiny.model()
    groups = {group["name"]: group["params"] for group in tiny.training(model).configure_optimizers().param_groups}
    assert set(groups) == set(GROUPS)
    ids = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())
    assert {id(p) for p in model.decoder.parameters()} <= {id(p) for p in groups["generative"]}


def test_a_group_that_rests_keeps_its_parameters_and_its_optimiser_state():
    class EncoderOnly(Regularizer):
        def plan(self, progress):
            return ("inference",)

    model = tiny.model(remedies=[EncoderOnly()])
    training = tiny.training(model)

    class Trainer:
        num_training_batches, callback_metrics, current_epoch, global_step = 3, {}, 0, 0

    optimizer = training.configure_optimizers()
    training._trainer = Trainer()
    before = [parameter.detach().clone() for parameter in model.decoder.parameters()]
    training.training_step(Batch.of(TEXTS), 0).backward()
    training.on_before_optimizer_step(optimizer)
    optimizer.step()
    for old, new in zip(before, model.decoder.parameters(), strict=True):
        assert torch.equal(old, new)
        assert not optimizer.state[new]
    assert any(
        parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in model.encoder.parameters()
    )


@pytest.mark.parametrize("limit", [1e-3, 1e3, 0.0, None])
def test_clipping_is_that_of_torch(limit: float | None):
    model = tiny.model()
    parameters = list(model.parameters())
    torch.manual_seed(0)
    for parameter in parameters[1:]:  # the first has none
        parameter.grad = torch.randn_like(parameter)
    expected = [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]
    if limit:
        norm = torch.cat([grad.flatten() for grad in expected if grad is not None]).norm()
        factor = min(1.0, limit / (float(norm) + 1e-6))
        expected = [None if grad is None else grad * factor for grad in expected]
    tiny.training(model).configure_gradient_clipping(torch.optim.SGD(parameters), limit)
    for parameter, grad in zip(parameters, expected, strict=True):
        assert (parameter.grad is None) == (grad is None)
        assert grad is None or torch.allclose(parameter.grad, grad, rtol=1e-5)


def test_linear_schedule_hits_its_ends():
    beta = Linear(start=0.1, end=1.0, warmup=2, unit="epochs", steps_per_epoch=5)
    assert beta(0) == pytest.approx(0.1)
    assert beta(5) == pytest.approx(0.55)
    assert beta(10) == beta(1000) == 1.0
    assert beta.settled() == 10
    assert Linear(warmup=0)(0) == 1.0
    with pytest.raises(ConfigError):
        Linear(unit="weeks")


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("entry", ["initial", "every_step", "both"])
def test_the_decoder_uses_the_code_where_it_enters(cell: str, entry: str):
    torch.manual_seed(0)
    decoder = RecurrentDecoder(10, 3, cell, 4, 5, entry=entry, dropout_in=0, dropout_out=0)
    batch, code = Batch.of(TEXTS), torch.randn(2, 3, 3, requires_grad=True)
    scores = decoder(batch.inputs, batch.targets, batch.lengths, code)
    assert scores.shape == (2, 3)
    assert not torch.allclose(scores[0], scores[1])
    scores.sum().backward()
    assert (code.grad.abs().sum(-1) > 0).all()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("inputless", [False, True])
def test_step_by_step_scores_are_the_scores_of_the_whole(cell: str, inputless: bool):
    torch.manual_seed(0)
    decoder = RecurrentDecoder(10, 3, cell, 4, 5, layers=2, inputless=inputless).eval()
    text, code = TEXTS[2], torch.randn(1, 3)
    batch = Batch.of([text])
    state, total = decoder.start(code), 0.0
    for read, written in itertools.pairwise(text):
        log_p, state = decoder.step(torch.tensor([read]), state)
        assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-5)
        total += log_p[0, written].item()
    assert total == pytest.approx(decoder(batch.inputs, batch.targets, batch.lengths, code[None]).item(), abs=1e-4)


def test_an_inputless_decoder_reads_no_words():
    torch.manual_seed(0)
    decoder = RecurrentDecoder(10, 3, "lstm", 4, 5, inputless=True).eval()
    one, other = Batch.of([[BOS, 4, 5, 6, EOS]]), Batch.of([[BOS, 9, 9, 9, EOS]])
    code = torch.randn(1, 1, 3)
    scores = [decoder(b.inputs, one.targets, one.lengths, code) for b in (one, other)]
    assert torch.equal(*scores)


def test_tied_embeddings_are_one_matrix():
    decoder = RecurrentDecoder(10, 3, "lstm", 5, 5, tie=True)
    assert decoder.output.weight is decoder.embedding.weight
    with pytest.raises(ConfigError, match="tie"):
        RecurrentDecoder(10, 3, "lstm", 4, 5, tie=True)


def test_the_encoder_reads_to_the_end_and_no_further():
    torch.manual_seed(0)
    encoder = RecurrentEncoder(10, embedding=4, hidden=5)
    batch = Batch.of(TEXTS)
    changed = Batch(batch.tokens.clone(), batch.lengths)
    changed.tokens[1, 3:] = 9  # padding
    assert torch.equal(encoder(batch.tokens, batch.lengths), encoder(changed.tokens, changed.lengths))
    changed.tokens[1, 1] = 9
    assert not torch.equal(encoder(batch.tokens, batch.lengths), encoder(changed.tokens, changed.lengths))


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_norm_takes_the_scale_away_from_the_encoders_state(cell: str):
    batch = Batch.of(TEXTS)
    torch.manual_seed(0)
    plain = RecurrentEncoder(tiny.V, cell=cell, embedding=6, hidden=7)
    torch.manual_seed(0)
    normed = RecurrentEncoder(tiny.V, cell=cell, embedding=6, hidden=7, norm=True)
    state, found = (encoder(batch.tokens, batch.lengths) for encoder in (plain, normed))
    torch.testing.assert_close(found, torch.nn.functional.layer_norm(state, (7,)))
    # the direction in which the state grows as a whole has no gradient left
    torch.testing.assert_close(normed.norm(3 * state), found, atol=1e-2, rtol=1e-2)
