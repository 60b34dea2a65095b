"""Whether a linear classifier can tell the labels of texts from z."""

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

TEXTS = 2000  # the largest number of texts to fit on
CLASSES = 100  # labels with more values than this are not classes


def features(latent: AbstractLatent, q: Distribution) -> Float[Tensor, "B F"]:
    """The posterior's means and, for the discrete part of z, the probabilities of its values; of sequences of symbols,
    the most probable symbols."""
    means = latent.means(q) if latent.continuous else None
    marginals = latent.marginals(q)
    found = [part for part in (means, None if marginals is None else marginals.flatten(1)) if part is not None]
    return torch.cat(found or [latent.point(q).flatten(1)], -1).float()


def probe(
    model: LatentModel, known: Iterable[Batch], asked: Float[Tensor, "N F"], labels: Sequence[int]
) -> dict[str, Score]:
    """``probe_accuracy``: the share of test texts that a logistic regression on :func:`features` classifies correctly;
    ``majority_accuracy``: the share in the class that is most frequent in the texts it was fitted on; ``probe_n``: the
    number of test texts; ``probe_fitted``: the number of texts, from ``known``, that it was fitted on, at most about
    2,000. Nothing is drawn: the same model gives the same figures.

    Features are standardised, so that differences of any size can be used: even for a collapsed z, whose means differ
    only in the third decimal, the probe may be far better than the majority class. It measures what is in the means,
    not whether a decoder can use them under the posterior's noise.

    There are no figures if labels are missing, are all equal or have more than 100 values.

    Args:
        model: in evaluation mode.
        known: labelled texts, in an order in which the first ones are a fair sample.
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
