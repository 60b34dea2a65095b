"""One line for a reader in a hurry."""

from __future__ import annotations

import math
from collections.abc import Mapping

#: Nats below which a rate or a mutual information is as good as none: at 0.1 nats z narrows the choice of text by a
#: tenth, less than two seeds of one model differ; papers call such a model collapsed.
NEGLIGIBLE = 0.1
#: Nats of mutual information from which z is in use: one nat tells fewer than three (e) kinds of text apart, which is
#: what length alone would do.
USED = 1.0

#: perplexity below which all texts as good as share one value: with two values, 99.5 % of them do
ONE_VALUE = 1.03

Scores = Mapping[str, float | int | str | None]


def verdict(scores: Scores) -> str:
    """What the figures of :func:`lvexp.evaluation.evaluate` amount to; figures that are not finite mean "diverged".

    - ``collapsed``: rate and mutual information below 0.1 nats;
    - ``ignores z``: a rate, but mutual information below 0.1: paid for, not used (as with a committed rate);
    - ``weak``: mutual information below 1 nat, or no active unit, or a single value in use of a discrete z;
    - ``healthy``: anything above. It says that z is used, not that the model is good.
    """
    broken = [name for name, score in scores.items() if isinstance(score, float) and not math.isfinite(score)]
    if broken:
        return f"diverged: {', '.join(f'{name} {scores[name]}' for name in broken)}"
    if scores["latent_dim"] is None:
        return f"language model: exact NLL {_two(scores['nll'])} nats, perplexity {_two(scores['ppl'])}"
    if scores["rate"] is None:
        return f"auto-encoder: reconstruction BLEU {_two(scores['recon_bleu'])}, no prior, so no likelihood"
    rate, information = _two(scores["rate"]), _two(scores["mi"])
    units, in_use = _use(scores)
    if scores["mi_near_cap"]:
        information += f" (near its cap {_two(scores['mi_cap'])}: the true value may be larger)"
    if float(scores["mi"] or 0) >= NEGLIGIBLE:
        used = float(scores["mi"] or 0) >= USED and in_use
        return f"{'healthy' if used else 'weak'}: rate {rate} nats, {units}, MI {information}"
    if float(scores["rate"]) >= NEGLIGIBLE:
        return f"ignores z: rate {rate} nats but MI {information}, {units}"
    return f"collapsed: rate {rate} nats, {units}, MI {information}"


def _use(scores: Scores) -> tuple[str, bool]:
    """How much of z is in use, in words, and whether any."""
    said, in_use = [], False
    if scores.get("active_units") is not None:
        said.append(f"{scores['active_units']}/{scores['latent_dim']} active units")
        in_use = bool(scores["active_units"])
    if scores.get("code_perplexity") is not None:
        said.append(f"{_two(scores['code_perplexity'])} of {scores['code_values']} values in use")
        in_use = in_use or float(scores["code_perplexity"] or 0) >= ONE_VALUE
    return ", ".join(said), in_use


def _two(score: float | int | str | None) -> str:
    """Two decimals, and no minus before a zero."""
    return f"{float(score or 0):z.2f}"
