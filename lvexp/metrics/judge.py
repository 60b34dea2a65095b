"""A classifier that is independent of the model, to tell which class a text that the model wrote is of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

FOLDS = 5


class Judge:
    """Logistic regression on the words and word pairs of a text (tf-idf with log counts, L2 with C = 10), by
    scikit-learn.

    It knows the order of neighbouring words only, and errs as such a classifier does; its accuracy on real texts is an
    upper limit of what its verdict on others can mean.

    Args:
        texts: as tokenised, to fit on. classes: of each text; at least two different ones.
    """

    def __init__(self, texts: Sequence[str], classes: Sequence[int]):
        self.texts, self.classes = list(texts), list(classes)
        self.pipeline = _pipeline().fit(self.texts, self.classes)

    def __call__(self, texts: Sequence[str]) -> list[int]:
        """The most probable class of each text."""
        return self.pipeline.predict(list(texts)).tolist() if texts else []

    def accuracy(self, texts: Sequence[str], classes: Sequence[int]) -> float | None:
        """Share of the texts that are of the given classes; None without texts."""
        found = [a == b for a, b in zip(self(texts), classes, strict=True)]
        return sum(found) / len(found) if found else None

    def cross_validated(self) -> float | None:
        """Share of its own texts that a judge gets right which was fitted on the others, in :data:`FOLDS` parts; None
        if a class has one text only."""
        from sklearn.model_selection import StratifiedKFold, cross_val_score

        folds = min(FOLDS, *Counter(self.classes).values())
        if folds < 2:
            return None
        parts = StratifiedKFold(folds, shuffle=True, random_state=0)
        return float(cross_val_score(_pipeline(), self.texts, self.classes, cv=parts).mean())


def _pipeline() -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    words = TfidfVectorizer(token_pattern=r"\S+", lowercase=False, ngram_range=(1, 2), sublinear_tf=True)
    return make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
