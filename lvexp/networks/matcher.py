"""Scores how well an answer fits a question: attention over the answer's words and a bilinear form."""

from __future__ import annotations

import torch
from torch import nn

from lvexp.networks.base import Memories
from lvexp.networks.dropout import Dropout
from lvexp.shapes import Bool, Float, Tensor


class Matcher(nn.Module):
    r"""The relevance of an answer, log p(y=1|q,a,h) / p(y=0|q,a,h) (Miao, Yu & Blunsom 2016, their NASM).

    With the question's summary s_q, the answer's states s_a(i) and summary s_a, and the code h,

    .. math:: \alpha_i \propto \exp(w^\top \tanh(W_h h + W_s s_a(i))), \quad c = \sum_i \alpha_i s_a(i), \quad
        z = \tanh(W_c c + W_n s_a), \quad \text{relevance} = s_q^\top M z + b

    Without a code, s_q replaces h: deterministic attention. Without attention, z = s_a.

    Args:
        vocabulary: V; unused, but every decoder is given it.
        code: W, width of h; 0 without a latent variable.
        states: H, width of the encoder's states.
        attention: whether to attend to the answer's words.
        hidden: width of the attention's hidden layer.
        dropout: share of the entries of states and summaries set to 0 in training.
    """

    def __init__(
        self, vocabulary: int, code: int, states: int, attention: bool = True, hidden: int = 128, dropout: float = 0.0
    ):
        super().__init__()
        self.drop = Dropout(dropout)
        self.attention = attention
        if attention:
            self.driver = nn.Linear(code or states, hidden)
            self.key = nn.Linear(states, hidden, bias=False)
            self.weight = nn.Linear(hidden, 1, bias=False)
            self.attended = nn.Linear(states, states, bias=False)
            self.summary = nn.Linear(states, states)
        self.form = nn.Linear(states, states, bias=False)
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, memories: Memories, code: Float[Tensor, "S B W"]) -> Float[Tensor, "S B"]:
        """The relevance for every draw of h, given the memories ``question`` and ``answer``."""
        question, states, answer = map(
            self.drop, (memories["question"].summary, memories["answer"].states, memories["answer"].summary)
        )
        read = answer.expand(len(code), -1, -1)
        if self.attention:
            weights = self._attend(question, states, memories["answer"].mask, code)
            context = torch.einsum("sbt,bth->sbh", weights, states)
            read = torch.tanh(self.attended(context) + self.summary(answer))
        return (self.form(question) * read).sum(-1) + self.bias

    def attend(self, memories: Memories, code: Float[Tensor, "S B W"]) -> Float[Tensor, "S B T"]:
        """The attention weights α of the answer's tokens; they sum to 1 over T."""
        answer = memories["answer"]
        return self._attend(memories["question"].summary, answer.states, answer.mask, code)

    def _attend(
        self,
        question: Float[Tensor, "B H"],
        states: Float[Tensor, "B T H"],
        mask: Bool[Tensor, "B T"],
        code: Float[Tensor, "S B W"],
    ) -> Float[Tensor, "S B T"]:
        driver = code if code.shape[-1] else question.expand(len(code), -1, -1)
        scores = self.weight(torch.tanh(self.driver(driver)[:, :, None] + self.key(states)))[..., 0]
        return scores.masked_fill(~mask, -torch.inf).softmax(-1)
