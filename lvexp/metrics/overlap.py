"""Words that a question and an answer have in common: the count features of answer selection."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from lvexp.data.vocabulary import Vocabulary


class Overlap:
    r"""Two features of a pair: the number of different words of the question that are in the answer, and the sum of
    their :math:`\mathrm{idf}(w) = \log (N / (1 + n_w))` (at least 0), where n_w of N texts contain w.

    Words are entries of the vocabulary that contain a letter or a digit, except scikit-learn's English stop words and
    the special tokens.

    Args:
        vocabulary: of the texts.
        texts: token ids of the texts for the idf: the answers of the training set.
    """

    def __init__(self, vocabulary: Vocabulary, texts: Iterable[Sequence[int]]):
        from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

        names = vocabulary.tokens(range(vocabulary.size))
        self.words = {
            number
            for number, name in enumerate(names)
            if number > 3 and any(map(str.isalnum, name)) and name.lower() not in ENGLISH_STOP_WORDS
        }
        holding, self.texts = Counter[int](), 0
        for text in texts:
            holding.update(set(text) & self.words)
            self.texts += 1
        self.holding = holding

    def __call__(self, question: Iterable[int], answer: Iterable[int]) -> tuple[float, float]:
        common = set(question) & set(answer) & self.words
        return float(len(common)), sum(max(0.0, math.log(self.texts / (1 + self.holding[word]))) for word in common)


class Combination:
    """Logistic regression from features to relevance, by scikit-learn: standardised features, L2 with C = 1.

    Args:
        features: [N, F]. label: 1 if the answer is right, otherwise 0, [N].
    """

    def __init__(self, features: npt.NDArray[np.float64], label: npt.NDArray[np.int64]):
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        self.pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, label)

    def __call__(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Log odds of a right answer, [N]."""
        return self.pipeline.decision_function(features)
