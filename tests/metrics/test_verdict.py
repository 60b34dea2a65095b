from __future__ import annotations

import math

import pytest

from lvexp.report.verdict import verdict


def scores(**found):
    known = {"elbo": -101.0, "nll": 100.0, "ppl": 90.0, "latent_dim": 32, "recon_bleu": 12.3}
    return known | {"rate": 5.0, "mi": 4.0, "mi_cap": 8.52, "mi_near_cap": False, "active_units": 20} | found


@pytest.mark.parametrize(
    ("found", "line"),
    [
        ({"rate": 0.02, "mi": 0.01, "active_units": 0}, "collapsed: rate 0.02 nats, 0/32 active units, MI 0.01"),
        ({"rate": 0.02, "mi": -0.001, "active_units": 0}, "collapsed: rate 0.02 nats, 0/32 active units, MI 0.00"),
        (
            {"rate": 3.2, "mi": 0.02, "active_units": 0},
            "ignores z: rate 3.20 nats but MI 0.02, 0/32 active units",
        ),
        ({"rate": 0.9, "mi": 0.7, "active_units": 1}, "weak: rate 0.90 nats, 1/32 active units, MI 0.70"),
        ({"rate": 2.0, "mi": 1.5, "active_units": 0}, "weak: rate 2.00 nats, 0/32 active units, MI 1.50"),
        ({}, "healthy: rate 5.00 nats, 20/32 active units, MI 4.00"),
        (
            {"mi": 8.5, "mi_near_cap": True},
            "healthy: rate 5.00 nats, 20/32 active units, MI 8.50 (near its cap 8.52: the true value may be larger)",
        ),
        (
            {"latent_dim": None, "rate": None, "mi": None, "mi_near_cap": None, "active_units": None},
            "language model: exact NLL 100.00 nats, perplexity 90.00",
        ),
        (
            {"rate": None, "elbo": None, "mi": None},
            "auto-encoder: reconstruction BLEU 12.30, no prior, so no likelihood",
        ),
        (
            {"rate": 5.1, "mi": 2.2, "rate_floor": 5.0, "rate_floor_by": "free_bits"},
            "weak: rate 5.10 nats at the floor of free_bits, 20/32 active units, MI 2.20, less than half of the rate",
        ),
        (
            {"rate": 3.1, "mi": 2.9, "rate_floor": 3.0, "rate_floor_by": "free_bits"},
            "healthy: rate 3.10 nats at the floor of free_bits, 20/32 active units, MI 2.90",
        ),
        ({"rate_floor": 2.0, "rate_floor_by": "mdr"}, "healthy: rate 5.00 nats, 20/32 active units, MI 4.00"),
        # so many texts cannot show more than log N of a large rate
        ({"rate": 30.0, "mi": 6.0}, "healthy: rate 30.00 nats, 20/32 active units, MI 6.00"),
        (
            {"rate": 0.05, "mi": 0.02, "active_units": None, "code_perplexity": 4.36, "code_values": 8},
            "collapsed: rate 0.05 nats, modes at 4.36 of 8 values, which tell next to nothing, MI 0.02",
        ),
        (
            {"probe_accuracy": 0.16, "majority_accuracy": 0.15, "probe_n": 700},
            "weak: rate 5.00 nats, 20/32 active units, MI 4.00, and labels are told no better (16.0%) than by the "
            "majority (15.0%)",
        ),
        (
            {"probe_accuracy": 0.3, "majority_accuracy": 0.15, "probe_n": 700},
            "healthy: rate 5.00 nats, 20/32 active units, MI 4.00",
        ),
        (
            {"probe_accuracy": 0.1, "majority_accuracy": 0.15, "probe_n": 20},
            "healthy: rate 5.00 nats, 20/32 active units, MI 4.00",
        ),
        ({"elbo": math.nan, "ppl": math.inf}, "diverged: elbo nan, ppl inf"),
        ({"latent_dim": None, "nll": math.inf}, "diverged: nll inf"),
    ],
)
def test_line(found, line):
    assert verdict(scores(**found)) == line
