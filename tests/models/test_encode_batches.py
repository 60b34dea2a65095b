"""Many texts are encoded and scored in batches of like length, and come back in their order."""

from __future__ import annotations

import pytest
import tiny
import torch

from lvexp.loading import Run

TEXTS = ["a b c d e f a b", "c", "d e", "a", "f e d c b a f", "b c d", "e", "a b"]


def seen(model, monkeypatch):
    """The sizes of what the encoder or the decoder reads, texts by tokens."""
    shapes = []
    read = model.read
    monkeypatch.setattr(model, "read", lambda batch: shapes.append(tuple(batch.tokens.shape)) or read(batch))
    return shapes


@pytest.mark.parametrize("latent", ["gaussian", "categorical"])
def test_encode(latent, monkeypatch):
    model = tiny.model(latent).eval()
    run, shapes = Run(model, {}), seen(model, monkeypatch)
    whole = run.encode(TEXTS, batch_size=100)
    found = run.encode(TEXTS, batch_size=3)
    torch.testing.assert_close(found, whole)
    alone = torch.cat([run.encode([text]) for text in TEXTS])
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-5)
    assert shapes[1:4] == [(3, 3), (3, 5), (2, 10)], "the longest pads nobody else"


@pytest.mark.parametrize("latent", ["none", "categorical"])
def test_exact_scores(latent, monkeypatch):
    model = tiny.model(latent).eval()
    run, shapes = Run(model, {}), seen(model, monkeypatch)
    assert run.score(TEXTS, batch_size=3) == pytest.approx(run.score(TEXTS, batch_size=100), rel=1e-5)
    assert [texts for texts, _ in shapes] == [3, 3, 2, 8]


def test_estimated_scores_keep_their_order():
    run = Run(tiny.model(scale=2.0).eval(), {})
    found = run.score(TEXTS, samples=400, batch_size=3)
    assert found == pytest.approx(run.score(TEXTS, samples=400, batch_size=100), abs=0.5)
    assert found == run.score(TEXTS, samples=400, batch_size=3), "the same seed"
    assert min(found[0], found[4]) > max(found[1], found[3], found[6])


def test_a_batch_of_none_is_refused():
    with pytest.raises(ValueError, match="batch_size=0"):
        Run(tiny.model().eval(), {}).encode(TEXTS, batch_size=0)
