"""A folder with a tiny trained run of every kind of model."""

from __future__ import annotations

import random
from pathlib import Path

from helpers import SMALL

from lvexp.python import train

_TINY = (*SMALL, "trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.limit_val_batches=1")
_TINY += ("data.batch_size=16", "data.split.valid=0.1", "data.split.test=0.1", "evaluation.reconstructions=1")
_NO_DIM = tuple(word for word in _TINY if word != "latent.dim=4")
_SYMBOLS = ("latent.hidden=8", "latent.embedding=8")
_BAGS = (
    "trainer.max_epochs=1",
    "data.split.valid=0.1",
    "data.split.test=0.1",
    "data.counts.min_df=1",
    "encoder.hidden=8",
    "latent.dim=4",
    "model.map=0",
    "logger=csv",
)
_ALONE = ("data.files.valid=null", "data.files.test=null")
_SOURCES = ("data.columns.source=source",)
#: kind → what is typed for it, beside its corpus
KINDS: dict[str, tuple[str, ...]] = {
    "svae": ("model=svae", *_TINY),
    "rnnlm": ("model=rnnlm", *(word for word in _NO_DIM if not word.startswith("encoder"))),
    "ae": ("model=ae", *_TINY),
    "vmf": ("model=svae", "latent=vmf", "regularizer=none", *_TINY),
    "categoricals": ("model=svae", "latent=categoricals", "regularizer=none", "latent.categories=3", *_TINY),
    "binary": ("model=svae", "latent=binary", "regularizer=none", *_TINY),
    "symbols": ("model=svae", "latent=symbols", "regularizer=none", *_SYMBOLS, *_TINY),
    "m2": ("model=m2", "latent.c.categories=2", "latent.z.dim=3", *_NO_DIM),
    "control": ("model=control", "latent.c.categories=2", "latent.z.dim=3", "model.base_epochs=0", *_NO_DIM),
    "prodlda": ("model=prodlda", *_BAGS),
    "dirichlet": ("model=prodlda", "latent=dirichlet", *_BAGS),
    "nasm": (
        "model=nasm",
        "data=wikiqa",
        *_SOURCES,
        "data.columns.group=source",
        "data.columns.label=right",
        *_ALONE,
        *_TINY,
    ),
    "seq2seq": ("model=seq2seq", *_SOURCES, "data.columns.label=null", *_NO_DIM),
    "cvae": ("model=cvae", *_SOURCES, "data.columns.label=null", *_TINY),
    "msved": ("model=msved", *_SOURCES, "data.columns.label=null", "data.columns.tags=tags", *_TINY),
    "codec": ("model=codec", "data.columns.label=null", *_SYMBOLS, *_TINY),
    "toy": (
        *("model=toy", "data.points.train=64", "data.points.valid=32", "data.points.test=32", "trainer.max_epochs=1"),
        *("trainer.check_val_every_n_epoch=1", "encoder.hidden=8", "decoder.hidden=8", "logger=csv"),
        "evaluation.iw_samples=2",
    ),
    "game": (
        "model=game",
        "data=world",
        "data.eval_batch_size=8",
        "trainer.limit_val_batches=1",
        "trainer.max_epochs=1",
        "trainer.check_val_every_n_epoch=1",
        "logger=csv",
        "trainer.limit_train_batches=2",
        "evaluation.iw_samples=2",
    ),
}


def corpus(folder: Path) -> Path:
    """Sentences of two classes, with sources and tags."""
    rng = random.Random(0)
    words = {"animal": ["cat", "dog", "bird"], "thing": ["cup", "box", "hat"]}
    rows = ["label\tright\tsource\ttags\ttext"]
    for row in range(200):
        label = rng.choice(sorted(words))
        body = " and ".join(rng.choice(words[label]) for _ in range(rng.randint(1, 4)))
        rows.append(f"{label}\t{int(row % 4 == 0)}\twhat is {row // 4}\tnum={rng.choice(['sg', 'pl'])}\tthe {body}")
    file = folder / "corpus.tsv"
    file.write_text("\n".join(rows) + "\n")
    return file


def made(kind: str, file: Path, outputs: Path) -> Path:
    """The run folder of a kind."""
    columns = ["data.columns.text=text", "data.columns.label=label", "data.vocabulary.min_count=1"]
    typed = [f"data.root={file.parent}", f"data.files.train={file.name}", *columns]
    if not any(word.startswith("data=") for word in KINDS[kind]):
        typed.append("data=text")
    typed = [] if kind in ("game", "toy") else typed
    run = train(*typed, *KINDS[kind], f"name={kind}", f"paths.outputs={outputs}", "trainer.threads=1")
    assert run.folder is not None
    return run.folder
