"""The sides of `scripts/bench transformer`, see bench_sides.py: a sentence VAE of transformers.

The textbook is torch's own: nn.TransformerEncoder for both networks, the decoder's with a causal mask, nn.Dropout,
nn.Linear over all logits, F.cross_entropy. Its parameters and its function are those of `decoder=transformer
decoder.entry=addend encoder=transformer`, attention without dropout included: without any, both have the same loss.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import torch
from bench_sides import _linear, answer, bare, losses, prepared, textbook
from torch import nn
from torch.nn import functional as F


class Textbook(nn.Module):
    """A sentence VAE of transformers, z added to the decoder's word vectors."""

    def __init__(self, like: Any, config: dict[str, Any]):
        super().__init__()
        encoder, decoder = like.encoder, like.decoder
        self.read, self.say = (_embedding(part.embedding) for part in (encoder, decoder))
        self.encoder = _stack(config["encoder"])
        for mine, theirs in zip(self.encoder.layers, encoder.layers, strict=True):
            mine.load_state_dict(theirs.state_dict())
        self.decoder = _stack(config["decoder"])
        for mine, theirs in zip(self.decoder.layers, decoder.layers, strict=True):
            _copy(mine, theirs)
        for mine, theirs in ((self.encoder, encoder), (self.decoder, decoder)):
            mine.norm.load_state_dict(theirs.norm.state_dict())
        self.latent, self.code, self.output = (
            _linear(part) for part in (like.latent.linear, decoder.code, decoder.output)
        )  # fmt: skip
        shares = (config["encoder"]["dropout"], config["decoder"]["dropout_in"], config["decoder"]["dropout_out"])
        self.drop_read, self.drop_in, self.drop_out = (nn.Dropout(share) for share in shares)
        width = config["decoder"]["hidden"]
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
        angles = torch.arange(500)[:, None] * rates
        table = torch.zeros(500, width)
        table[:, 0::2], table[:, 1::2] = angles.sin(), angles.cos()
        self.register_buffer("places", table)

    def inputs(self, embedding: nn.Embedding, tokens: torch.Tensor) -> torch.Tensor:
        return embedding(tokens) * math.sqrt(embedding.embedding_dim) + self.places[: tokens.shape[1]]

    def forward(self, tokens: torch.Tensor, beta: float, noise: torch.Tensor | None = None) -> torch.Tensor:
        """The mean loss of texts of equal length."""
        states = self.encoder(self.drop_read(self.inputs(self.read, tokens)))
        mu, log_variance = self.latent(states.mean(1)).chunk(2, -1)
        z = mu + (0.5 * log_variance).exp() * (torch.randn_like(mu) if noise is None else noise)
        rate = 0.5 * (mu**2 + log_variance.exp() - 1 - log_variance).sum(1)
        words = tokens[:, :-1]
        x = self.drop_in(self.inputs(self.say, words) + self.code(z)[:, None])
        mask = nn.Transformer.generate_square_subsequent_mask(words.shape[1])
        logits = self.output(self.drop_out(self.decoder(x, mask=mask, is_causal=True)))
        nll = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        return (nll.view(len(tokens), -1).sum(1) + beta * rate).mean()


def _stack(node: dict[str, Any]) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(
        node["hidden"], node["heads"], node["expansion"] * node["hidden"], node["dropout"], batch_first=True,
        norm_first=True,
    )  # fmt: skip
    layer.self_attn.dropout = 0.0
    return nn.TransformerEncoder(layer, node["layers"], nn.LayerNorm(node["hidden"]), enable_nested_tensor=False)


def _copy(mine: Any, theirs: Any) -> None:
    with torch.no_grad():
        mine.self_attn.in_proj_weight.copy_(theirs.given.weight)
        mine.self_attn.in_proj_bias.copy_(theirs.given.bias)
    norm, wide, _, _, narrow = theirs.wide
    for new, old in ((mine.self_attn.out_proj, theirs.out), (mine.norm1, theirs.norm), (mine.norm2, norm),
                     (mine.linear1, wide), (mine.linear2, narrow)):  # fmt: skip
        new.load_state_dict(old.state_dict())


def _embedding(like: nn.Embedding) -> nn.Embedding:
    return nn.Embedding.from_pretrained(like.weight.detach().clone(), freeze=False)


def transformer_lvexp(settings: dict[str, Any]) -> None:
    bare(prepared(settings), settings["steps"])


def transformer_textbook(settings: dict[str, Any]) -> None:
    side = prepared(settings)
    textbook(side, Textbook(side.model, side.config), settings["steps"])


def same(settings: dict[str, Any]) -> None:
    """The losses of some batches, ours and the textbook's."""
    side = prepared(settings)
    answer(losses=losses(side, Textbook(side.model, side.config), settings["steps"]))


if __name__ == "__main__":
    globals()[sys.argv[1]](json.loads(sys.argv[2]))
