"""A short text, made of words of the text that it stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from lvexp.checks import parent
from lvexp.data.special import SPECIAL, Special
from lvexp.data.vocabulary import Vocabulary
from lvexp.distributions.sequences import Sequences
from lvexp.errors import ConfigError
from lvexp.job import checkpoints
from lvexp.latents.sequence import AbstractSequence
from lvexp.networks.pointer import Language, Pointer
from lvexp.networks.recurrent import RecurrentDecoder
from lvexp.shapes import Float, Shaped, Tensor

PRIORS = ("language", "uniform")


class PointerLatent(AbstractSequence):
    r"""z = c_1 … c_n, n ≤ L, words of the vocabulary: q(c|s) points at words of the text s, and may say others
    (:class:`~lvexp.networks.pointer.Pointer`), and p(c) is a language model (Miao & Blunsom 2016).

    Its words are those of the texts, so that a value can be read as a text. The rate is exact at each step given the
    words before it, and averaged over draws. The parameters are the states of s, packed
    (:class:`~lvexp.networks.pointer.Given`), which a model passes as the features. If the number of words is given,
    both q and p are conditioned on it.

    Args:
        features: H, width of the encoder's states. words: K, size of the vocabulary. special: tokens of it.
        dim: L, the largest number of words. least: the smallest.
        mixed: whether q may say words that are not in the text.
        hidden, embedding: widths of the pointer's state and word vectors.
        prior: "language", a language model, or "uniform" over the words at each step.
        language: cell, embedding, hidden, layers and dropout of the language model.
        run: folder of a finished language model, which is then p(c) and not trained; None: it is trained here.
    """

    speaker: Pointer  # pyright: ignore[reportIncompatibleVariableOverride]
    before: Language  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(
        self,
        features: int,
        words: int,
        special: Special = SPECIAL,
        dim: int = 12,
        least: int = 1,
        mixed: bool = False,
        hidden: int = 256,
        embedding: int = 128,
        prior: str = "language",
        language: Mapping[str, Any] | None = None,
        run: str | None = None,
    ):
        super().__init__()
        if prior not in PRIORS:
            raise ConfigError(f"latent.prior={prior}: it is one of {', '.join(PRIORS)}")
        self.dim, self.width, self.run, self.states = dim, dim * words, run, features
        self.speaker = Pointer(words, special, dim, least, features, hidden, embedding, mixed)
        sizes = {"dropout_in": 0.0, "dropout_out": 0.0, **(language or {})}
        network = RecurrentDecoder(words, 0, special=special, **sizes) if prior == "language" else None
        self.before = Language(words, special, dim, least, network, frozen=run is not None)
        self.register_buffer("nothing", torch.zeros(1), persistent=False)

    def prepare(self, vocabulary: Vocabulary) -> None:
        """Reads the language model; called before training only, a finished run has it.

        Raises:
            ConfigError: it is of another vocabulary or other sizes.
        """
        if self.run is None or self.before.network is None:
            return
        typed = f"latent.run={self.run}"
        saved = checkpoints.read(parent.checkpoint(self.run), "the command that trained it, with force=true")
        if saved["hyper_parameters"]["vocabulary"] != vocabulary.to_json():
            raise ConfigError(
                f"{typed}: that language model has another vocabulary than these texts\n"
                f"try  data.vocabulary.run={self.run} | python -m lvexp model=rnnlm on these texts, and its folder"
            )
        known = {name.removeprefix("decoder."): value for name, value in saved["state_dict"].items()}
        own = self.before.network.state_dict()
        if other := [name for name in own if name not in known or known[name].shape != own[name].shape]:
            raise ConfigError(
                f"{typed}: that language model has nothing of the same shape for {', '.join(other)}\n"
                "try  latent.language.… as the language model's decoder had them"
            )
        self.before.network.load_state_dict({name: known[name] for name in own})

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return self.speaker.parameters()

    def params(self, features: Float[Tensor, "B P"]) -> Float[Tensor, "B P"]:
        return features

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Sequences:
        return Sequences(self.before, self.nothing if condition is None else condition)

    def code(self, value: Shaped[Tensor, "S B L K"]) -> Float[Tensor, "S B W"]:
        return value.flatten(-2)
