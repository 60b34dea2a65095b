"""What a model reads of a batch: once in a step, text by text, and of relaxed texts too."""

from __future__ import annotations

import dataclasses

import pytest
import tiny
import torch
from helpers import SMALL, Compose, plain

from lvexp import build
from lvexp.__main__ import MENU
from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.instruments.base import Context
from lvexp.instruments.evaluate import Walk, applying, validated
from lvexp.instruments.settings import EvaluationSettings
from lvexp.networks.base import AbstractEncoder
from lvexp.networks.bow import BowEncoder
from lvexp.networks.recurrent import RecurrentEncoder
from lvexp.reading import Memory, Reading
from lvexp.regularizers.base import equip
from lvexp.regularizers.semi_amortized import SemiAmortized
from lvexp.training.module import Training

WORDS = Vocabulary.train(["a b c d e f"], kind="words", max_size=100, min_count=1, lowercase=False)
BATCH = dataclasses.replace(
    Batch.of(WORDS.encode(["a b c", "d e f", "f", "c c"]), WORDS.encode(["a", "b c d", "d f", "c"])),
    labels=torch.tensor([1, 0, 0, 1]),
    group=torch.tensor([0, 0, 1, 1]),
    index=torch.arange(4),
)
STEPS = 3


@pytest.fixture
def made(composed: Compose):
    def make(*typed: str, steps: int = 0) -> Training:
        config = plain(composed(*typed, *SMALL))
        torch.manual_seed(0)
        model = build.model(config, WORDS)
        equip(model, [SemiAmortized(steps=steps, through="none")] if steps else [])
        return build.training(config, model)

    return make


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch):
    """Counts the readings of a model."""

    def watch(training: Training) -> list[Batch]:
        seen: list[Batch] = []
        read = training.model.read
        monkeypatch.setattr(training.model, "read", lambda batch, *more: seen.append(batch) or read(batch, *more))
        return seen

    return watch


@pytest.mark.parametrize(
    ("typed", "steps", "times"),
    [
        ("model=svae", 0, 1),
        ("model=svae", STEPS, 1),  # nothing but the posterior depends on what is read
        ("model=nasm", 0, 1),
        ("model=nasm", STEPS, 1 + STEPS + 1),  # each descent goes backward through a reading, and frees it
        ("model=rnnlm", 0, 1),
        ("model=m2 latent.c.categories=2", 0, 1),
    ],
)
def test_a_step_reads_a_batch_once(typed: str, steps: int, times: int, made, reads):
    training = made(*typed.split(), steps=steps)
    seen = reads(training)
    training.training_step(BATCH, 0).backward()
    assert len(seen) == times
    assert all(batch is BATCH for batch in seen)
    assert any(parameter.grad is not None for parameter in training.parameters())


@pytest.mark.parametrize("typed", ["model=svae", "model=nasm"])
def test_a_validation_reads_a_batch_once(typed: str, made, reads):
    training = made(typed)
    model, seen = training.model.eval(), reads(training)
    makes = [make for make in applying(model) if validated(model, make)]
    walk = Walk(Context(model, EvaluationSettings(), alone=False), makes)
    with torch.no_grad():
        terms = training.validation_step(BATCH, 0)
        walk.show(terms)
        walk.measure()
    assert len(seen) == 1
    assert terms.reading is not None


def test_a_reading_that_is_given_is_not_made_again(made, reads):
    training = made("model=nasm")
    model, seen = training.model.eval(), reads(training)
    read = model.read(BATCH)
    torch.manual_seed(1)
    known = model.terms(BATCH, params=model.params(read), reading=read)
    assert len(seen) == 1
    assert known.reading is read
    torch.manual_seed(1)
    anew = model.terms(BATCH)
    torch.testing.assert_close(anew.distortion, known.distortion)
    torch.testing.assert_close(anew.rate, known.rate)


