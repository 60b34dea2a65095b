"""The honest report's figures: what a trained model does on a test set, whatever it was trained with."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch

from lvexp.data.batch import Batch
from lvexp.errors import ConfigError
from lvexp.instruments.exhibits import Interpolation, interpolate, pairs, reconstruct, sample, spread
from lvexp.instruments.measuring import finite_or_none, measure, seeded
from lvexp.metrics.bleu import corpus_bleu, self_bleu
from lvexp.metrics.diversity import distinct, share_unknown, spaced
from lvexp.metrics.probe import probe
from lvexp.models.base import LatentModel
from lvexp.report.findings import BOUND, PARTS, Findings, Score
from lvexp.report.verdict import verdict

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
        "iw_effective",
        "iw_few",
        "ppl",
        "ppl_iw",
        "ppl_marginal",
    ),
    *(
        "mi",
        "mi_se",
        "mi_n",
        "mi_exact",
        "mi_cap",
        "mi_near_cap",
        "mi_batch",
        "mi_batch_size",
        "active_units",
        "latent_dim",
    ),
    *("code_perplexity", "code_values", "cluster_accuracy", "cluster_nmi", "cluster_ari", "class_accuracy"),
    *("recon_bleu", "recon_bleu_sentences", "distinct_1", "distinct_2", "self_bleu", "samples", "sentences", "tokens"),
    *("elbo_refined", "rate_refined", "rate_floor", "rate_floor_by"),
    *("probe_accuracy", "majority_accuracy", "probe_n", "probe_fitted"),
    *("unk", "samples_unk", "text_unit"),
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
        means: posterior means of the texts, [N, D], of what is continuous in z; None where q(z|x) sees the labels.
        labels: class of each text, -1 where not observed; label_names: their names.
        assigned: most probable value of each discrete variable, [N, variables]; None where z has none.
        usage: share of texts assigned to each value, [variables, K].
        samples: texts decoded from draws of the prior (or from nothing, for a language model).
        reconstructions: a text and what greedy decoding from its posterior mean gives.
        interpolations: texts along the line between the posterior means of two test texts, the first and the last
            being reconstructions of the two; each path begins with the two originals as ``ends``.
        verdict: one line for a reader in a hurry.
        reported: the parts of the usual report that make sense for the model, of
            :data:`lvexp.report.findings.PARTS`.
        monitor: what picked the best validation, as of :attr:`LatentModel.monitor`.
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
    monitor: tuple[str, str] = BOUND
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
      "importance-weighted" (from ``iw_samples`` draws, worth ``iw_effective`` equal ones in the mean over texts; for
      ``iw_few`` of the texts fewer than ten decide, and their estimate is biased upward);
    - ``ppl`` from the ELBO, ``ppl_iw`` from ``nll_iw``, ``ppl_marginal`` from an exact marginal, over ``tokens``
      predicted tokens of ``sentences`` texts;
    - ``mi`` in nats over ``mi_n`` texts, at most ``mi_cap`` = log of that, or of the number of values of z if these are
      fewer; ``mi_exact`` if it is a sum over all values of z, else an estimate from 10,000 draws, at least two for each
      text, with the standard error ``mi_se``, and ``mi_near_cap`` if that is within 5 % of its cap; ``mi_batch`` over
      groups of ``mi_batch_size``;
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
    - ``unk``, ``samples_unk``: share of ``<unk>`` among the words (tokens but for ``<eos>``) of the test set, and of
      the samples. ``text_unit``: what those words are for BLEU and distinct-n, "words" (what blanks separate) or
      "characters";
    - ``probe_accuracy``, ``majority_accuracy``, ``probe_n``, ``probe_fitted``, where texts have labels that q(z|x) does
      not see: what a linear classifier reads off z, and what it would get without (:func:`lvexp.metrics.probe.probe`);
    - ``rate_floor``, ``rate_floor_by``: nats at which a remedy holds the rate or stops pressing it, and which one does;
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
    with _judging(model), seeded(settings.seed):
        return _evaluate(model, {**(others or {}), "test": loader}, settings, label_names)


def _evaluate(
    model: LatentModel, splits: Mapping[str, Iterable[Batch]], settings: EvaluationSettings, label_names: Sequence[str]
) -> Evaluation:
    measured = measure(model, splits["test"], settings)
    scores: dict[str, Score] = dict.fromkeys(SCORES) | measured.scores
    reported = [part for part in PARTS if part in model.reported]
    if not measured.finite:
        line = verdict(scores)
        known = {name: finite_or_none(score) for name, score in scores.items()}
        return Evaluation(known, line, reported=reported, monitor=model.monitor)

    torch.manual_seed(settings.seed)  # what was drawn until here depends on the test set's size
    points, length = measured.points, settings.max_decode
    spelled = model.vocabulary.kind == "characters"
    samples: list[str] = []
    shown: list[tuple[str, str]] = []
    paths: list[Interpolation] = []
    if "text" in reported and (measured.prior or points is None):
        samples = sample(model, settings.samples, length)
        words = spaced(samples) if spelled else samples
        scores |= {"distinct_1": distinct(words, 1), "distinct_2": distinct(words, 2)}
        scores |= {"self_bleu": self_bleu(words), "samples": len(samples), "samples_unk": share_unknown(words)}
    if "text" in reported and points is not None:
        rows = spread(len(points), settings.bleu_sentences)
        originals = [model.vocabulary.decode(measured.texts[row]) for row in rows]
        written = reconstruct(model, points[rows], length)
        compared = (spaced(written), spaced(originals)) if spelled else (written, originals)
        scores |= {"recon_bleu": corpus_bleu(*compared), "recon_bleu_sentences": len(rows)}
        shown = [(originals[at], written[at]) for at in spread(len(rows), settings.reconstructions)]
        # between two values of a discrete variable lies nothing
        for first, last in pairs(measured.texts, 0 if model.latent.values else settings.interpolations):
            ends = (model.vocabulary.decode(measured.texts[first]), model.vocabulary.decode(measured.texts[last]))
            path = interpolate(model, points[first], points[last], settings.interpolation_steps, length)
            paths.append(Interpolation(ends, path))
    if "text" in reported:
        scores["text_unit"] = "characters" if spelled else "words"
        fitted = splits.get("train", splits.get("valid"))
        if fitted is not None and measured.features is not None and measured.labels and not model.sees_labels:
            scores |= probe(model, fitted, measured.features, measured.labels)
    torch.manual_seed(settings.seed)
    findings = model.assess(splits, settings)
    scores |= {name: finite_or_none(score) for name, score in findings.scores.items()}
    return Evaluation(
        scores=scores,
        verdict=findings.verdict or verdict(scores),
        rate_per_dimension=measured.rate_per_dimension,
        mean_variance=measured.mean_variance,
        means=None if measured.means is None or model.sees_labels else measured.means.tolist(),
        labels=measured.labels,
        label_names=label_names,
        assigned=measured.assigned,
        usage=measured.usage,
        samples=samples,
        reconstructions=shown,
        interpolations=paths,
        reported=reported,
        monitor=model.monitor,
        findings=findings,
    )


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
