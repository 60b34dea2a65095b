"""``result.json``: the results of a run, an interface for scripts. Keys may be added, but are never removed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict

from lvexp.durable import replace_durably

RESULT = "result.json"
#: names the run of a folder: its id, and the code it began with
MARK = ".lvexp.json"
#: folder of a run that holds its later evaluations
EVALUATIONS = "evaluations"


class Scores(TypedDict, total=False):
    """Figures of one split; None if a figure does not exist for the model. Nats are nats per text.

    elbo: -(distortion + rate), with beta = 1. nll_iw: -log p(x) by importance weighting with iw_samples draws, with its
    standard error nll_iw_se, of which iw_tail_se is due to sampled words; iw_effective: effective number of draws, mean
    over texts, iw_few: share of texts with fewer than ten effective draws, whose estimate is too large. ppl, ppl_iw:
    perplexity from -elbo and nll_iw over ``tokens`` predicted tokens (``<eos>`` counted). mi: mutual information of x
    and z under q, with the aggregate of mi_n posteriors: summed over all z if mi_exact, otherwise from draws, with the
    standard error mi_se. ppl_marginal: from nll, if that is the sum over all values of a discrete z. code_perplexity:
    its values in use, of code_values. cluster_accuracy, cluster_nmi, cluster_ari: their agreement with the labels;
    class_accuracy: share of classes that a model with labels predicts correctly. probe_accuracy: share of probe_n test
    texts that a logistic regression on the posterior means, fitted on probe_fitted other texts, classifies correctly;
    majority_accuracy: the share in the most frequent class. rate_floor: nats at which the regularizer rate_floor_by
    holds the rate or stops reducing it. unk, samples_unk: share of <unk> among the words of the test set and of the
    samples; text_unit: the units of BLEU and distinct-n, words or characters. active_units: number of dimensions, of
    latent_dim, whose posterior mean has a variance above 0.01. recon_bleu: corpus BLEU, 0 to 100, of greedy
    reconstructions.
    """

    elbo: float | None
    distortion: float | None
    rate: float | None
    nll_iw: float | None
    nll_iw_se: float | None
    iw_samples: int | None
    iw_effective: float | None
    iw_few: float | None
    iw_tail_se: float | None
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
    """One run: its identity, its course and its results.

    choices: group → option, a list for groups with several. overrides: as typed. commit: of the code, None outside a
    checkout, with "+" if files differ from it. seconds: of the whole job. tokens_per_second: in training, without
    validation.
    test: figures on the test set. valid: figures of the best validation. monitor: the one that selected it. reported:
    parts of the usual report that the model has. groups: title and rows (name, value, unit, how) of each part of the
    table, as printed; in a run of an older version, only those that the model added. message: why a run was refused
    or failed.
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
    """Writes ``result.json`` atomically: a reader finds all of it or nothing.

    Known keys are in the order of :class:`Result` and :class:`Scores`; others follow in order of their names.

    Raises:
        ValueError: a figure is not finite, which JSON cannot represent; the message names it.
    """
    if broken := _broken(result, ""):
        raise ValueError(f"not finite: {', '.join(broken)}")
    ordered = _ordered(result, list(Result.__annotations__))
    for split in ("test", "valid"):
        if ordered.get(split) is not None:
            ordered[split] = _ordered(ordered[split], list(Scores.__annotations__))
    text = json.dumps(ordered, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    replace_durably(path, text.encode())


def _broken(value: Any, name: str) -> list[str]:
    """Names of the figures that are not finite, such as ``test.rate``."""
    if isinstance(value, Mapping):
        return [found for key, inner in value.items() for found in _broken(inner, f"{name}.{key}".lstrip("."))]
    return [name] if isinstance(value, float) and not math.isfinite(value) else []


def _ordered(values: Mapping[str, Any], first: list[str]) -> dict[str, Any]:
    return {key: values[key] for key in [*(k for k in first if k in values), *sorted(values.keys() - set(first))]}
