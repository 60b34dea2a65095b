"""What is asked of a finished run: one rule for texts, pairs and labelled texts; what each kind of model offers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny
import torch
from helpers import SMALL, Compose, plain

from lvexp import build
from lvexp.data.bag import Bag
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import RunError
from lvexp.loading import NotOffered, Run
from lvexp.models.base import LatentModel
from lvexp.models.records import batch, columns
from lvexp.networks.writing import Decoding
from lvexp.reading import Reading

WORDS = Vocabulary.train(["a b c d e f"], kind="words", max_size=100, min_count=1, lowercase=False)
TEXTS = ["a b c d e f a", "f", "d e", "b", "c c c"]
COMMON = ["encode", "decode", "write", "n_best", "sample", "fit", "reconstruct", "interpolate", "score"]


@pytest.fixture
def made(composed: Compose):
    def make(*typed: str, labels: tuple[str, ...] = ()) -> Run:
        counted = any(word in ("model=nvdm", "model=prodlda") for word in typed)
        sizes = [size for size in SMALL if not (counted and size.startswith(("encoder", "decoder")))]
        config = plain(composed(*typed, *sizes))
        vocabulary = Bag(WORDS.tokens(range(4, WORDS.size))) if counted else WORDS
        torch.manual_seed(0)
        model = build.model(config, vocabulary).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 3.0  # so that texts differ
        model.attribute_names = {"label": labels} if labels else {}
        return Run(model, config)

    return make


def spread_classes(model: LatentModel) -> None:
    """Has q(c|x) name different classes for different texts."""
    with torch.no_grad():
        vocabulary = model.vocabulary
        features = torch.cat([model.read(batch(vocabulary, [text])).features for text in TEXTS])
        logits = model.latent.blocks["c"].linear
        logits.bias -= logits(features).mean(0)  # at the mean of the texts all classes are as probable


# --- records ---------------------------------------------------------------------------------------------------------


def test_a_record_is_what_stands_in_its_columns():
    assert columns("a b") == {"text": "a b"}
    assert columns(("c", "a b")) == columns(["c", "a b"]) == {"source": "c", "text": "a b"}
    assert columns(("c", "a b", 1)) == {"source": "c", "text": "a b", "label": 1}
    assert columns({"text": "a b", "label": "x"}) == {"text": "a b", "label": "x"}
    for wrong in (("a",), ("a", "b", 1, 2), []):
        with pytest.raises(ValueError, match=r"a record is a text, \(source, text\)"):
            columns(wrong)


def test_records_of_every_form_are_one_batch():
    found = batch(WORDS, ["a b", ("c", "a b"), {"text": "a b"}])
    assert found.tokens.tolist() == WORDS.encode(["a b"]) * 3
    assert found.source is None, "not all have one"
    assert found.labels is None
    found = batch(WORDS, [("c d", "a", 1), {"text": "a b", "source": "e", "label": "no"}], names=("no", "yes"))
    assert [row.tolist() for row in found.source] == [WORDS.encode(["c d"])[0], [*WORDS.encode(["e"])[0], 0]]
    assert found.lengths.tolist() == [3, 4]
    assert found.labels.tolist() == [1, 0]
    assert batch(WORDS, ["a", ("b", "c", 1)]).labels.tolist() == [-1, 1], "one that is not observed"


@pytest.mark.parametrize("label", [1, np.int64(1), "yes"])
def test_a_label_is_a_number_or_a_name(label: Any):
    assert batch(WORDS, [{"text": "a", "label": label}], names=("no", "yes")).labels.tolist() == [1]


@pytest.mark.parametrize(("names", "said"), [(("no", "yes"), "one of no, yes"), ((), "the numbers of the classes")])
def test_a_label_that_is_no_class_is_refused(names: tuple[str, ...], said: str):
    with pytest.raises(RunError, match=f"label 'perhaps': it is {'' if names else 'one of '}{said}"):
        batch(WORDS, [{"text": "a", "label": "perhaps"}], names=names)


def test_a_column_that_is_missing_is_named():
    with pytest.raises(RunError, match=r'reads text, and text is missing\ntry  \{"text": …\}'):
        batch(WORDS, ["a", {"txt": "a"}])
    needs = ("source", "text", "label")
    with pytest.raises(RunError, match=r"'b'.*reads source and text and label, and label is missing"):
        batch(WORDS, [("a", "b")], needs)


def test_records_of_counts():
    bag = Bag(["a", "b", "c"])
    for records in (["a b a", "c"], [("x", "a b a"), {"text": "c"}]):
        assert batch(bag, records).counts.tolist() == bag.batch(["a b a", "c"]).counts.tolist()
    assert batch(bag, [{"text": "a", "label": 1}]).labels.tolist() == [1]


@pytest.mark.parametrize("typed", ["model=svae", "model=m2 latent.c.categories=2", "model=nvdm"])
def test_a_run_answers_the_same_whatever_the_form(typed: str, made):
    run = made(*typed.split(), labels=("no", "yes"))
    texts = ["a b c", "f", "d e"]
    forms = [
        texts,
        [("b", text) for text in texts],
        [{"text": text} for text in texts],
        [{"text": text, "label": label} for text, label in zip(texts, ("no", 1, "yes"), strict=True)],
    ]
    codes = [run.encode(form) for form in forms]
    nats = [run.score(form, samples=5) for form in forms]
    assert codes[0].shape == (3, run.model.latent.width)
    for found, cost in zip(codes[1:], nats[1:], strict=True):
        assert torch.equal(found, codes[0]), "a label is not shown to a posterior that does without"
        assert cost == nats[0]


def test_answers_take_pairs_with_their_labels(made):
    run = made("model=nasm", labels=("wrong", "right"))
    pairs = [("a b", "c d e", "right"), ("c", "f", 0)]
    dicts = [{"label": 1, "text": "c d e", "source": "a b"}, {"source": "c", "text": "f", "label": "wrong"}]
    assert torch.equal(run.encode(pairs), run.encode(dicts))
    assert run.score(pairs) == run.score(dicts)
    other = [(*pairs[0][:2], "wrong"), pairs[1]]
    assert not torch.allclose(run.encode(pairs)[0], run.encode(other)[0])
    assert torch.allclose(run.encode(pairs)[1], run.encode(other)[1])


def test_one_text_is_no_list_of_texts(made):
    run = made("model=m2", "latent.c.categories=2")
    for call in (run.encode, run.score, run.classify):
        with pytest.raises(TypeError, match="put it in"):
            call("a b")
        with pytest.raises(ValueError, match="no text"):
            call([])


def test_codes_may_come_with_what_they_are_to_be_written_from(made, monkeypatch: pytest.MonkeyPatch):
    run = made("model=svae")
    given: list[Reading | None] = []
    write = run.model.write

    def watched(code: torch.Tensor, how: Decoding, reading: Reading | None = None) -> list[list[int]]:
        given.append(reading)
        return write(code, how, reading)

    monkeypatch.setattr(run.model, "write", watched)
    z = torch.randn(2, 4)
    assert run.decode(z, sources=["a", "b c"]) == run.decode(z)
    assert given[1] is None
    assert len(given[0].features) == 2
    with pytest.raises(ValueError, match="2 codes and 1 sources"):
        run.decode(z, sources=["a"])


# --- what a run offers -----------------------------------------------------------------------------------------------

OFFERS = {
    "model=svae": (),
    "model=rnnlm": (),
    "model=m2 latent.c.categories=2": ("attributes", "transfer", "classify"),
    "model=nasm": ("rank",),
    "model=answer_lstm": ("rank",),
    "model=nvdm": ("topics",),
    "model=prodlda": ("topics",),
}
OWN = ("attributes", "transfer", "classify", "rank", "topics")


@pytest.mark.parametrize(("typed", "offers"), OFFERS.items())
def test_a_run_offers_what_its_model_can_do_and_nothing_else(typed: str, offers: tuple[str, ...], made):
    run = made(*typed.split())
    assert run.offers == offers
    for name in OWN:
        assert hasattr(run, name) == (name in offers)
    for name in {*OWN, "summarise"} - set(offers):
        with pytest.raises(NotOffered) as told:
            getattr(run, name)
        assert isinstance(told.value, RunError)
        assert isinstance(told.value, AttributeError)
        assert str(told.value) == f"{name}: this run offers {', '.join([*COMMON, *offers])}"


def test_every_offer_is_a_method_of_the_model(made):
    for typed, offers in OFFERS.items():
        model = made(*typed.split()).model
        for name in offers:
            assert callable(getattr(model, name))
            assert not hasattr(LatentModel, name), "what every model has is no offer"


def test_topics_and_ranks_are_the_models_own(made):
    run = made("model=nvdm")
    assert run.topics(2) == run.model.topics(2)
    assert [len(topic) for topic in run.topics(3)] == [3] * 4
    judge = made("model=nasm")
    assert judge.rank("a b", ["c", "d e"]) == judge.model.rank("a b", ["c", "d e"])
    with pytest.raises(ValueError, match="at least one answer"):
        judge.rank("a b", "c")


@pytest.mark.parametrize("labels", [("small", "middling", "large"), ()])
def test_a_class_and_its_probability(labels: tuple[str, ...], made):
    run = made("model=m2", "latent.c.categories=3", labels=labels)
    spread_classes(run.model)
    found = run.classify(TEXTS)
    model = run.model
    with torch.no_grad():
        alone = [model.class_logits(model.params(model.read(batch(WORDS, [text]))))[0].softmax(-1)[0] for text in TEXTS]
    for (name, p), each in zip(found, alone, strict=True):
        assert p == pytest.approx(float(each.max()), abs=1e-5)
        assert name == (labels[int(each.argmax())] if labels else int(each.argmax()))
        assert p >= 1 / 3
    assert len({name for name, _ in found}) > 1, "or this test says little"
    by_two = run.classify(TEXTS, batch_size=2)
    assert [name for name, _ in by_two] == [name for name, _ in found], "in their order"
    assert [p for _, p in by_two] == pytest.approx([p for _, p in found], abs=1e-5)


# --- between two texts -----------------------------------------------------------------------------------------------


def test_a_line_of_a_mixed_z_moves_its_continuous_block_and_no_other(monkeypatch: pytest.MonkeyPatch):
    model = tiny.model("mixed", scale=4.0).eval()
    run, written = Run(model, {}), []
    write = model.write
    monkeypatch.setattr(model, "write", lambda code, *more: written.append(code) or write(code, *more))
    spread_classes(model)
    codes = run.encode(TEXTS)
    first, last = next((i, j) for i in range(5) for j in range(5) if not torch.allclose(codes[i, 3:], codes[j, 3:]))
    line = run.interpolate(TEXTS[first], TEXTS[last], steps=4)
    (path,) = written
    assert len(line) == len(path) == 4
    for number, code in enumerate(path):
        between = torch.lerp(codes[first, :3], codes[last, :3], number / 3)
        torch.testing.assert_close(code[:3], between, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(code[3:], codes[first, 3:], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(path[0, :3], path[-1, :3])
    assert line[0] == run.reconstruct([TEXTS[first]])[0]


@pytest.mark.parametrize("latent", ["categorical", "binary", "blocks"])
def test_between_two_values_of_a_discrete_z_lies_nothing(latent: str):
    with pytest.raises(RunError, match="lies nothing"):
        Run(tiny.model(latent).eval(), {}).interpolate("a", "b")
