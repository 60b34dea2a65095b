"""How probable a language model finds what a model writes."""

from __future__ import annotations

import math

import kinds
import pytest
import tiny
import torch

from lvexp.data.batch import Batch
from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.fluency import perplexity


def one_by_one(model, texts: list[str]) -> float:
    with torch.no_grad():
        batches = [Batch.of(model.vocabulary.encode([text])) for text in texts]
        nats = sum(model.terms(batch).distortion.sum().item() for batch in batches)
    return math.exp(nats / sum(batch.predicted() for batch in batches))


def test_perplexity_is_over_all_tokens_of_all_batches():
    model = tiny.model("none").eval()
    texts = ["a", "a b c d e f a b", "f e"] * 50
    assert perplexity(model, texts) == pytest.approx(one_by_one(model, texts[:3]), rel=1e-4)
    with pytest.raises(ValueError, match="no text"):
        perplexity(model, [])


@pytest.mark.parametrize("kind", ["gaussian", "none", "categorical"])
def test_samples_are_read_by_the_language_model(kind: str):
    known = tiny.model("none", seed=5).eval()
    found = evaluate(kinds.MODELS[kind](), kinds.texts(kind), kinds.SETTINGS, kinds.CLASSES, language_model=known)
    (samples,) = (section for section in found.sections if section.title == "Samples")
    texts = [text for (text,) in samples.rows]
    assert len(texts) == kinds.SETTINGS.samples
    assert found.scores["sample_perplexity"] == pytest.approx(one_by_one(known, texts), rel=1e-4)
    assert ("perplexity", f"{found.scores['sample_perplexity']:.1f}", "per token") in {
        row[:3] for _, rows in found.groups for row in rows
    }


def test_without_a_language_model_nothing_is_said():
    found = evaluate(kinds.MODELS["gaussian"](), kinds.texts("gaussian"), kinds.SETTINGS, kinds.CLASSES)
    assert found.scores["sample_perplexity"] is None
    assert "language model" not in str(found.groups)
