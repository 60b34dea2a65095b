"""What the vectors of texts tell about their classes: retrieval and classification."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from lvexp.shapes import Float, Int, Tensor

_ROWS = 256  # queries that are compared with the corpus at once


def retrieval_precision(
    queries: Float[Tensor, "Q W"],
    query_labels: Int[Tensor, " Q"],
    corpus: Float[Tensor, "N W"],
    corpus_labels: Int[Tensor, " N"],
    nearest: tuple[int, ...],
) -> list[float]:
    """For each number in ``nearest``: the share, among that many corpus texts nearest to a query by cosine, of those
    with its label; mean over queries. Texts with the label -1 are left out; a number above the size of the corpus means
    all of it."""
    queries, query_labels = queries[query_labels >= 0], query_labels[query_labels >= 0]
    corpus, corpus_labels = F.normalize(corpus[corpus_labels >= 0], dim=-1), corpus_labels[corpus_labels >= 0]
    most = min(max(nearest), len(corpus))
    hits = []
    for rows in torch.arange(len(queries)).split(_ROWS):
        found = (F.normalize(queries[rows], dim=-1) @ corpus.T).topk(most, dim=-1).indices
        hits.append((corpus_labels[found] == query_labels[rows, None]).double())
    right = torch.cat(hits)
    return [float(right[:, :number].mean()) for number in nearest]


def classification_accuracy(
    train: Float[Tensor, "N W"],
    train_labels: Int[Tensor, " N"],
    test: Float[Tensor, "M W"],
    test_labels: Int[Tensor, " M"],
) -> float:
    """Share of test texts that a logistic regression on the training texts' vectors classifies correctly. Vectors are
    standardised first; texts with the label -1 are left out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    known, asked = train_labels >= 0, test_labels >= 0
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(train[known].numpy(), train_labels[known].numpy())
    return float(model.score(test[asked].numpy(), test_labels[asked].numpy()))
