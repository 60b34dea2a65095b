"""The vocabulary of bags of words: from texts to counts, and from indices to words."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, SupportsInt

import numpy as np
import torch

from lvexp.data.batch import Batch
from lvexp.data.settings import PATTERN, CountSettings
from lvexp.data.special import BOS, SPECIAL
from lvexp.errors import ConfigError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Bag:
    """The words that are counted, each with its index; other words are ignored. There are no special tokens.

    Args:
        words: V of them.
        pattern: regular expression that matches a word.
        lowercase: whether texts are lower-cased first.
    """

    kind = "bag"
    special = SPECIAL

    def __init__(self, words: Sequence[str], pattern: str = PATTERN, lowercase: bool = False) -> None:
        from sklearn.feature_extraction.text import CountVectorizer

        self.words, self.pattern, self.lowercase = list(words), pattern, lowercase
        self._counter = CountVectorizer(vocabulary=self.words, token_pattern=pattern, lowercase=lowercase)

    @classmethod
    def train(cls, texts: Iterable[str], settings: CountSettings, max_size: int, lowercase: bool) -> Bag:
        """The words of ``texts``: the ``max_size`` most frequent of those within the limits, in code point order.

        Args:
            texts: documents, read once.
            settings: the limits, and the pattern of a word.
            max_size: the largest V allowed.
            lowercase: whether to lower-case first.

        Raises:
            ConfigError: the limits leave no word, or a setting has no meaning.
        """
        from sklearn.feature_extraction.text import CountVectorizer

        kept = {key: getattr(settings, key) for key in ("min_df", "max_df", "stop_words")}
        counter = CountVectorizer(
            **kept, token_pattern=settings.pattern, max_features=max_size, lowercase=lowercase
        )  # fmt: skip
        try:
            counter.fit(texts)
        except ValueError as error:  # scikit-learn's own message, which names the setting
            typed = " ".join(f"data.counts.{key}={value}" for key, value in kept.items())
            raise ConfigError(f"{typed}: {error}\ntry  data.counts.min_df=1 data.counts.max_df=1.0") from error
        return cls(counter.get_feature_names_out().tolist(), settings.pattern, lowercase)

    @property
    def size(self) -> int:
        """V."""
        return len(self.words)

    def counts(self, texts: Sequence[str]) -> csr_array:
        """How often each word is in each text, sparse, [N, V]."""
        from scipy.sparse import csr_array

        return csr_array(self._counter.transform(texts))

    def batch(self, texts: Sequence[str]) -> Batch:
        """Texts as a batch of counts."""
        return batch(self.counts(texts))

    def decode(self, ids: Iterable[SupportsInt]) -> str:
        """The words at ``ids``, in their order."""
        return " ".join(self.words[int(number)] for number in ids)

    def to_json(self) -> str:
        """The vocabulary as one string, for :meth:`from_json`."""
        kept = {"kind": self.kind, "words": self.words, "pattern": self.pattern, "lowercase": self.lowercase}
        return json.dumps(kept, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Bag:
        """The vocabulary that :meth:`to_json` wrote."""
        saved = json.loads(text)
        return cls(saved["words"], saved["pattern"], saved["lowercase"])


def batch(counts: csr_array, **more: Any) -> Batch:
    """A batch of bags of words: dense counts, with ``<bos>`` as the only token of each text.

    ``lengths`` counts ``<bos>`` and the words, so that the words are the predicted tokens, as for other batches.
    """
    dense = torch.from_numpy(counts.toarray().astype(np.float32))
    tokens = torch.full((len(dense), 1), BOS)
    return Batch(tokens=tokens, lengths=1 + dense.sum(1).long(), counts=dense, **more)
