"""The linear encoder of feature vectors."""

from __future__ import annotations

import pytest
import torch
from helpers import Compose, checked

from lvexp.errors import ConfigError
from lvexp.networks.linear import LinearEncoder

LENGTHS = torch.tensor([2, 1])


def test_a_state_is_the_sum_of_the_vectors_of_its_features():
    encoder, vectors = LinearEncoder(5, 3), torch.rand(2, 2, 5).round()
    expected = sum(vectors[..., at, None] * encoder.embedding.weight[at] for at in range(5))
    torch.testing.assert_close(encoder.states(vectors, LENGTHS), expected)
    words = torch.tensor([[4, 0], [1, 2]])
    assert torch.equal(encoder.states(words, LENGTHS), encoder.embedding.weight[words])


def test_blocks_have_parts_of_a_state_to_themselves():
    encoder = LinearEncoder(5, 3, [2, 3])
    assert encoder.width == 6
    vectors = torch.tensor([[[1.0, 0, 0, 0, 1], [0, 1, 0, 0, 0]]])
    weight, nothing = encoder.embedding.weight, torch.zeros(3)
    states = encoder.states(vectors, LENGTHS[:1])
    expected = torch.stack([torch.cat([weight[0], weight[4]]), torch.cat([weight[1], nothing])])
    torch.testing.assert_close(states, expected[None])
    assert torch.equal(encoder.states(torch.tensor([[1, 4]]), LENGTHS[:1])[0, 1], torch.cat([nothing, weight[4]]))
    states[0, 0, 3:].sum().backward()
    assert encoder.embedding.weight.grad is not None
    assert encoder.embedding.weight.grad.abs().sum(1).nonzero()[:, 0].tolist() == [4]


def test_blocks_of_another_size_are_refused(composed: Compose):
    with pytest.raises(
        ConfigError, match=r"encoder.blocks=\[2,2\]: they have 4 features in all, and the data has 5\ntry"
    ):
        LinearEncoder(5, 3, [2, 2])
    with pytest.raises(
        ConfigError, match=r"encoder.blocks=\[0\]: must be a list in which every element is a whole number"
    ):
        checked(composed("model=game", "encoder.blocks=[0]"))
