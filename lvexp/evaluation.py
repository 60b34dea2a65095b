"""The honest report's figures: what a trained model does on a test set, whatever it was trained with."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torchmetrics import MeanMetric, Metric

from lvexp.batch import Batch
from lvexp.errors import ConfigError, DataError
from lvexp.exhibits import Interpolation, interpolate, pairs, reconstruct, sample, spread
from lvexp.findings import PARTS, Findings, Score
from lvexp.metrics.active_units import ActiveUnits
from lvexp.metrics.bleu import corpus_bleu, self_bleu
from lvexp.metrics.bound import Bound, perplexity
from lvexp.metrics.clustering import clustering
from lvexp.metrics.code_usage import CodeUsage
from lvexp.metrics.diversity import distinct
from lvexp.metrics.likelihood import ImportanceWeighted, countable, marginal
from lvexp.metrics.mutual_information import MutualInformation
from lvexp.metrics.verdict import verdict
from lvexp.models.base import LatentModel
from lvexp.shapes import Float, Tensor

_NEAR = 0.95  # share of its cap from which the mutual information is "near" it


#: every score, in the order of the report
SCORES = (
    *(
        "elbo",
        "distortion",
        "rate",
        "nll",
        "nll_kind",
        "nll_iw",
        "nll_iw_se",
        "iw_samples",
        "iw_draws",
        "ppl",
        "ppl_iw",
        "ppl_marginal",
    ),
    *("mi", "mi_n", "mi_cap", "mi_near_cap", "mi_batch", "mi_batch_size", "active_units", "latent_dim"),
    *("code_perplexity", "code_values", "cluster_accuracy", "cluster_nmi", "cluster_ari", "class_accuracy"),
    *("recon_bleu", "recon_bleu_sentences", "distinct_1", "distinct_2", "self_bleu", "samples", "sentences", "tokens"),
    *("elbo_refined", "rate_refined"),
)


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """How closely to look.

    Attributes:
        iw_samples: K of the importance-weighted likelihood.
        iw_tolerance: standard error of a text, in nats, from which it needs no more draws; 0 draws K for every text.
        mi_sentences: texts in the aggregate posterior, at most.
        mi_batch: texts in a group of the minibatch mutual information.
        active_threshold: variance of the posterior mean above which a dimension is active.
        samples: texts drawn from the model, for diversity and to read.
        reconstructions: texts reconstructed to read.
        interpolations: pairs of texts; interpolation_steps: texts along each line, both ends counted.
        bleu_sentences: texts reconstructed for BLEU, at most.
        max_decode: tokens after which a written text is cut.
        seed: of all draws.
    """

    iw_samples: int = 100
    iw_tolerance: float = 0.0
    mi_sentences: int = 5000
    mi_batch: int = 32
    active_threshold: float = 0.01
    samples: int = 100
    reconstructions: int = 8
    interpolations: int = 3
    interpolation_steps: int = 5
    bleu_sentences: int = 1000
    max_decode: int = 60
    seed: int = 0

    def __post_init__(self) -> None:
        counts = ("iw_samples", "mi_sentences", "mi_batch", "bleu_sentences", "max_decode")
        least = dict.fromkeys(counts, 1) | {"samples": 2, "reconstructions": 0, "interpolations": 0}
        for name, low in (least | {"interpolation_steps": 2, "active_threshold": 0, "iw_tolerance": 0}).items():
            if getattr(self, name) < low:
                raise ConfigError(f"evaluation.{name}={getattr(self, name)}: it must be at least {low}")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What an evaluation found.

    Attributes:
        scores: figure by name, the ``test`` part of result.json; None where a figure does not exist for the model.
        rate_per_dimension: mean over texts of each dimension's rate, nats.
        mean_variance: Var_x of each dimension of the posterior mean: active above 0.01.
        means: posterior means of the texts, [N, D], of what is continuous in z.
        labels: class of each text, -1 where not observed; label_names: their names.
        assigned: most probable value of each discrete variable, [N, variables]; None where z has none.
        usage: share of texts assigned to each value, [variables, K].
        samples: texts decoded from draws of the prior (or from nothing, for a language model).
        reconstructions: a text and what greedy decoding from its posterior mean gives.
        interpolations: texts along the line between the posterior means of two test texts, the first and the last
            being reconstructions of the two; each path begins with the two originals as ``ends``.
        verdict: one line for a reader in a hurry.
        reported: the parts of the usual report that make sense for the model, of :data:`lvexp.findings.PARTS`.
        findings: what the model adds; its scores and its verdict are among the above already.
    """

    scores: Mapping[str, Score]
    verdict: str
    rate_per_dimension: Sequence[float] | None = None
    mean_variance: Sequence[float] | None = None
    means: Sequence[Sequence[float]] | None = None
    labels: Sequence[int] | None = None
    label_names: Sequence[str] = ()
    assigned: Sequence[Sequence[int]] | None = None
    usage: Sequence[Sequence[float]] | None = None
    samples: Sequence[str] = ()
    reconstructions: Sequence[tuple[str, str]] = ()
    interpolations: Sequence[Interpolation] = ()
    reported: Sequence[str] = PARTS
    findings: Findings = dataclasses.field(default_factory=Findings)