# --- slices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows", [slice(1, 3), torch.tensor([3, 0])], ids=["slice", "rows"])
def test_a_part_of_a_reading_is_the_reading_of_these_texts(rows: slice | torch.Tensor, made):
    model = made("model=nasm").model.eval()
    part, apart = model.read(BATCH)[rows], model.read(BATCH[rows])
    torch.testing.assert_close(part.features, apart.features)
    torch.testing.assert_close(part.condition, apart.condition)
    assert part.memories.keys() == apart.memories.keys() == {"question", "answer"}
    for name, memory in part.memories.items():
        torch.testing.assert_close(memory.summary, apart.memories[name].summary)
        assert torch.equal(memory.mask, apart.memories[name].mask)
        torch.testing.assert_close(memory.states[memory.mask], apart.memories[name].states[memory.mask])
    code = torch.randn(2, 4, model.latent.width)
    torch.testing.assert_close(
        model.log_likelihood(BATCH, model.read(BATCH), code)[:, rows],
        model.log_likelihood(BATCH[rows], part, code[:, rows]),
    )


def test_what_there_is_not_is_not_in_a_part_either():
    read = Reading(torch.randn(3, 2))
    assert torch.equal(read[:2].features, read.features[:2])
    assert read[:2].condition is None
    assert read[:2].memories == {}


def test_what_depends_on_a_reading():
    memory = Memory(torch.zeros(3, 2, 4), torch.ones(3, 2).bool(), torch.zeros(3, 4))
    features = torch.zeros(3, 2)
    assert Reading(features).only_features
    assert not Reading(features, torch.zeros(3, 1)).only_features
    assert not Reading(features, memories={"answer": memory}).only_features


# --- relaxed texts ---------------------------------------------------------------------------------------------------

ENCODERS = sorted(path.stem for path in (MENU / "encoder").glob("*.yaml"))


@pytest.fixture
def encoder(composed: Compose):
    def make(name: str, *more: str) -> AbstractEncoder:
        model = {"bow": "prodlda", "none": "rnnlm", "bilstm": "nasm"}.get(name, "svae")
        sizes = ["encoder.hidden=8", *(["encoder.embedding=8"] if name not in ("bow", "none") else [])]
        config = plain(composed(f"model={model}", f"encoder={name}", *(sizes if name != "none" else []), *more))
        torch.manual_seed(0)
        found = build.model(config, WORDS).get_submodule("encoder")
        assert isinstance(found, AbstractEncoder)
        return found.eval()

    return make


def one_hot(tokens: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.one_hot(tokens, WORDS.size).float()


@pytest.mark.parametrize("name", ENCODERS)
def test_a_text_of_certain_words_is_read_as_the_text(name: str, encoder):
    network = encoder(name)
    relaxed = one_hot(BATCH.tokens)
    torch.testing.assert_close(network(relaxed, BATCH.lengths), network(BATCH.tokens, BATCH.lengths))


@pytest.mark.parametrize("name", [name for name in ENCODERS if name != "none"])
def test_gradients_flow_to_the_distributions_of_a_texts_own_words_and_no_others(name: str, encoder):
    network = encoder(name)
    logits = (5 * one_hot(BATCH.tokens)).requires_grad_()
    network(logits.softmax(-1), BATCH.lengths).square().sum().backward()
    reached = logits.grad.abs().sum(-1) > 0
    own = torch.arange(BATCH.tokens.shape[1]) < BATCH.lengths[:, None]
    assert torch.equal(reached, own)


def test_an_encoder_that_reads_nothing_reads_nothing_of_relaxed_texts(encoder):
    assert encoder("none")(one_hot(BATCH.tokens), BATCH.lengths).shape == (4, 0)


@pytest.mark.parametrize("network", [RecurrentEncoder(tiny.V, embedding=6, hidden=7), BowEncoder(tiny.V, hidden=7)])
def test_a_mixture_of_two_words_is_between_them(network: AbstractEncoder):
    """The expected word vector, or the expected count: both are linear in the distribution."""
    lengths = torch.tensor([3])
    texts = [torch.tensor([[1, word, 2]]) for word in (5, 7)]
    first, last = (torch.nn.functional.one_hot(text, tiny.V).float() for text in texts)
    read = (
        network.embedding if isinstance(network, RecurrentEncoder) else (lambda words: network.stack[0](words.sum(1)))
    )
    torch.testing.assert_close(read(torch.lerp(first, last, 0.3)), torch.lerp(read(first), read(last), 0.3))
    ends = [network.eval()(text, lengths) for text in texts]
    middle = network(torch.lerp(first, last, 0.3), lengths)
    assert not any(torch.allclose(middle, end) for end in ends)
