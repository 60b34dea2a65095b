"""Coherence against gensim where it is installed, and against counting by hand; retrieval and classification."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from lvexp.metrics.coherence import diversity, npmi
from lvexp.metrics.neighbours import classification_accuracy, retrieval_precision


@pytest.fixture(scope="module")
def presence():
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(60, 12, generator=generator) < torch.linspace(0.2, 0.7, 12)).float()


def by_hand(topic: list[int], documents: list[set[int]]) -> float:
    found = []
    for i, j in itertools.combinations(topic, 2):
        p = [sum(set(words) <= held for held in documents) / len(documents) for words in ([i], [j], [i, j])]
        found.append(math.log(p[2] / (p[0] * p[1])) / -math.log(p[2]) if p[2] else -1.0)
    return sum(found) / len(found)


def test_npmi_is_what_counting_gives(presence):
    documents = [set(row.nonzero().flatten().tolist()) for row in presence]
    topics = torch.tensor([[0, 1, 2, 3], [9, 5, 7, 11], [2, 11, 4, 6]])
    expected = [by_hand(topic, documents) for topic in topics.tolist()]
    assert npmi(topics, presence).tolist() == pytest.approx(expected, abs=1e-6)


def test_npmi_agrees_with_gensim(presence):
    pytest.importorskip("gensim")
    from gensim.corpora import Dictionary
    from gensim.models.coherencemodel import CoherenceModel

    texts = [[f"w{place}" for place in row.nonzero().flatten().tolist()] for row in presence]
    topics = torch.tensor([[11, 10, 9, 8, 7], [3, 5, 6, 8, 11]])
    assert ((presence.T @ presence)[topics[:, :, None], topics[:, None]] > 0).all(), (
        "gensim adds to pairs that never meet"
    )
    named = [[f"w{place}" for place in topic] for topic in topics.tolist()]
    model = CoherenceModel(
        topics=named, texts=texts, dictionary=Dictionary(texts), coherence="c_npmi", window_size=1000, processes=1
    )  # fmt: skip
    assert npmi(topics, presence).tolist() == pytest.approx(model.get_coherence_per_topic(), abs=1e-6)


def test_words_that_never_meet_and_words_that_are_everywhere():
    presence = torch.tensor([[1.0, 0, 1, 1], [0, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 1]])
    assert npmi(torch.tensor([[0, 1], [2, 3]]), presence).tolist() == [-1.0, 1.0]


def test_diversity_counts_different_words():
    assert diversity(torch.tensor([[0, 1, 2], [2, 3, 0]])) == pytest.approx(4 / 6)


def test_retrieval_is_what_sorting_gives():
    generator = torch.Generator().manual_seed(1)
    queries, corpus = torch.randn(300, 4, generator=generator), torch.randn(20, 4, generator=generator)
    wanted, held = torch.randint(0, 3, (300,), generator=generator), torch.randint(0, 3, (20,), generator=generator)
    wanted[7], held[3] = -1, -1
    shares = []
    for query, label in zip(queries, wanted.tolist(), strict=True):
        if label < 0:
            continue
        alike = torch.cosine_similarity(query, corpus, dim=-1)
        near = sorted((row for row in range(20) if held[row] >= 0), key=lambda row: -float(alike[row]))
        shares.append(sum(int(held[row]) == label for row in near[:5]) / 5)
    everything = (held[held >= 0][:, None] == wanted[wanted >= 0]).double().mean()
    found = retrieval_precision(queries, wanted, corpus, held, (5, 100))
    assert found == pytest.approx([sum(shares) / len(shares), float(everything)])


def test_accuracy_of_classes_that_lie_apart_and_of_noise():
    labels = torch.arange(90) % 3
    apart = torch.nn.functional.one_hot(labels, 3).float() + 0.1 * torch.randn(
        90, 3, generator=torch.Generator().manual_seed(0)
    )
    hidden = labels.clone()
    hidden[:30] = -1
    assert classification_accuracy(apart, hidden, apart, labels) == 1.0
    assert classification_accuracy(apart, labels, apart.roll(1, 0), labels) < 0.5
