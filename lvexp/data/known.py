"""What a finished run knows already and a corpus must not decide anew: vocabularies and labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lvexp.data.bag import Bag
from lvexp.data.features import Features
from lvexp.data.settings import Place
from lvexp.data.source import SPLITS
from lvexp.data.source import splits as all_splits
from lvexp.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Known:
    """Encodes a corpus as the texts of a finished run were.

    Attributes:
        run: what was typed for the run, for messages.
        vocabulary: of the texts; words that it lacks become ``<unk>``.
        sources: that of their sources, or the shape of their feature vectors; None if texts and sources share one.
        labels: names of the classes; None for those of the corpus.
        attributes: further column → names of its classes; a column that is missing has those of the corpus.
        splits: the splits that are read, all with a file of their own if they are not all three.
    """

    run: str
    vocabulary: Vocabulary | Bag
    sources: Vocabulary | Features | None = None
    labels: Sequence[str] | None = None
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    splits: Sequence[str] = SPLITS

    def entry(self) -> str:
        """A hash of the content, for the name of a cache entry."""
        sources = None if self.sources is None else self.sources.to_json()
        labels = None if self.labels is None else list(self.labels)
        further = {name: list(names) for name, names in self.attributes.items()}
        text = json.dumps([self.vocabulary.to_json(), sources, labels, further, list(self.splits)])
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def splits_of(place: Place, known: Known | None) -> Sequence[str]:
    """The splits of a corpus that are read."""
    return all_splits(place) if known is None or {*SPLITS} <= {*known.splits} else known.splits
