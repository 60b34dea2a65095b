"""Scoring many draws at once against scoring them one by one, and torch's own layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lvexp.networks.recurrent import RecurrentDecoder
from lvexp.networks.unroll import unroll


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_states_are_those_of_torch(kind):
    torch.manual_seed(0)
    rnn = kind(5, 6, batch_first=True)
    x, hidden, cell = torch.randn(4, 7, 5), torch.randn(4, 6), torch.randn(4, 6)
    with torch.no_grad():
        start = (hidden[None], cell[None]) if kind is nn.LSTM else hidden[None]
        expected, _ = rnn(x, start)
        gates = x @ rnn.weight_ih_l0.T + rnn.bias_ih_l0
        # the four rows as two draws of two texts: what the draws do not share is constant
        shared, constant = torch.randn(2, 7, gates.shape[-1]), torch.randn(2, 2, gates.shape[-1])
        apart = (shared + constant[:, :, None]).flatten(0, 1)
        rest = hidden, cell if kind is nn.LSTM else None, rnn.weight_hh_l0, rnn.bias_hh_l0
        found = unroll(gates, torch.zeros(1, 4, gates.shape[-1]), *rest)
        together = unroll(shared, constant, *rest)
        alone = unroll(apart, torch.zeros(1, 4, gates.shape[-1]), *rest)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.allclose(together, alone, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("entry", ["initial", "every_step", "both"])
@pytest.mark.parametrize("inputless", [False, True])
def test_many_draws_score_as_each_alone(cell: str, layers: int, entry: str, inputless: bool):
    torch.manual_seed(0)
    decoder = RecurrentDecoder(
        30, 3, cell=cell, embedding=5, hidden=6, layers=layers, entry=entry, inputless=inputless
    ).eval()
    inputs, targets, lengths = torch.randint(30, (4, 7)), torch.randint(30, (4, 7)), torch.tensor([8, 8, 5, 2])
    code = torch.randn(9, 4, 3)
    with torch.no_grad():
        together = decoder(inputs, targets, lengths, code)
        alone = torch.cat([decoder(inputs, targets, lengths, draw[None]) for draw in code])
    assert torch.allclose(together, alone, atol=1e-5)
