"""``result.json``: what a run found, an interface for scripts. Keys are only ever added."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

from lvexp.durable import replace_durably

RESULT = "result.json"


class Scores(TypedDict, total=False):
    """Figures of one split; None where a figure does not exist for the model. Nats are nats per text.

    elbo: -(distortion + rate), with beta = 1. nll_iw: -log p(x) by importance weighting with iw_samples draws, with
    its standard error nll_iw_se; iw_effective: effective number of draws, mean over texts, iw_few: share of texts for
    which fewer than ten decide, and whose estimate is too large. ppl, ppl_iw: perplexity from -elbo and nll_iw over
    ``tokens`` predicted tokens (``<eos>`` counted). mi: mutual information of x and z under q, against the
    aggregate of mi_n posteriors, summed over all z where mi_exact, else from draws that give it the standard error
    mi_se.
    ppl_marginal: from nll where that is the sum over all values of a discrete z. code_perplexity: values of it in use,
    of code_values. cluster_accuracy, cluster_nmi, cluster_ari: agreement of those with the labels; class_accuracy:
    share of classes that a model with labels gets right.
    probe_accuracy: share of probe_n test texts that a logistic regression on the posterior means puts into their class,
    fitted on probe_fitted others; majority_accuracy: the share in the most frequent class. rate_floor: nats at which
    the remedy rate_floor_by holds the rate or stops pressing it. unk, samples_unk: share of <unk> among the words of
    the test set and of the samples; text_unit: words, or characters, of which BLEU and distinct-n are taken.
    active_units: dimensions of latent_dim whose posterior mean varies by more than 0.01. recon_bleu: corpus BLEU,
    0 to 100, of greedy reconstructions.
    """

    elbo: float | None
    distortion: float | None
    rate: float | None
    nll_iw: float | None
    nll_iw_se: float | None
    iw_samples: int | None
    iw_effective: float | None
    iw_few: float | None
    ppl: float | None
    ppl_iw: float | None
    ppl_marginal: float | None
    mi: float | None
    mi_se: float | None
    mi_n: int | None
    mi_exact: bool | None
    active_units: int | None
    latent_dim: int | None
    code_perplexity: float | None
    code_values: int | None
    cluster_accuracy: float | None
    cluster_nmi: float | None
    cluster_ari: float | None
    class_accuracy: float | None
    probe_accuracy: float | None
    majority_accuracy: float | None
    probe_n: int | None
    probe_fitted: int | None
    rate_floor: float | None
    rate_floor_by: str | None
    unk: float | None
    samples_unk: float | None
    text_unit: str | None
    recon_bleu: float | None
    sentences: int
    tokens: int


class Result(TypedDict, total=False):
    """One run: its identity, how it went, what it found.

    choices: group → option, a list for regularizer. overrides: as typed. commit: of the code, None outside a checkout,
    with "+" where files differ from it. seconds: of the whole job. tokens_per_second: in training, validation left out.
    test: figures on the test set. valid: the best validation's. monitor: which of these picked it. reported: parts of
    the usual report that the model has. groups: title and rows (name, value, unit, how) of what the model adds to it,
    as printed. message: why a run was refused or failed.
    """

    run_id: str
    group_id: str
    status: Literal["done", "skipped", "refused", "failed", "resumed"]
    message: str | None
    verdict: str | None
    seed: int
    choices: Mapping[str, Any]
    overrides: list[str]
    commit: str | None
    seconds: float | None
    tokens_per_second: float | None
    test: Mapping[str, Any]
    valid: Mapping[str, Any]
    monitor: str
    reported: list[str]
    groups: list[Any]


def write_result(path: str | Path, result: Mapping[str, Any]) -> None:
    """Writes ``result.json`` so that a reader finds it whole or not at all.

    Known keys come in the order of :class:`Result` and :class:`Scores`, others after them by name.

    Raises:
        ValueError: a figure is not finite, which JSON cannot say; it is named.
    """
    if broken := _broken(result, ""):
        raise ValueError(f"not finite: {', '.join(broken)}")
    ordered = _ordered(result, list(Result.__annotations__))
    for split in ("test", "valid"):
        if ordered.get(split) is not None:
            ordered[split] = _ordered(ordered[split], list(Scores.__annotations__))
    text = json.dumps(ordered, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_durably(path, text.encode())


def read_result(path: str | Path) -> dict[str, Any]:
    """The dict that :func:`write_result` was given."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def _broken(value: Any, name: str) -> list[str]:
    """Names of the figures that are not finite, like ``test.rate``."""
    if isinstance(value, Mapping):
        return [found for key, inner in value.items() for found in _broken(inner, f"{name}.{key}".lstrip("."))]
    return [name] if isinstance(value, float) and not math.isfinite(value) else []


def _ordered(values: Mapping[str, Any], first: list[str]) -> dict[str, Any]:
    return {key: values[key] for key in [*(k for k in first if k in values), *sorted(values.keys() - set(first))]}
