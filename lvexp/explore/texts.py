"""The test set of a finished run, as its model sees it: where each text lies in the space of z."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch

from lvexp.checks import targets
from lvexp.data.bag import Bag
from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.module import TextData
from lvexp.distributions.rate import rate
from lvexp.errors import RunError
from lvexp.evaluation import own_texts
from lvexp.instruments.base import seeded
from lvexp.instruments.exhibits import spread
from lvexp.loading import Run
from lvexp.models.base import LatentModel
from lvexp.report.projection import principal
from lvexp.shapes import Float, Tensor

#: texts on the map; more would be slow to draw, and hide each other
MOST = 2000
_WORDS = 30  # of a document that are shown


@dataclasses.dataclass(frozen=True)
class Texts:
    """Texts of a test set, all columns N long.

    Attributes:
        shown: each text, as it is shown. batches: what the model reads of each, one text in each batch.
        points: its value of z, [N, …]. places: its place in the space of z, [N, D]. rates: KL, nats.
        lengths: words. classes: attribute → names of its classes, and the class of each text, -1 for none.
        total: size of the whole test set.
    """

    shown: Sequence[str]
    batches: Sequence[Batch]
    points: Tensor
    places: Float[Tensor, "N D"]
    rates: Sequence[float | None]
    lengths: Sequence[int]
    classes: Mapping[str, tuple[Sequence[str], Sequence[int]]]
    total: int

    def map(self) -> dict[str, Any]:
        """The texts on the first two principal components of their places."""
        points, shares = principal(self.places.double().numpy())
        return {
            "x": points[:, 0].round(4).tolist(), "y": points[:, 1].round(4).tolist(), "shares": shares,
            "texts": self.shown, "rates": self.rates, "lengths": self.lengths, "total": self.total,
            "classes": {name: {"names": list(names), "of": rows} for name, (names, rows) in self.classes.items()},
        }  # fmt: skip


def unplaced(model: LatentModel) -> str | None:
    """Why texts have no places; None if they have."""
    if model.latent.dim is None:
        return "the model has no latent variable"
    if "compress" in model.offers:
        return "z is a text of its own: it has no place in a plane"
    return None


@torch.no_grad()
def places(model: LatentModel, batch: Batch) -> tuple[Tensor, Float[Tensor, "B D"], Tensor]:
    """The value of z that stands for each text, its place, and its rate (nan if there is none).

    The place is the posterior mean; of a discrete z, the probabilities of its values; of a sequence, its code. If
    q(z|x) sees the labels, which are to be found, it is the mean of p(z|x).
    """
    latent, reading = model.latent, model.read(batch)
    q = latent.posterior(model.params(reading))
    p = latent.prior(reading.condition)
    nats = torch.full((len(batch),), torch.nan)
    if p is not None:
        nats = rate(q, p, model.estimator(q, 1))[0]
    if model.sees_labels and p is not None:
        q = p.expand(torch.Size((len(batch),)))
    value, means, marginals = latent.point(q), latent.means(q), latent.marginals(q)
    found = [part.flatten(1) for part in (means, marginals) if part is not None]
    return value, torch.cat(found, -1) if found else latent.code(value[None])[0], nats


def read(run: Run, trust: Collection[str] = (), most: int = MOST) -> Texts:
    """The test set of a run, or ``most`` evenly spaced texts of it.

    Raises:
        LvexpError: its corpus is not there, or is another one now; or texts have no places.
    """
    model = run.model
    if reason := unplaced(model):
        raise RunError(reason)
    strange = {name for name in targets.named(run.config["data"]) if not name.startswith(targets.OURS)} - {*trust}
    if strange:
        raise RunError(f"the corpus is read by {', '.join(sorted(strange))}\ntry  --trust {' '.join(sorted(strange))}")
    data = own_texts(run, run.config, "the run")
    loader = data.in_order("test")
    total = len(data.corpus.splits["test"])
    kept = torch.tensor(spread(total, most))
    found: list[tuple[int, Batch, Tensor, Tensor, float]] = []
    with seeded(0):
        for batch in loader:
            assert batch.index is not None
            batch = batch[torch.isin(batch.index, kept).nonzero()[:, 0]]
            if not len(batch):
                continue
            values, where, nats = places(model, batch)
            assert batch.index is not None
            for at, index in enumerate(batch.index.tolist()):
                found.append((index, batch[at : at + 1], values[at], where[at], float(nats[at])))
    found.sort(key=lambda row: row[0])
    _, batches, values, where, nats = zip(*found, strict=True)
    together = torch.stack(where)
    if len(found) < 2 or not together.isfinite().all():
        raise RunError("a map needs at least two texts with finite places")
    return Texts(
        [shown(model, batch) for batch in batches], batches, torch.stack(values), together,
        [round(one, 4) if one == one else None for one in nats], [_length(batch) for batch in batches],
        _classes(data, batches), total,
    )  # fmt: skip


def shown(model: LatentModel, batch: Batch) -> str:
    """The text of a batch of one; of a model that reads a source, both; of points, the numbers."""
    vocabulary = model.vocabulary
    if isinstance(vocabulary, Bag):
        assert batch.counts is not None
        words = [place for place in batch.counts[0].argsort(descending=True)[:_WORDS] if batch.counts[0, place] > 0]
        return vocabulary.decode(words)
    if isinstance(vocabulary, Features):
        assert batch.vectors is not None
        return vocabulary.decode(batch.vectors[0].tolist())
    text = vocabulary.decode(batch.tokens[0])
    if batch.source is None or "source" not in model.reads:
        return text
    tags = []
    if "tags" in model.reads and batch.attributes is not None:
        pairs = zip(model.attribute_names.items(), batch.attributes[0].tolist(), strict=True)
        tags = [f"{key}={names[value]}" for (key, names), value in pairs if value > 0]
    if isinstance(model.sources, Features):
        return text
    source = model.sources.decode(batch.source[0])
    return f"{source}{' | ' + ','.join(tags) if tags else ''} => {text}"


def _length(batch: Batch) -> int:
    return int(batch.counts.sum()) if batch.counts is not None else max(0, int(batch.lengths[0]) - 2)


def _classes(data: TextData, batches: Sequence[Batch]) -> dict[str, tuple[Sequence[str], list[int]]]:
    columns = []
    if data.labels:
        columns.append([-1 if batch.labels is None else int(batch.labels[0]) for batch in batches])
    if batches[0].attributes is not None:
        rows = [[-1] if batch.attributes is None else batch.attributes[0].tolist() for batch in batches]
        columns += [list(column) for column in zip(*rows, strict=True)]
    return {name: (names, rows) for (name, names), rows in zip(data.classes.items(), columns, strict=False)}
