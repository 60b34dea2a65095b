"""What a linear classifier reads off z."""

from __future__ import annotations

import dataclasses

import pytest
import tiny
import torch
from sklearn.linear_model import LogisticRegression

from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.settings import EvaluationSettings
from lvexp.metrics.probe import TEXTS, features, probe

SMALL = EvaluationSettings(iw_samples=2, samples=4, max_decode=6)
SHARE = 0.7  # of the first class


def texts(count: int, seed: int, classes: int = 2):
    """Batches of texts of one word, which is that of their class, and their labels."""
    torch.manual_seed(seed)
    labels = (torch.rand(count) > SHARE).long() if classes == 2 else torch.arange(count) % classes
    for rows in torch.arange(count).split(16):
        part = labels[rows]
        batch = tiny.encode(*(f"{tiny.WORDS[label % 6]} e" for label in part.tolist()))
        yield dataclasses.replace(batch, labels=part)


@pytest.fixture(scope="module")
def model():
    return tiny.model(scale=4.0).eval()


def asked(model, batches):
    batches = list(batches)
    with torch.no_grad():
        params = [model.params(model.read(batch)) for batch in batches]
        read = torch.cat([features(model.latent, model.latent.posterior(part)) for part in params])
    return read, torch.cat([batch.labels for batch in batches]).tolist()


def measure(model, known, tested):
    with torch.no_grad():
        return probe(model, known, *asked(model, tested))


def test_labels_that_z_knows_and_the_majority_beside_it(model):
    found = measure(model, texts(300, 0), texts(100, 1))
    _, labels = asked(model, texts(100, 1))
    assert found["probe_accuracy"] == 1.0
    assert found["majority_accuracy"] == labels.count(0) / 100
    assert 0.55 < found["majority_accuracy"] < 0.85
    assert (found["probe_n"], found["probe_fitted"]) == (100, 300)
    assert found == measure(model, texts(300, 0), texts(100, 1)), "nothing is drawn"


def test_labels_that_have_nothing_to_do_with_the_texts(model):
    """And the figure is scikit-learn's, on the standardised means."""

    def shuffled(count, seed):
        for batch in texts(count, seed):
            yield dataclasses.replace(batch, labels=(torch.rand(len(batch)) > SHARE).long())

    known, tested = list(shuffled(300, 0)), list(shuffled(100, 1))
    found = measure(model, known, tested)
    x, y = asked(model, known)
    test, labels = asked(model, tested)
    mean, deviation = x.mean(0), x.std(0, correction=0)
    by_hand = LogisticRegression(max_iter=1000).fit(((x - mean) / deviation).numpy(), y)
    assert found["probe_accuracy"] == pytest.approx(
        by_hand.score(((test - mean) / deviation).numpy(), labels), abs=0.02
    )
    assert abs(found["probe_accuracy"] - found["majority_accuracy"]) < 0.1


def test_it_is_fitted_on_so_many_texts_at_most(model):
    found = measure(model, texts(TEXTS + 500, 0), texts(20, 1))
    assert TEXTS <= found["probe_fitted"] < TEXTS + 16


@pytest.mark.parametrize("classes", [1, 101], ids=["all alike", "names, not classes"])
def test_labels_that_are_no_classes(model, classes):
    assert measure(model, texts(202, 0, classes), texts(20, 1, classes)) == {}


def test_without_labels_there_is_nothing_to_probe(model):
    bare = [dataclasses.replace(batch, labels=None) for batch in texts(40, 0)]
    assert measure(model, bare, texts(20, 1)) == {}
    hidden = [dataclasses.replace(batch, labels=torch.full((len(batch),), -1)) for batch in texts(40, 0)]
    assert measure(model, hidden, texts(20, 1)) == {}


@pytest.mark.parametrize("latent", ["gaussian", "point", "categorical", "mixed"])
def test_a_report_has_it_for_every_kind_of_z(latent):
    others = {"train": list(texts(64, 0))}
    scores = evaluate(tiny.model(latent), list(texts(32, 1)), SMALL, others=others).scores
    assert 0 <= scores["probe_accuracy"] <= 1
    assert scores["probe_fitted"] == 64
    bare = evaluate(tiny.model(latent), list(texts(32, 1)), SMALL).scores
    assert bare["probe_accuracy"] is None
    same = scores.keys() - {"probe_accuracy", "majority_accuracy", "probe_n", "probe_fitted"}
    assert {name: scores[name] for name in same} == {name: bare[name] for name in same}, "no other figure is moved"


def test_a_posterior_that_is_given_the_labels_is_neither_probed_nor_drawn(monkeypatch):
    model, others = tiny.model(), {"train": list(texts(64, 0))}
    assert "projection" in evaluate(model, list(texts(32, 1)), SMALL, others=others).pictures
    monkeypatch.setattr(type(model), "sees_labels", True)
    found = evaluate(model, list(texts(32, 1)), SMALL, others=others)
    assert found.scores["probe_accuracy"] is None
    assert "projection" not in found.pictures
