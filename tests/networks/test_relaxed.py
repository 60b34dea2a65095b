"""Relaxed texts, and the networks that read them."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lvexp.data.special import BOS, EOS, PAD, UNK
from lvexp.networks.cnn import ConvolutionalEncoder
from lvexp.networks.dcnn import DilatedDecoder
from lvexp.networks.recurrent import RecurrentDecoder, RecurrentEncoder
from lvexp.networks.relaxed import relax
from lvexp.networks.transformer import TransformerDecoder, TransformerEncoder
from lvexp.networks.writing import Decoding, write

V, W, LONGEST = 9, 4, 8
DECODERS = {
    "lstm": lambda: RecurrentDecoder(V, W, embedding=5, hidden=6, dropout_in=0, dropout_out=0),
    "gru": lambda: RecurrentDecoder(V, W, cell="gru", embedding=5, hidden=6, dropout_in=0, dropout_out=0),
    "dcnn": lambda: DilatedDecoder(V, W, embedding=5, hidden=6, bottleneck=3, dropout_in=0, dropout_out=0),
    "transformer": lambda: TransformerDecoder(
        V, W, embedding=5, hidden=4, heads=2, dropout=0, dropout_in=0, dropout_out=0
    ),
}
ENCODERS = {
    "lstm": lambda: RecurrentEncoder(V, embedding=5, hidden=6),
    "cnn": lambda: ConvolutionalEncoder(V, embedding=5, kernels=(2, 4), channels=3, hidden=6, dropout=0),
    "transformer": lambda: TransformerEncoder(V, embedding=5, hidden=6, heads=2, dropout=0),
}


def decoder(kind: str) -> torch.nn.Module:
    """One that writes different texts for different codes, of which some end and some are cut."""
    torch.manual_seed(2)
    made = DECODERS[kind]()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter *= 3
    return made


@pytest.mark.parametrize("kind", DECODERS)
def test_as_the_temperature_falls_a_relaxed_text_is_the_greedy_one(kind: str):
    made, code = decoder(kind), 2 * torch.randn(40, W, generator=torch.Generator().manual_seed(1))
    greedy = write(made, code, Decoding(max_length=LONGEST))
    found = relax(made, code, 1e-4, LONGEST)
    assert 5 < sum(len(text) == LONGEST for text in greedy) < 35, "or this test says little"
    for text, row, length in zip(greedy, found.tokens, found.lengths.tolist(), strict=True):
        ended = len(text) < LONGEST
        assert row.argmax(-1).tolist()[:length] == [BOS, *text, *([EOS] if ended else [])]
        assert length == 1 + len(text) + ended
    assert found.tokens.amax(-1).mean() > 0.99


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("hard", [False, True])
def test_words_are_distributions_that_carry_gradient_and_nothing_follows_the_end(kind: str, hard: bool):
    made, code = decoder(kind), (2 * torch.randn(40, W, generator=torch.Generator().manual_seed(1))).requires_grad_()
    torch.manual_seed(2)
    found = relax(made, code, 0.7, LONGEST, hard)
    assert torch.equal(found.tokens[:, 0], F.one_hot(torch.full((40,), BOS), V).float())
    torch.testing.assert_close(found.tokens.sum(-1), torch.ones(found.tokens.shape[:2]))
    assert (found.tokens[..., UNK:] >= 0).all()
    within = torch.arange(found.tokens.shape[1]) < found.lengths[:, None]
    assert (found.tokens[..., [PAD, BOS]][within][40:] < 1e-6).sum() > 0
    pad = F.one_hot(torch.tensor(PAD), V).float()
    assert (found.tokens[~within] == pad).all()
    assert (~within).any(), "or this test says little"
    if hard:
        assert set(found.tokens.unique().tolist()) <= {0.0, 1.0} or torch.allclose(found.tokens, found.tokens.round())
    weights = torch.randn(found.tokens.shape, generator=torch.Generator().manual_seed(3))
    (gradient,) = torch.autograd.grad((found.tokens * weights)[within].sum(), code)
    assert (gradient.abs().sum(1) > 0).all()


def test_the_relaxed_word_is_the_softmax_at_the_temperature():
    """One step by hand: softmax(log p / tau) over what may be written, read as the expected word vector."""
    made, code = decoder("lstm"), torch.randn(20, W, generator=torch.Generator().manual_seed(5))
    found = relax(made, code, 0.5, 2)
    log_p, state = made.step(torch.full((20,), BOS), made.start(code))
    log_p = log_p.index_fill(1, torch.tensor([PAD, BOS]), -torch.inf)
    first = (2 * log_p).exp() / (2 * log_p).exp().sum(-1, keepdim=True)
    torch.testing.assert_close(found.tokens[:, 1], first)
    vector = torch.stack([sum(p * made.embedding.weight[word] for word, p in enumerate(row)) for row in first])
    torch.testing.assert_close(made.embedding(first), vector)
    log_p, _ = made.step(first, state)
    log_p = log_p.index_fill(1, torch.tensor([PAD, BOS]), -torch.inf)
    going = first.argmax(-1) != EOS
    assert going.any(), "or this test says little"
    torch.testing.assert_close(found.tokens[going, 2], (log_p / 0.5).softmax(-1)[going])


@pytest.mark.parametrize("kind", ENCODERS)
def test_an_encoder_reads_a_one_hot_text_as_its_ids_and_nothing_after_the_end(kind: str):
    torch.manual_seed(0)
    made = ENCODERS[kind]()
    texts = torch.randint(4, V, (5, 7))
    lengths = torch.tensor([7, 5, 1, 3, 2])
    hard = F.one_hot(texts, V).float()
    torch.testing.assert_close(made(hard, lengths), made(texts, lengths))
    after = torch.arange(7) >= lengths[:, None]
    other = torch.where(after[..., None], torch.rand(5, 7, V), hard)
    torch.testing.assert_close(made(other, lengths), made(texts, lengths))
    longer = F.pad(texts, (0, 6), value=PAD)
    torch.testing.assert_close(made(longer, lengths), made(texts, lengths))
    torch.testing.assert_close(made(texts[:1, :5], lengths[1:2]), made(texts[:1], lengths[1:2]))


def test_a_convolution_is_maximised_over_the_words_by_hand():
    torch.manual_seed(0)
    made = ConvolutionalEncoder(V, embedding=3, kernels=(2,), channels=4, hidden=5, dropout=0)
    text, (convolve,) = torch.tensor([[4, 5, 6]]), made.convolve
    words = torch.cat([made.embedding(text)[0], torch.zeros(1, 3)])
    windows = [convolve.bias + torch.einsum("cek,ke->c", convolve.weight, words[at : at + 2]) for at in range(3)]
    expected = made.layer(torch.stack(windows).relu().amax(0)).tanh()
    torch.testing.assert_close(made(text, torch.tensor([3]))[0], expected)
