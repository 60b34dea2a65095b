"""One pass over a test set: what :func:`lvexp.instruments.evaluate` measures before anything is written or drawn."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torchmetrics import MeanMetric, Metric

from lvexp.data.batch import Batch
from lvexp.data.special import UNK
from lvexp.errors import DataError
from lvexp.metrics.active_units import ActiveUnits
from lvexp.metrics.bound import Bound, perplexity
from lvexp.metrics.clustering import clustering
from lvexp.metrics.code_usage import CodeUsage
from lvexp.metrics.likelihood import ImportanceWeighted, countable, marginal
from lvexp.metrics.mutual_information import MutualInformation
from lvexp.metrics.probe import features
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import Regularizer
from lvexp.report.findings import Score
from lvexp.shapes import Float, Tensor

if TYPE_CHECKING:
    from lvexp.instruments.evaluate import EvaluationSettings

_DRAWS = 10_000  # for the mutual information, all texts together: a second's work, an error of 0.02 nats
_NEAR = 0.95  # share of its cap from which the mutual information is "near" it


@dataclasses.dataclass
class Measured:
    """What one pass over the test set left."""

    scores: dict[str, Score]
    texts: list[list[int]]  # of a model that writes texts
    sentences: int = 0
    tokens: int = 0
    finite: bool = True
    prior: bool = False
    points: Float[Tensor, "N ..."] | None = None
    means: Float[Tensor, "N D"] | None = None
    assigned: list[list[int]] | None = None
    usage: list[list[float]] | None = None
    labels: list[int] | None = None
    rate_per_dimension: list[float] | None = None
    mean_variance: list[float] | None = None
    features: Float[Tensor, "N F"] | None = None  # what a probe reads


def measure(model: LatentModel, loader: Iterable[Batch], settings: EvaluationSettings) -> Measured:
    """All that is measured batch by batch. A part of the report that the model does not have is left out."""
    alone: dict[str, Any] = {"sync_on_compute": False}  # one process evaluates; no other would answer
    bound, better, active = Bound(**alone), Bound(**alone), ActiveUnits(settings.active_threshold, **alone)
    usage, exact = CodeUsage(**alone), MeanMetric(**alone).set_dtype(torch.float64)
    information = MutualInformation(model.latent.posterior, settings.mi_sentences, settings.mi_batch, _DRAWS, **alone)
    weighted = ImportanceWeighted(settings.iw_samples, settings.iw_tolerance, **alone)
    for metric in (bound, better, active, usage, exact, information, weighted):
        metric.to(model.device)
    seen = Measured({"latent_dim": model.latent.dim}, [], finite=_finite(*model.parameters()))
    points, means, assigned, labels, right, read = [], [], [], [], [], []
    unknown = 0
    for number, batch in enumerate(loader):
        seen.sentences, seen.tokens = seen.sentences + len(batch), seen.tokens + batch.predicted()
        if "text" in model.reported:
            ends = batch.lengths.tolist()
            unknown += int((batch.tokens == UNK).sum())
            seen.texts += [row[1 : end - 1] for row, end in zip(batch.tokens.tolist(), ends, strict=True)]
        if not seen.finite:  # a distribution with such parameters cannot even be drawn from: only count the rest
            continue
        batch = batch.to(model.device)
        before = torch.get_rng_state()
        terms = model.terms(batch)
        bound.update(terms)
        seen.finite = _finite(terms.distortion, *([] if terms.rate is None else [terms.rate]))
        if not seen.finite:
            continue
        if model.latent.dim is not None:
            points.append(model.latent.point(terms.q))
            labels += [] if batch.labels is None else batch.labels.tolist()
            read.append(features(model.latent, terms.q))
        if (mean := model.latent.means(terms.q)) is not None and model.latent.continuous:
            means.append(mean)
            if "use" in model.reported:
                active.update(mean)
        if "use" in model.reported and (marginals := model.latent.marginals(terms.q)) is not None:
            assigned += marginals.argmax(-1).tolist()
            usage.update(marginals)
        if batch.labels is not None and (guessed := model.classify(terms.params)) is not None:
            known = batch.labels >= 0
            right += (guessed == batch.labels)[known].tolist()
        if terms.p is not None:
            seen.prior = True
            if "use" in model.reported:
                information.update(terms)
            with seeded(settings.seed + number):  # on its own, so that K moves no other figure
                if "likelihood" in model.reported and countable(model):
                    exact.update(marginal(model, batch))
                elif "likelihood" in model.reported:
                    weighted.update(model, batch, terms.params)
            with seeded(settings.seed + number):
                refined = model.refined(batch, terms.params)
                if refined is not None:
                    torch.set_rng_state(before)  # the same draws as the encoder's own posteriors were measured with
                    better.update(model.terms(batch, params=refined))
    if not seen.sentences:
        raise DataError("the test set holds no texts: there is nothing to evaluate")

    if bound.sentences:
        found = bound.compute()
        nelbo, seen.rate_per_dimension = found.pop("nelbo"), found.pop("rate_per_dimension")
        seen.scores |= found | {"elbo": None if nelbo is None else -nelbo}
        if model.latent.dim is None:
            seen.scores |= {"nll": nelbo, "nll_kind": "exact"}
    else:
        seen.scores["distortion"] = math.nan
    seen.scores |= {"sentences": seen.sentences, "tokens": seen.tokens}
    if "text" in model.reported:
        seen.scores["unk"] = unknown / max(1, seen.tokens - seen.sentences)  # <eos> is no word
    if seen.finite and seen.prior:
        if "likelihood" in model.reported:
            seen.scores |= _marginal(exact, seen) if countable(model) else _likelihood(weighted)
        floors = {_name(remedy): remedy.floor for remedy in model.remedies if remedy.floor is not None}
        if floors:
            remedy = max(floors, key=lambda name: floors[name])
            seen.scores |= {"rate_floor": floors[remedy], "rate_floor_by": remedy}
        seen.scores |= _information(information, model.latent.configurations) if "use" in model.reported else {}
        if better.sentences:
            refined = better.compute()
            found = {"elbo_refined": -refined["nelbo"], "rate_refined": refined["rate"]}
            seen.scores |= {name: finite_or_none(score) for name, score in found.items()}
    if seen.finite and points:
        seen.points, seen.labels, seen.features = torch.cat(points), labels or None, torch.cat(read)
    if seen.finite and assigned:
        found = usage.compute()
        seen.assigned, seen.usage = assigned, found["usage"]
        seen.scores |= {"code_perplexity": found["code_perplexity"], "code_values": max(model.latent.values)}
        seen.scores |= clustering(assigned, labels) or {} if labels else {}
    if seen.finite and right:
        seen.scores["class_accuracy"] = sum(right) / len(right)
    if seen.finite and means:
        seen.means = torch.cat(means)
        if "use" in model.reported:
            units = active.compute()
            seen.scores["active_units"], seen.mean_variance = units["active_units"], units["variance"]
    return seen


def _marginal(metric: Metric, seen: Measured) -> dict[str, Score]:
    nll = float(metric.compute())
    tokens = seen.scores["tokens"]
    assert isinstance(tokens, int)
    return {"nll": nll, "nll_kind": "exact marginal", "ppl_marginal": perplexity(nll * seen.sentences, tokens)}


def _likelihood(metric: ImportanceWeighted) -> dict[str, Score]:
    found = metric.compute()
    return found | {"nll": found["nll_iw"], "nll_kind": "importance-weighted"}


def _name(remedy: Regularizer) -> str:
    """As the menu has it: of its file."""
    return type(remedy).__module__.rpartition(".")[2]


def _information(metric: MutualInformation, values: int | None) -> dict[str, Score]:
    found = metric.compute()
    cap = math.log(min(found["mi_n"], values or math.inf))
    near = not found["mi_exact"] and found["mi"] > _NEAR * cap
    return found | {"mi_cap": cap, "mi_near_cap": near, "mi_batch_size": metric.size}


def _finite(*tensors: Tensor) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def finite_or_none(score: Score) -> Score:
    return None if isinstance(score, float) and not math.isfinite(score) else score


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators from ``seed``, and afterwards as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
