"""Whether the values of a discrete z agree with the classes of a corpus."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def clustering(assigned: Sequence[Sequence[int]], labels: Sequence[int]) -> dict[str, float] | None:
    """Agreement of clusters and classes over the texts whose class is known; None if there are none.

    A cluster is the set of texts with the same value of z (of all its variables together). Clusters have no names, so

    - ``cluster_accuracy``: share of texts in the class assigned to their cluster under the best one-to-one matching of
      clusters with classes (Hungarian algorithm, Kuhn 1955);
    - ``cluster_nmi``: mutual information over the mean of the two entropies; 0 for a single cluster;
    - ``cluster_ari``: Rand index adjusted for chance (Hubert & Arabie 1985); 0 is chance.

    Args:
        assigned: the value of each variable of z, [N, variables].
        labels: class of each text, -1 if it is not known, [N].
    """
    from scipy.optimize import linear_sum_assignment
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    truth = np.asarray(labels)
    known = truth >= 0
    if not known.any():
        return None
    _, clusters = np.unique(np.asarray(assigned)[known], axis=0, return_inverse=True)
    truth, clusters = truth[known], clusters.reshape(-1)
    table = contingency_matrix(truth, clusters)
    return {
        "cluster_accuracy": float(table[linear_sum_assignment(table, maximize=True)].sum() / table.sum()),
        "cluster_nmi": float(normalized_mutual_info_score(truth, clusters)),
        "cluster_ari": float(adjusted_rand_score(truth, clusters)),
    }
