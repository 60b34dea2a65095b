"""The verdict on a model, in one line."""

from __future__ import annotations

import math
from collections.abc import Mapping

#: Nats below which a rate or a mutual information counts as none: 0.1 nats narrow the choice of text by a tenth, less
#: than the difference between two seeds of one model; papers call such a model collapsed.
NEGLIGIBLE = 0.1
#: Nats of mutual information from which z is in use: one nat distinguishes fewer than three (e) kinds of text, which
#: length alone would achieve.
USED = 1.0

#: perplexity below which practically all texts share one value: with two values, 99.5 % of them
ONE_VALUE = 1.03
#: share of the rate, or of the part that N texts can show, below which information is low
LITTLE = 0.5
#: how far above a regularizer's floor a rate still counts as at the floor
AT = 1.1
#: texts from which a probe is judged, and the standard errors by which it must beat the majority
PROBED, ERRORS = 100, 2.0

Scores = Mapping[str, float | int | str | None]


def verdict(scores: Scores) -> str:
    """The verdict on the figures of :func:`lvexp.instruments.evaluate`; figures that are not finite mean "diverged".

    - ``collapsed``: rate and mutual information below 0.1 nats;
    - ``ignores z``: a rate, but mutual information below 0.1: the rate is paid for but not used (as with a committed
      rate);
    - ``weak``: mutual information below 1 nat, or less than half of the rate (the rest is paid for without carrying
      information); or no active unit, or a single value in use of a discrete z; or, if texts have labels, a linear
      probe that predicts them from z no better than the most frequent label does;
    - ``healthy``: none of these. This says that z is used, not how good the model is: for that, compare it with a
      language model of the same sizes, whose NLL may well be lower.

    The verdict mentions a rate at the floor of a regularizer: it was set, not determined by the texts.
    """
    broken = [name for name, score in scores.items() if isinstance(score, float) and not math.isfinite(score)]
    if broken:
        return f"diverged: {', '.join(f'{name} {scores[name]}' for name in broken)}"
    if scores["latent_dim"] is None:
        return f"language model: exact NLL {_two(scores['nll'])} nats, perplexity {_two(scores['ppl'])}"
    if scores["rate"] is None:
        return f"auto-encoder: reconstruction BLEU {_two(scores['recon_bleu'])}, no prior, so no likelihood"
    rate, mi = float(scores["rate"]), float(scores["mi"] or 0)
    units, in_use = _use(scores, told=mi >= NEGLIGIBLE)
    paid, information = f"rate {_two(rate)} nats{_floor(scores)}", f"MI {_two(mi)}"
    if scores["mi_near_cap"]:
        information += f" (near its cap {_two(scores['mi_cap'])}: the true value may be larger)"
    if mi < NEGLIGIBLE and rate >= NEGLIGIBLE:
        return f"ignores z: {', '.join([f'{paid} but {information}', *units])}"
    if mi < NEGLIGIBLE:
        return f"collapsed: {', '.join([paid, *units, information])}"
    weak = [] if mi >= USED and in_use else [""]
    if mi < LITTLE * min(rate, float(scores.get("mi_cap") or math.inf)) and not scores["mi_near_cap"]:
        weak.append(", less than half of the rate")
    if _probe_fails(scores):
        probe, majority = (100 * float(scores[name] or 0) for name in ("probe_accuracy", "majority_accuracy"))
        weak.append(f", and labels are told no better ({probe:.1f}%) than by the majority ({majority:.1f}%)")
    return f"{'weak' if weak else 'healthy'}: {', '.join([paid, *units, information])}{''.join(weak)}"


def _floor(scores: Scores) -> str:
    """Whether the rate is at the value where a regularizer holds it."""
    floor = scores.get("rate_floor")
    at = floor is not None and float(floor) > 0 and float(scores["rate"] or 0) <= AT * float(floor)
    return f" at the floor of {scores['rate_floor_by']}" if at else ""


def _probe_fails(scores: Scores) -> bool:
    """Whether a linear probe beats naming the most frequent label by less than two standard errors."""
    probe, majority = scores.get("probe_accuracy"), scores.get("majority_accuracy")
    texts = int(scores.get("probe_n") or 0)
    if probe is None or majority is None or texts < PROBED:
        return False
    return float(probe) < float(majority) + ERRORS * math.sqrt(float(majority) * (1 - float(majority)) / texts)


def _use(scores: Scores, told: bool) -> tuple[list[str], bool]:
    """How much of z is in use, in words, and whether any is, as far as there is a figure for it; ``told``: whether z
    carries any information about the text."""
    said, in_use = [], scores.get("active_units") is None and scores.get("code_perplexity") is None
    if scores.get("active_units") is not None:
        said.append(f"{scores['active_units']}/{scores['latent_dim']} active units")
        in_use = bool(scores["active_units"])
    if scores.get("code_perplexity") is not None:
        values = f"{_two(scores['code_perplexity'])} of {scores['code_values']} values"
        several = float(scores["code_perplexity"] or 0) >= ONE_VALUE
        # modes differ between texts even if all values are almost equally likely
        said.append(f"modes at {values}, which tell next to nothing" if several and not told else f"{values} in use")
        in_use = in_use or several
    return said, in_use


def _two(score: float | int | str | None) -> str:
    """Two decimals, and no minus sign before zero."""
    return f"{float(score or 0):z.2f}"
