"""What a finished run knows already and a corpus must not decide anew: vocabularies and labels."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lvexp.data.bag import Bag
from lvexp.data.features import Features
from lvexp.data.settings import Place
from lvexp.data.source import splits
from lvexp.data.vocabulary import Vocabulary


@dataclass(frozen=True)
class Known:
    """Encodes a corpus as the texts of a finished run were.

    Attributes:
        run: what was typed for the run, for messages.
        vocabulary: of the texts; words that it lacks become ``<unk>``.
        sources: that of their sources, or the shape of their feature vectors; None if texts and sources share one.
        labels: names of the classes; None for those of the corpus.
        attributes: further column, or key of tags, → names of its classes; a column that is missing has those of the
            corpus.
        only: the splits that are read, each with a file of its own; None for all.
    """

    run: str
    vocabulary: Vocabulary | Bag | Features
    sources: Vocabulary | Features | None = None
    labels: Sequence[str] | None = None
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    only: Sequence[str] | None = None

    def entry(self) -> str:
        """A hash of the content, for the name of a cache entry."""
        sources = None if self.sources is None else self.sources.to_json()
        labels = None if self.labels is None else list(self.labels)
        further = {name: list(names) for name, names in self.attributes.items()}
        only = None if self.only is None else list(self.only)
        text = json.dumps([self.vocabulary.to_json(), sources, labels, further, only])
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def splits_of(place: Place, known: Known | None) -> Sequence[str]:
    """The splits of a corpus that are read."""
    return splits(place) if known is None or known.only is None else known.only
