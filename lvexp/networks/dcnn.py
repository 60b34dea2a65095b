"""A decoder of dilated causal convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from lvexp.errors import ConfigError
from lvexp.networks.base import NOTHING, Memories, WordDecoder, Words, WordVectors
from lvexp.networks.dropout import Dropout
from lvexp.shapes import Float, Int, Tensor

#: dilation of each block in the SCNN, MCNN and LCNN of Yang et al. 2017
SIZES = {"small": (1, 2, 4), "medium": (1, 2, 4, 8, 16), "large": (1, 2, 4, 8, 16, 1, 2, 4, 8, 16)}


class Block(nn.Module):
    """x + 1x1(ReLU(dilated causal convolution(ReLU(1x1(x))))), the residual block of Yang et al. 2017.

    The block is narrow in the middle. The convolution is implemented as a linear map of ``kernel`` positions that are
    ``dilation`` apart.

    Attributes:
        reach: how many earlier positions each position sees, (kernel - 1) dilation.
    """

    def __init__(self, hidden: int, bottleneck: int, kernel: int, dilation: int):
        super().__init__()
        self.kernel, self.dilation, self.reach = kernel, dilation, (kernel - 1) * dilation
        self.shrink = nn.Linear(hidden, bottleneck)
        self.convolve = nn.Linear(kernel * bottleneck, bottleneck)
        self.grow = nn.Linear(bottleneck, hidden)

    def forward(
        self, x: Float[Tensor, "N T H"], past: Float[Tensor, "N R C"]
    ) -> tuple[Float[Tensor, "N T H"], Float[Tensor, "N R C"]]:
        """The output at T positions, given ``past``, the convolution's inputs at the ``reach`` positions before them;
        and the last ``reach`` inputs, which are the ``past`` of the next positions."""
        length = x.shape[1]
        inner = torch.cat([past, F.relu(self.shrink(x))], 1)
        seen = [inner[:, start : start + length] for start in range(0, self.reach + 1, self.dilation)]
        return x + self.grow(F.relu(self.convolve(torch.cat(seen, -1)))), inner[:, length:]

    def past(self, like: Float[Tensor, "N *T H"]) -> Float[Tensor, "N R C"]:
        """The inputs before the first position: zeros."""
        return like.new_zeros(len(like), self.reach, self.shrink.out_features)


class DilatedDecoder(WordDecoder):
    r"""p(x|z) = Π_t p(x_t | x_{t-R..t-1}, z) by residual dilated causal convolutions (Yang et al. 2017).

    z is concatenated to every word vector; a linear map takes both to the width of the blocks. There is one block for
    each dilation. The decoder sees the last

    .. math:: R = 1 + (k - 1) \sum_l d_l

    tokens and no others: with kernel 3, R is 15 (small), 63 (medium) or 125 (large). The smaller R, the more
    information about a text z must carry. Training scores all positions at once; writing keeps at most R numbers per
    channel and text, so every token costs the same, wherever it is. Dropout is in the same places as in the recurrent
    decoder; there is no normalisation. Weights are initialised by torch's default.

    Args:
        vocabulary: V.
        code: W, width of the code; 0 makes a language model.
        size: "small", "medium" or "large", the dilations of :data:`SIZES`.
        dilations: of each block, from the first to the last; replaces ``size``.
        kernel: k, number of positions that a convolution combines.
        embedding: width of the word vectors.
        hidden: width between the blocks and of the states.
        bottleneck: width inside the blocks.
        dropout_in: share of the word vectors' entries set to 0 in training, the same for all draws.
        dropout_out: share of the states' entries set to 0 in training.

    Attributes:
        receptive_field: R, tokens.
    """

    def __init__(
        self,
        vocabulary: int,
        code: int,
        size: str = "small",
        dilations: Sequence[int] | None = None,
        kernel: int = 3,
        embedding: int = 256,
        hidden: int = 256,
        bottleneck: int = 128,
        dropout_in: float = 0.5,
        dropout_out: float = 0.5,
    ):
        super().__init__()
        if size not in SIZES:
            raise ConfigError(f"decoder.size={size}: it is one of {', '.join(SIZES)}\ntry  decoder.dilations=[1,2,4]")
        chosen = SIZES[size] if dilations is None else dilations
        if isinstance(chosen, str | int) or not chosen or any(not isinstance(d, int) or d < 1 for d in chosen):
            raise ConfigError(
                f"decoder.dilations={dilations}: a list of whole numbers from 1 upwards, one for each block\n"
                "try  decoder.dilations=[1,2,4] | decoder.size=small"
            )
        if kernel < 1:
            raise ConfigError(f"decoder.kernel={kernel}: a convolution joins at least 1 position")
        self.receptive_field = 1 + (kernel - 1) * sum(chosen)
        self.embedding = WordVectors(vocabulary, embedding)
        # one matrix over word vector and code, in two parts: the words' part is computed once for all draws of z
        self.words = nn.Linear(embedding, hidden)
        self.code = nn.Linear(code, hidden, bias=False) if code else None
        blocks = nn.ModuleList(Block(hidden, bottleneck, kernel, dilation) for dilation in chosen)
        self.blocks = cast(Sequence[Block], blocks)
        self.drop_in, self.drop_out = Dropout(dropout_in), Dropout(dropout_out)
        self.output = nn.Linear(hidden, vocabulary, bias=False)

    def states(
        self, inputs: Words, code: Float[Tensor, "S B W"], memories: Memories = NOTHING
    ) -> Float[Tensor, "S B T H"]:
        words = self.words(self.drop_in(self.embedding(inputs)))
        x = words.expand(len(code), *words.shape)
        if self.code is not None:
            x = x + self.code(code)[:, :, None]
        x = x.flatten(0, 1)
        for block in self.blocks:
            x, _ = block(x, block.past(x))
        return x.unflatten(0, code.shape[:2])

    def start(self, code: Float[Tensor, "N W"], memories: Memories = NOTHING):
        return (code, *(block.past(code) for block in self.blocks))

    def step(self, tokens: Int[Tensor, " N"] | Float[Tensor, "N V"], state):
        code, *pasts = state
        x = self.words(self.drop_in(self.embedding(tokens[:, None])))
        if self.code is not None:
            x = x + self.code(code)[:, None]
        for number, block in enumerate(self.blocks):
            x, pasts[number] = block(x, pasts[number])
        return self.output(self.drop_out(x[:, 0])).log_softmax(-1), (code, *pasts)

    def extra_repr(self) -> str:
        return f"receptive_field={self.receptive_field}"