def evaluate(
    model: LatentModel,
    loader: Iterable[Batch],
    settings: EvaluationSettings | None = None,
    label_names: Sequence[str] = (),
    others: Mapping[str, Iterable[Batch]] | None = None,
) -> Evaluation:
    """All that the report says of a trained model on a test set: beta = 1, no floor, no corruption, no dropout.

    Leaves the model's training mode and the global random numbers as they were, and gives the same figures for the
    same seed. A model that diverged gets that verdict, not an exception.

    ``scores`` holds, None where the figure does not exist for the model:

    - ``elbo`` (negative), ``distortion``, ``rate``, ``nll_iw``, ``nll_iw_se``, ``nll``: nats per sentence. ``nll`` is
      the best statement of -log p(x), ``nll_kind`` which that is: "exact" (no latent variable), "exact marginal"
      (the sum over all values of a discrete z, where they are at most 256; there is no ``nll_iw`` then) or
      "importance-weighted" (from ``iw_samples`` draws);
    - ``ppl`` from the ELBO, ``ppl_iw`` from ``nll_iw``, ``ppl_marginal`` from an exact marginal, over ``tokens``
      predicted tokens of ``sentences`` texts;
    - ``mi`` in nats over ``mi_n`` texts, at most ``mi_cap`` = log of that; ``mi_near_cap`` within 5 % of it;
      ``mi_batch`` over groups of ``mi_batch_size``;
    - ``active_units`` of ``latent_dim``, where z is continuous;
    - ``code_perplexity`` of at most ``code_values``, where it is discrete (see
      :class:`~lvexp.metrics.code_usage.CodeUsage`); with labels ``cluster_accuracy``, ``cluster_nmi``, ``cluster_ari``
      (:func:`~lvexp.metrics.clustering.clustering`), and ``class_accuracy``, the share of texts whose most probable
      value of c is their class, where a model learned from labels;
    - ``recon_bleu`` of greedy decoding from the posterior mean (the mode of what is discrete), over
      ``recon_bleu_sentences`` texts; the reference is the text as the model can write it, out-of-vocabulary words as
      ``<unk>``;
    - ``distinct_1``, ``distinct_2``, ``self_bleu`` of ``samples`` texts drawn from the model: z from the prior, words
      from p(x|z), no truncation, for language models too;
    - ``elbo_refined``, ``rate_refined``: as ``elbo`` and ``rate``, at posteriors that a remedy refined text by text.
      All other figures are those of the encoder's own posteriors;
    - whatever the model's :meth:`~lvexp.models.base.LatentModel.assess` adds. A part of the report that is not among
      the model's ``reported`` is not measured, but for ``distortion`` and ``rate``.

    Args:
        model: to judge, on its own device.
        loader: the test set; read once, and again by a model with findings of its own.
        settings: how closely.
        label_names: names of the classes, handed on to the result.
        others: the batches of ``train`` and ``valid``, each text once, for a model's own findings.

    Raises:
        DataError: for a test set without texts.
    """
    settings = settings or EvaluationSettings()
    with _judging(model), _seeded(settings.seed):
        return _evaluate(model, {**(others or {}), "test": loader}, settings, label_names)


