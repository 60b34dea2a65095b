"""Evaluations and results to report on."""

from __future__ import annotations

import functools

import pytest
from tabled import grouped

from lvexp.instruments import reconstruction, samples
from lvexp.instruments.evaluate import Evaluation
from lvexp.instruments.exhibits import Interpolation
from lvexp.report import figures
from lvexp.report.findings import PARTS

SCORES = {
    "elbo": -37.8,
    "distortion": 34.2,
    "rate": 3.6,
    "nll": 37.12,
    "nll_kind": "importance-weighted",
    "nll_iw": 37.12,
    "nll_iw_se": 0.31,
    "iw_samples": 100,
    "iw_effective": 41.3,
    "iw_few": 0.02,
    "ppl": 41.25,
    "ppl_iw": 38.34,
    "mi": 2.83,
    "mi_se": 0.021,
    "mi_n": 700,
    "mi_exact": False,
    "mi_cap": 6.55,
    "mi_near_cap": False,
    "mi_batch": 2.11,
    "mi_batch_size": 32,
    "active_units": 5,
    "latent_dim": 32,
    "recon_bleu": 12.37,
    "recon_bleu_sentences": 690,
    "distinct_1": 0.31,
    "distinct_2": 0.74,
    "self_bleu": 22.19,
    "samples": 100,
    "sentences": 701,
    "tokens": 6812,
}
#: what a model without a latent variable has
EXACT = {
    **dict.fromkeys(SCORES),
    "elbo": -36.9,
    "distortion": 36.9,
    "nll": 36.9,
    "nll_kind": "exact",
    "ppl": 37.01,
    "sentences": 701,
    "tokens": 6812,
}


WRITTEN = ["play some music", "", "book a table for two " + "and a chair " * 12 + "please"]
COPIED = [("play jazz", "play jazz"), ("rate this book", "rate this album")]
BETWEEN = [Interpolation(("play jazz", "rate this book"), ["play jazz", "rate jazz", "rate this book"])]


@pytest.fixture
def result():
    return {
        "run_id": "svae-3f2a91bc44",
        "group_id": "svae-77",
        "status": "done",
        "message": None,
        "seed": 3,
        "choices": {"model": "svae", "regularizer": ["free_bits"]},
        "overrides": ["model=svae"],
        "commit": "0123456789abcdef",
        "seconds": 142.3,
        "tokens_per_second": 7123.4,
        "verdict": "healthy: rate 3.60 nats, 5/32 active units, MI 2.83",
        "test": dict(SCORES),
        "valid": {"elbo": -37.5},
        "groups": grouped(SCORES),
    }


@pytest.fixture
def language_model(result):
    verdict = "language model: exact NLL 36.90 nats, perplexity 37.01"
    return {**result, "run_id": "rnnlm-1", "verdict": verdict, "test": dict(EXACT), "groups": grouped(EXACT)}


@pytest.fixture
def evaluation():
    return Evaluation(
        scores=dict(SCORES),
        verdict="healthy: rate 3.60 nats, 5/32 active units, MI 2.83",
        groups=grouped(SCORES),
        sections=[
            samples.section(WRITTEN, "decoded from draws of the prior"),
            reconstruction.section(COPIED, "posterior means"),
            reconstruction.interpolations(BETWEEN),
        ],
        pictures={
            "rate_per_dimension": functools.partial(figures.rate_per_dimension, [0.1, 3.5], [0.001, 0.8]),
            "projection": functools.partial(figures.projection, [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], None, []),
        },
        reported=PARTS,
    )
