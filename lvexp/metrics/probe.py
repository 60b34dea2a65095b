"""Whether a straight cut through the space of z tells texts of different labels apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch.distributions import Distribution

from lvexp.data.batch import Batch
from lvexp.latents.base import AbstractLatent
from lvexp.metrics.neighbours import classification_accuracy
from lvexp.models.base import LatentModel
from lvexp.report.findings import Score
from lvexp.shapes import Float, Tensor

TEXTS = 2000  # fitted on, at most
CLASSES = 100  # labels with more values than this are no classes


def features(latent: AbstractLatent, q: Distribution) -> Float[Tensor, "B F"]:
    """The posterior's means, and of what is discrete in z the probabilities of its values."""
    means = latent.means(q) if latent.continuous else None
    marginals = latent.marginals(q)
    found = [part for part in (means, None if marginals is None else marginals.flatten(1)) if part is not None]
    return torch.cat(found, -1).float()


def probe(
    model: LatentModel, known: Iterable[Batch], asked: Float[Tensor, "N F"], labels: Sequence[int]
) -> dict[str, Score]:
    """``probe_accuracy``: the share of test texts that a logistic regression on :func:`features` puts into its class;
    ``majority_accuracy``: the share in the class that is the most frequent where it was fitted; ``probe_n``: of how
    many test texts; ``probe_fitted``: on how many others, of ``known``, about 2,000 at the most. Nothing is drawn: the
    same model has the same figures.

    Features are standardised, so that it reads differences of any size: a collapsed z, whose means differ in the third
    decimal, may be told apart far better than by the majority. It says what is in the means, not that a decoder
    that meets them under the posterior's noise can make anything of it.

    None of these where labels are missing, all alike or of more than 100 values: those are no classes.

    Args:
        model: in evaluation mode.
        known: labelled texts, in an order of which the first are a fair sample.
        asked, labels: features and labels of the test texts, -1 for those without.
    """
    seen: list[Tensor] = []
    classes: list[int] = []
    for batch in known:
        if batch.labels is None or len(classes) >= TEXTS:
            break
        classes += batch.labels.tolist()
        batch = batch.to(model.device)
        seen.append(features(model.latent, model.latent.posterior(model.params(model.read(batch)))))
    counted = Counter(label for label in classes if label >= 0)
    judged = [label for label in labels if label >= 0]
    if not judged or not 2 <= len(counted) <= CLASSES:
        return {}
    table = torch.cat(seen).cpu(), torch.tensor(classes)
    common = max(counted, key=lambda label: (counted[label], -label))
    return {
        "probe_accuracy": classification_accuracy(*table, asked.cpu(), torch.tensor(labels)),
        "majority_accuracy": judged.count(common) / len(judged),
        "probe_n": len(judged),
        "probe_fitted": sum(counted.values()),
    }