def _evaluate(
    model: LatentModel, splits: Mapping[str, Iterable[Batch]], settings: EvaluationSettings, label_names: Sequence[str]
) -> Evaluation:
    measured = _measure(model, splits["test"], settings)
    scores: dict[str, Score] = dict.fromkeys(SCORES) | measured.scores
    reported = [part for part in PARTS if part in model.reported]
    if not measured.finite:
        line = verdict(scores)
        return Evaluation({name: _finite_or_none(score) for name, score in scores.items()}, line, reported=reported)

    torch.manual_seed(settings.seed)  # what was drawn until here depends on the test set's size
    points, length = measured.points, settings.max_decode
    samples: list[str] = []
    shown: list[tuple[str, str]] = []
    paths: list[Interpolation] = []
    if "text" in reported and (measured.prior or points is None):
        samples = sample(model, settings.samples, length)
        scores |= {"distinct_1": distinct(samples, 1), "distinct_2": distinct(samples, 2)}
        scores |= {"self_bleu": self_bleu(samples), "samples": len(samples)}
    if "text" in reported and points is not None:
        rows = spread(len(points), settings.bleu_sentences)
        originals = [model.vocabulary.decode(measured.texts[row]) for row in rows]
        written = reconstruct(model, points[rows], length)
        scores |= {"recon_bleu": corpus_bleu(written, originals), "recon_bleu_sentences": len(rows)}
        shown = [(originals[at], written[at]) for at in spread(len(rows), settings.reconstructions)]
        # between two values of a discrete variable lies nothing
        for first, last in pairs(measured.texts, 0 if model.latent.values else settings.interpolations):
            ends = (model.vocabulary.decode(measured.texts[first]), model.vocabulary.decode(measured.texts[last]))
            path = interpolate(model, points[first], points[last], settings.interpolation_steps, length)
            paths.append(Interpolation(ends, path))
    torch.manual_seed(settings.seed)
    findings = model.assess(splits, settings)
    scores |= {name: _finite_or_none(score) for name, score in findings.scores.items()}
    return Evaluation(
        scores=scores,
        verdict=findings.verdict or verdict(scores),
        rate_per_dimension=measured.rate_per_dimension,
        mean_variance=measured.mean_variance,
        means=None if measured.means is None else measured.means.tolist(),
        labels=measured.labels,
        label_names=label_names,
        assigned=measured.assigned,
        usage=measured.usage,
        samples=samples,
        reconstructions=shown,
        interpolations=paths,
        reported=reported,
        findings=findings,
    )


@dataclasses.dataclass
class _Measured:
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


def _measure(model: LatentModel, loader: Iterable[Batch], settings: EvaluationSettings) -> _Measured:
    alone: dict[str, Any] = {"sync_on_compute": False}  # one process evaluates; no other would answer
    bound, better, active = Bound(**alone), Bound(**alone), ActiveUnits(settings.active_threshold, **alone)
    usage, exact = CodeUsage(**alone), MeanMetric(**alone).set_dtype(torch.float64)
    information = MutualInformation(model.latent.posterior, settings.mi_sentences, settings.mi_batch, **alone)
    weighted = ImportanceWeighted(settings.iw_samples, settings.iw_tolerance, **alone)
    for metric in (bound, better, active, usage, exact, information, weighted):
        metric.to(model.device)
    seen = _Measured({"latent_dim": model.latent.dim}, [], finite=_finite(*model.parameters()))
    points, means, assigned, labels, right = [], [], [], [], []
    for number, batch in enumerate(loader):
        seen.sentences, seen.tokens = seen.sentences + len(batch), seen.tokens + batch.predicted()
        if "text" in model.reported:
            ends = batch.lengths.tolist()
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
            with _seeded(settings.seed + number):  # on its own, so that K moves no other figure
                if "likelihood" in model.reported and countable(model):
                    exact.update(marginal(model, batch))
                elif "likelihood" in model.reported:
                    weighted.update(model, batch, terms.params)
            with _seeded(settings.seed + number):
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
    if seen.finite and seen.prior:
        if "likelihood" in model.reported:
            seen.scores |= _marginal(exact, seen) if countable(model) else _likelihood(weighted)
        seen.scores |= _information(information) if "use" in model.reported else {}
        if better.sentences:
            refined = better.compute()
            found = {"elbo_refined": -refined["nelbo"], "rate_refined": refined["rate"]}
            seen.scores |= {name: _finite_or_none(score) for name, score in found.items()}
    if seen.finite and points:
        seen.points, seen.labels = torch.cat(points), labels or None
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


def _marginal(metric: Metric, seen: _Measured) -> dict[str, Score]:
    nll = float(metric.compute())
    tokens = seen.scores["tokens"]
    assert isinstance(tokens, int)
    return {"nll": nll, "nll_kind": "exact marginal", "ppl_marginal": perplexity(nll * seen.sentences, tokens)}


def _likelihood(metric: ImportanceWeighted) -> dict[str, Score]:
    found = metric.compute()
    return {name: found[name] for name in SCORES if name in found} | {
        "nll": found["nll_iw"],
        "nll_kind": "importance-weighted",
    }


def _information(metric: MutualInformation) -> dict[str, Score]:
    found = metric.compute()
    cap = math.log(found["mi_n"])
    return found | {"mi_cap": cap, "mi_near_cap": found["mi"] > _NEAR * cap, "mi_batch_size": metric.size}


def _finite(*tensors: Tensor) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors)


def _finite_or_none(score: Score) -> Score:
    return None if isinstance(score, float) and not math.isfinite(score) else score


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """The global generators from ``seed``, and afterwards as they were."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def _judging(model: LatentModel) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module's mode is what it was."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
