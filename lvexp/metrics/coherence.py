"""The quality of topics: whether their words occur together, and whether topics differ."""

from __future__ import annotations

import torch

from lvexp.shapes import Float, Int, Shaped, Tensor


def npmi(topics: Int[Tensor, "K N"], presence: Shaped[Tensor, "D V"]) -> Float[Tensor, " K"]:
    r"""Normalised pointwise mutual information of each topic's words (Bouma 2009; Lau et al. 2014), in [-1, 1].

    .. math:: \binom{N}{2}^{-1} \sum_{i<j} \frac{\log \frac{p(i,j)}{p(i) p(j)}}{-\log p(i,j)}

    where p is the share of the D documents that contain a word, or both. Words that never occur together get the limit,
    -1 (gensim, which adds 1e-12 to p(i,j), gives them more, and Lau's script 0); words that are in every document get
    1.

    Args:
        topics: indices of each topic's N words, at least 2.
        presence: of the reference corpus, 1 if a document contains a word, otherwise 0; of any type.
    """
    used, places = topics.unique(return_inverse=True)
    held = presence[:, used].double()
    together = (held.T @ held) / len(held)
    first, second = torch.triu_indices(topics.shape[1], topics.shape[1], offset=1)
    i, j = places[:, first], places[:, second]
    alone, joint = together.diagonal(), together[i, j]
    found = (joint.log() - alone[i].log() - alone[j].log()) / -joint.log()
    found = found.where(joint > 0, -1.0).where(joint < 1, 1.0)
    return found.mean(-1).float()


def diversity(topics: Int[Tensor, "K N"]) -> float:
    """Share of distinct words among the top words of all topics; 1: no word is in two topics (Dieng et al. 2020)."""
    return topics.unique().numel() / topics.numel()
