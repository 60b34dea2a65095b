"""Attention over the states of a memory."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.errors import ConfigError
from lvexp.shapes import Bool, Float, Tensor

KINDS = ("none", "dot", "additive")


class Alignment(nn.Module):
    r"""How much a decoder's state looks at each state of a memory, :math:`\alpha_{tl} \propto \exp(e(h_t, s_l))`, with
    :math:`e = h^\top W s` (``dot``, the "general" score of Luong, Pham & Manning 2015), or :math:`e = v^\top
    \tanh(W_h h + W_s s)` (``additive``, Bahdanau, Cho & Bengio 2015).

    Args:
        kind: "dot" or "additive".
        query: width of the decoder's states. memory: width of the memory's.
    """

    def __init__(self, kind: str, query: int, memory: int):
        super().__init__()
        if kind not in KINDS[1:]:
            raise ConfigError(f"decoder.attention={kind}: it is one of {', '.join(KINDS)}")
        self.additive = kind == "additive"
        self.key = nn.Linear(memory, query, bias=False)
        if self.additive:
            self.query, self.score = nn.Linear(query, query), nn.Linear(query, 1, bias=False)

    def weights(
        self, query: Float[Tensor, "S B T H"], key: Float[Tensor, "B L H"], mask: Bool[Tensor, "B L"]
    ) -> Float[Tensor, "S B T L"]:
        r""":math:`\alpha`, which sums to 1 over L; 0 where the mask is False."""
        energy = self._additive(query, key) if self.additive else torch.einsum("sbth,blh->sbtl", query, key)
        return energy.masked_fill(~mask[:, None], -torch.inf).softmax(-1)

    def _additive(self, query: Float[Tensor, "S B T H"], key: Float[Tensor, "B L H"]) -> Float[Tensor, "S B T L"]:
        r""":math:`v^\top (\tanh(W_h h + W_s s) + 1)`, by tanh(x) + 1 = 2 sigmoid(2x): what is the same for all states
        changes no weight, and a sigmoid takes a sixth of the time of tanh on a CPU."""
        asked, key = 2 * self.query(query), 2 * key
        if query.shape[2] == 1:
            return 2 * self.score(torch.sigmoid(asked + key))[..., None, :, 0]
        # one state of the memory after the other: all at once would need L times the memory
        if torch.is_grad_enabled():
            each = [self.score(torch.sigmoid(asked + part[:, None]))[..., 0] for part in key.unbind(1)]
            return 2 * torch.stack(each, -1)
        energy, work = asked.new_empty(*asked.shape[:-1], key.shape[1]), torch.empty_like(asked)
        for at, part in enumerate(key.unbind(1)):
            energy[..., at] = self.score(torch.add(asked, part[:, None], out=work).sigmoid_())[..., 0]
        return energy.mul_(2)


class Attention(Alignment):
    r"""What a decoder's state looks up in a memory of states s_1 … s_L, and the two together (Luong, Pham & Manning
    2015, global attention, eq. 5 and 7):

    .. math:: c_t = \sum_l \alpha_{tl} s_l, \quad \tilde h_t = \tanh(W_c [c_t; h_t])

    with the weights of :class:`Alignment`. Attention comes after the recurrent layer and does not feed back into it, so
    that all positions are attended from at once. The output is as wide as the query.
    """

    def __init__(self, kind: str, query: int, memory: int):
        super().__init__(kind, query, memory)
        self.out = nn.Linear(memory + query, query, bias=False)

    def forward(
        self,
        query: Float[Tensor, "S B T H"],
        key: Float[Tensor, "B L H"],
        value: Float[Tensor, "B L M"],
        mask: Bool[Tensor, "B L"],
    ) -> Float[Tensor, "S B T H"]:
        r""":math:`\tilde h`, given the memory's states as ``value``, their keys (:attr:`key` of them, computed once for
        a text) and where they count."""
        weights = self.weights(query, key, mask)
        memory, own = self.out.weight.split([value.shape[-1], query.shape[-1]], 1)
        places = len(query) * query.shape[2]
        if places > value.shape[1]:  # then W_c is applied to the states, which are fewer
            context = torch.einsum("sbtl,blh->sbth", weights, F.linear(value, memory))
        else:
            context = F.linear(torch.einsum("sbtl,blm->sbtm", weights, value), memory)
        return torch.tanh(context + F.linear(query, own))
