"""Tags of a text, such as the morphological features of a word: embedded, looked at, and inferred."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.distributions import Distribution, Independent

from lvexp.distributions.onehot import OneHot
from lvexp.reading import Memory
from lvexp.shapes import Bool, Float, Int, Tensor

_IMPOSSIBLE = -1e9  # finite, so that q log q is 0 for a value that a key does not have


class Tags(nn.Module):
    r"""The tags y = (y_1 … y_K) of a text, one categorical for each key, whose first value is "none".

    A value is K one-hot vectors of V entries, of which a key of fewer values uses the first. What a decoder looks at is
    a memory with an embedding for each key; "none" has the embedding 0, and does not count (Zhou & Neubig 2017).

    Args:
        sizes: number of values of each key, "none" included.
        features: H, width of what :math:`q(y|x) = \prod_k \mathrm{Cat}(y_k; \mathrm{softmax}(W_k h(x)))` is made from.
        width: E, of the embeddings.
    """

    valid: Bool[Tensor, "K V"]

    def __init__(self, sizes: Sequence[int], features: int, width: int):
        super().__init__()
        most = max(sizes)
        self.register_buffer("valid", torch.arange(most) < torch.tensor([*sizes])[:, None], persistent=False)
        self.vectors = nn.Parameter(torch.empty(len(sizes), most, width).uniform_(-0.1, 0.1))
        self.heads = nn.Linear(features, len(sizes) * most)

    def logits(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B K V"]:
        """log q(y_k|x), up to a constant."""
        return self.heads(features).unflatten(-1, self.valid.shape).masked_fill(~self.valid, _IMPOSSIBLE)

    def posterior(self, features: Float[Tensor, "B H"]) -> Distribution:
        """q(y|x)."""
        return _variables(self.logits(features))

    def prior(self) -> Distribution:
        """p(y), uniform over the values of each key."""
        return _variables(torch.zeros_like(self.valid, dtype=torch.float32).masked_fill(~self.valid, _IMPOSSIBLE))

    def values(self, classes: Int[Tensor, "*B K"]) -> Float[Tensor, "*B K V"]:
        """The one-hot vectors of the numbers of values; -1 counts as "none"."""
        return nn.functional.one_hot(classes.clamp(min=0), self.valid.shape[1]).to(self.vectors.dtype)

    def memory(self, values: Float[Tensor, "B K V"]) -> Memory:
        """What a decoder looks at. Its summary is tanh of the embeddings' sum. A text without any tag has a memory of
        zeros."""
        there = self.vectors[:, 1:]
        states = torch.einsum("bkv,kve->bke", values[..., 1:], there)
        mask = values.detach().argmax(-1) != 0
        mask[:, 0] |= ~mask.any(-1)
        return Memory(*_packed(states, mask), torch.tanh(states.sum(1)))


def _packed(
    states: Float[Tensor, "B K E"], mask: Bool[Tensor, "B K"]
) -> tuple[Float[Tensor, "B L E"], Bool[Tensor, "B L"]]:
    """The states that count, in front, and as few others as there can be: a word has few of the keys. A GPU would be
    waited for."""
    if mask.device.type != "cpu":
        return states, mask
    mask, order = mask.sort(dim=1, descending=True, stable=True)
    width = int(mask.sum(1).max()) if len(mask) else 0
    return states.take_along_dim(order[:, :width, None], 1), mask[:, :width]


def _variables(logits: Float[Tensor, "*batch K V"]) -> Distribution:
    return Independent(OneHot(logits=logits, validate_args=False), 1, validate_args=False)
