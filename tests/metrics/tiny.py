"""Models small enough to know everything about."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import torch

from lvexp.anneal.constant import Constant
from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.estimators.auto import Auto
from lvexp.latents.base import AbstractLatent
from lvexp.latents.binary import Binary
from lvexp.latents.categorical import Categorical
from lvexp.latents.gaussian import Gaussian
from lvexp.latents.mixed import Mixed
from lvexp.latents.none import NoLatent
from lvexp.latents.point import Point
from lvexp.models.sentence import SentenceModel
from lvexp.networks.none import NoEncoder
from lvexp.networks.recurrent import RecurrentDecoder, RecurrentEncoder
from lvexp.regularizers.base import Regularizer, equip
from lvexp.training.module import Training

WORDS = ["a", "b", "c", "d", "e", "f"]
V = 4 + len(WORDS)
DISCRETE = {
    "categorical": lambda features, dim: Categorical(features, categories=dim),
    "binary": Binary,
    "mixed": lambda features, dim: Mixed(
        features, z=lambda features: Gaussian(features, dim), c=lambda features: Categorical(features, categories=dim)
    ),
    "blocks": lambda features, dim: Mixed(
        features,
        b=lambda features: Binary(features, dim=2),
        c=lambda features: Categorical(features, categories=dim, prior="learned"),
    ),
}
LATENTS: dict[str, type[AbstractLatent]] = {"gaussian": Gaussian, "point": Point, "none": NoLatent}


def vocabulary() -> Vocabulary:
    return Vocabulary.train([" ".join(WORDS)], kind="words", max_size=100, min_count=1, lowercase=False)


def model(
    latent: str = "gaussian",
    dim: int = 3,
    seed: int = 0,
    scale: float = 8.0,
    remedies: Sequence[Regularizer] = (),
    cell: str = "lstm",
) -> SentenceModel:
    """A model in training mode with random weights, ``scale`` times the usual so that z matters."""
    torch.manual_seed(seed)
    if latent == "none":
        encoder, variable = NoEncoder(V), NoLatent(0)
    else:
        encoder = RecurrentEncoder(V, cell=cell, embedding=6, hidden=7)
        variable = {"gaussian": Gaussian, "point": Point, **DISCRETE}[latent](encoder.width, dim)
    decoder = RecurrentDecoder(V, variable.width, cell=cell, embedding=6, hidden=7)
    made = SentenceModel(encoder, decoder, vocabulary=vocabulary(), latent=variable, estimator=Auto())
    equip(made, remedies)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter *= scale
        if latent == "gaussian":
            variable.linear.weight[dim:] *= 0.1  # moderate variances
    return made


def training(made, anneal=None, optimizer=None) -> Training:
    return Training(made, anneal or Constant(), optimizer or functools.partial(torch.optim.Adam, lr=0.01))


def encode(*texts: str) -> Batch:
    return Batch.of(vocabulary().encode(list(texts)))


def corpus() -> Iterable[Batch]:
    """Eleven texts in three batches of unequal size."""
    return [
        encode("a b c", "c b", "d", "a b c d e f"),
        encode("e f a b", "f f", "a a a c", "b", "e d c b a"),
        encode("c", "d e f"),
    ]
