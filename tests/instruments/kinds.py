"""A tiny model of every kind, and texts that it reads."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import tiny
import torch
from helpers import plain
from hydra import compose, initialize_config_dir

from lvexp import build
from lvexp.__main__ import MENU
from lvexp.data.bag import Bag
from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.points import as_batch
from lvexp.instruments.settings import EvaluationSettings
from lvexp.job import identity
from lvexp.models.base import LatentModel
from lvexp.models.m2 import M2
from lvexp.regularizers.free_bits import FreeBits
from lvexp.regularizers.semi_amortized import SemiAmortized

SETTINGS = EvaluationSettings(iw_samples=3, samples=4, reconstructions=2, interpolations=1, max_decode=5)
CLASSES = ("first", "second")
TAGS = {"case": ["none", "nom", "dat"], "num": ["none", "sg", "pl"]}
WORDS = ["apple", "bread", "cheese", "dates", "eggs", "figs"]
SMALL = ("encoder.hidden=4", "logger=csv", "latent.dim=3")


def labelled(batches: Sequence[Batch]) -> list[Batch]:
    """The batches with labels of two classes, and one without."""
    made = [dataclasses.replace(batch, labels=(torch.arange(len(batch)) + at) % 2) for at, batch in enumerate(batches)]
    made[0].labels[0] = -1
    return made


def documents() -> list[Batch]:
    bag = Bag(WORDS)
    texts = [" ".join(WORDS[(at * step) % 6] for step in range(1, 4 + at % 3)) for at in range(9)]
    return labelled([bag.batch(texts[:4]), bag.batch(texts[4:])])


def pairs() -> list[Batch]:
    batches = [("a b", "c d e"), ("a b", "f"), ("a b", "e f")], [("d", "a b c d"), ("d", "b b")]
    found, at = [], 0
    for group, texts in enumerate(batches):
        sources, answers = zip(*texts, strict=True)
        batch = Batch.of(*(tiny.vocabulary().encode(list(part)) for part in (answers, sources)))
        rows = torch.arange(len(texts))
        found.append(dataclasses.replace(batch, labels=(rows == 1).long(), group=rows * 0 + group, index=rows + at))
        at += len(texts)
    return found


def sentence(latent: str, remedies: Sequence = ()) -> LatentModel:
    return tiny.model(latent, remedies=remedies)


def m2() -> LatentModel:
    made = tiny.model("mixed")
    made.__class__ = M2
    made.alpha = 1.0
    return made


def words() -> list[Batch]:
    """Words with sources and tags."""
    tags = torch.arange(12).view(6, 2) % 3
    return [dataclasses.replace(batch, attributes=tags[batch.index], labels=None, group=None) for batch in pairs()]


def games() -> list[Batch]:
    """Texts with two vectors each."""
    made = [dataclasses.replace(batch, source=torch.eye(6)[:, None].repeat(1, 2, 1)[batch.index]) for batch in pairs()]
    return [dataclasses.replace(batch, labels=None, group=None) for batch in made]


def chosen(*overrides: str, vocabulary=None, **more: Any) -> LatentModel:
    """A model as the menu has it."""
    identity.register()
    with initialize_config_dir(str(MENU), version_base="1.3"):
        config = plain(compose("config", [*overrides], return_hydra_config=True))
    torch.manual_seed(0)
    return build.model(config, vocabulary or tiny.vocabulary(), **more)


_PAIRS = ("data=multi30k", "encoder.embedding=6", "decoder.embedding=6", "decoder.hidden=5")
_PLANE = ("encoder.embedding=4", "encoder.hidden=4", "decoder.hidden=4", "logger=csv")
_WIKIQA = ("data=wikiqa", "encoder.embedding=6", "decoder.hidden=5")
#: name → what makes a model in training mode
MODELS: dict[str, Callable[[], LatentModel]] = {
    **{latent: functools.partial(sentence, latent) for latent in (*tiny.LATENTS, *tiny.DISCRETE)},
    "refined": lambda: sentence("gaussian", [SemiAmortized(steps=2)]),
    "held": lambda: sentence("gaussian", [FreeBits(nats=50.0)]),
    "m2": m2,
    "nvdm": lambda: chosen("model=nvdm", "data=20news", *SMALL, vocabulary=Bag(WORDS)),
    "prodlda": lambda: chosen("model=prodlda", "data=20news", *SMALL, vocabulary=Bag(WORDS)),
    "nasm": lambda: chosen("model=nasm", *_WIKIQA, *SMALL),
    "answer_attention": lambda: chosen("model=answer_attention", *_WIKIQA, *SMALL[:-1]),
    "seq2seq": lambda: chosen("model=seq2seq", *_PAIRS, *SMALL[:-1]),
    "cvae": lambda: chosen("model=cvae", *_PAIRS, *SMALL),
    "msved": lambda: chosen("model=msved", *_PAIRS[1:], *SMALL, attributes=TAGS),
    "codec": lambda: chosen(
        "model=codec", *_PAIRS[1:], *SMALL, *(f"latent.{size}=4" for size in ("hidden", "embedding"))
    ),
    "toy": lambda: chosen("model=toy", *_PLANE, vocabulary=Features(1, 2)),
    "game": lambda: chosen("model=game", "decoder.hidden=5", "latent.hidden=4", *SMALL[:2], sources=Features(2, 6)),
}


def points() -> list[Batch]:
    """Points in the plane."""
    draw = torch.Generator().manual_seed(0)
    return labelled([as_batch(torch.randn(size, 1, 2, generator=draw)) for size in (4, 5)])


PAIRED = ("nasm", "answer_attention", "seq2seq", "cvae", "msved", "codec", "game")
SENTENCES = [kind for kind in MODELS if kind not in ("nvdm", "prodlda", "toy", *PAIRED)]


def texts(kind: str) -> list[Batch]:
    """A set of texts for a kind of model."""
    if kind in ("nvdm", "prodlda"):
        return documents()
    if kind == "toy":
        return points()
    if kind in ("msved", "game"):
        return words() if kind == "msved" else games()
    return pairs() if kind in PAIRED else labelled(list(tiny.corpus()))


def others(kind: str) -> dict[str, list[Batch]]:
    return {"train": texts(kind), "valid": texts(kind)}
