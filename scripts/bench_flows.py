"""The sides of `scripts/bench flows`, see bench_sides.py: a sentence VAE whose posterior and prior are flows.

The textbook's posterior is an inverse autoregressive flow of masked `nn.Linear` layers (Germain et al. 2015; Kingma et
al. 2016), its prior zuko's masked autoregressive flow, and its networks are those of bench_sides.Textbook. Parameters
and function are those of `latent=iaf prior=flow`: both have the same loss.
"""

from __future__ import annotations

import copy
import json
import sys
from typing import Any

import bench_sides
import torch
from bench_sides import _linear, answer, bare, dropout, losses, prepared, textbook
from torch import nn
from torch.distributions import Normal
from torch.nn import functional as F


class Masked(nn.Linear):
    """A linear layer some of whose weights are 0."""

    def __init__(self, like: nn.Linear, mask: torch.Tensor):
        super().__init__(like.in_features, like.out_features, bias=like.bias is not None)
        self.load_state_dict(like.state_dict())
        self.register_buffer("mask", mask.clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class Step(nn.Module):
    """One transformation of the posterior."""

    def __init__(self, like: Any):
        super().__init__()
        self.reverse = like.reverse
        self.inputs, self.outputs = Masked(like.inputs, like.reads), Masked(like.outputs, like.told)
        self.context = _linear(like.context)

    def forward(self, z: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        z = z.flip(-1) if self.reverse else z
        mean, gate = self.outputs(torch.relu(self.inputs(z) + self.context(h))).chunk(2, -1)
        keep = torch.sigmoid(gate)
        return keep * z + (1 - keep) * mean, torch.log(keep).sum(-1)


class Textbook(bench_sides.Textbook):
    """A sentence VAE with flows."""

    def __init__(self, like: Any, dropout: tuple[float, float]):
        super().__init__(like, dropout)
        self.steps = nn.ModuleList(Step(block) for block in like.latent.blocks)
        self.flow = copy.deepcopy(like.latent.given.flow)
        self.dim = like.latent.dim

    def forward(self, tokens: torch.Tensor, beta: float) -> torch.Tensor:
        """The mean loss of texts of equal length."""
        states, _ = self.reader(self.encoder(tokens))
        params = self.latent(states[:, -1])
        (mu, log_variance), context = params[:, : 2 * self.dim].chunk(2, -1), params[:, 2 * self.dim :]
        q = Normal(mu, (0.5 * log_variance).exp())
        z = q.rsample()
        log_q = q.log_prob(z).sum(-1)
        for step in self.steps:
            z, log_det = step(z, context)
            log_q = log_q - log_det
        rate = log_q - self.flow().log_prob(z)
        return (self.nll(tokens, z) + beta * rate).mean()


def flows_lvexp(settings: dict[str, Any]) -> None:
    bare(prepared(settings), settings["steps"])


def flows_textbook(settings: dict[str, Any]) -> None:
    side = prepared(settings)
    textbook(side, Textbook(side.model, dropout(side)), settings["steps"])


def same(settings: dict[str, Any]) -> None:
    """The losses of some batches, ours and the textbook's, with flows that are not the identity."""
    side = prepared(settings)
    with torch.no_grad():
        for parameter in side.model.latent.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    answer(losses=losses(side, Textbook(side.model, dropout(side)), settings["steps"]))


if __name__ == "__main__":
    globals()[sys.argv[1]](json.loads(sys.argv[2]))
