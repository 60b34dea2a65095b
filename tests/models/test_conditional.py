"""Texts given their sources: attention, beams, masks, likelihoods, what a finished run translates."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from helpers import F32, Compose, checked, plain

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import Refusal, RunError
from lvexp.instruments.base import Context, Look
from lvexp.instruments.settings import EvaluationSettings
from lvexp.instruments.translation import Translation
from lvexp.loading import Run
from lvexp.metrics.likelihood import importance_weighted, marginal
from lvexp.models.conditional import ConditionalModel
from lvexp.networks.attention import Attention
from lvexp.networks.recurrent import RecurrentDecoder
from lvexp.networks.writing import Decoding, write
from lvexp.reading import Memory

WORDS = Vocabulary.train(["a b c d e f"], kind="words", max_size=100, min_count=1, lowercase=False)
PAIRS = Batch.of(WORDS.encode(["a b c", "d e f", "f e d"]), WORDS.encode(["a", "b c d e", "d f"]))
SIZES = [f"{part}.{size}=8" for part in ("encoder", "decoder") for size in ("hidden", "embedding")]


@pytest.fixture
def made(composed: Compose):
    def make(*overrides: str) -> ConditionalModel:
        torch.manual_seed(0)
        model = build.model(plain(composed("data=multi30k", *overrides, *SIZES, "latent.dim=3")), WORDS).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 3
        assert isinstance(model, ConditionalModel)
        return model

    return make


@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_attention_is_what_a_loop_over_positions_and_states_gives(kind: str):
    torch.manual_seed(0)
    attention = Attention(kind, 4, 6)
    query, value = torch.randn(2, 3, 5, 4), torch.randn(3, 7, 6)
    mask = torch.arange(7) < torch.tensor([7, 3, 1])[:, None]
    found = attention(query, attention.key(value), value, mask)
    for s, b, t in itertools.product(range(2), range(3), range(5)):
        h = query[s, b, t]
        energy = []
        for state in value[b][mask[b]]:
            k = attention.key.weight @ state
            if kind == "dot":
                energy.append(h @ k)
            else:
                asked = attention.query.weight @ h + attention.query.bias
                energy.append(attention.score.weight[0] @ torch.tanh(asked + k))
        alpha = torch.stack(energy).softmax(0)
        context = sum(weight * state for weight, state in zip(alpha, value[b][mask[b]], strict=True))
        wanted = torch.tanh(attention.out.weight @ torch.cat([context, h]))
        torch.testing.assert_close(found[s, b, t], wanted, **F32)


@pytest.mark.parametrize(
    "name", ["seq2seq", "cvae", "aevnmt", "seq2seq decoder=lstm", "cvae decoder.attention=additive"]
)
def test_padding_of_the_source_changes_nothing(made: Any, name: str):
    model = made(*f"model={name}".split())
    longer = Batch(PAIRS.tokens, PAIRS.lengths, source=torch.nn.functional.pad(PAIRS.source, (0, 4)))
    figures = []
    for batch in (PAIRS, longer):
        torch.manual_seed(1)
        with torch.no_grad():
            terms = model.terms(batch)
            written = model.write(model.code(terms.reading), Decoding("beam", max_length=6), terms.reading)
        figures.append((terms, written))
    (one, first), (other, second) = figures
    torch.testing.assert_close(one.distortion, other.distortion, **F32)
    if one.rate is not None:
        torch.testing.assert_close(one.rate, other.rate, **F32)
    assert first == second


@pytest.mark.parametrize("name", ["seq2seq", "seq2seq decoder=lstm", "seq2seq decoder.attention=additive"])
def test_the_likelihood_without_z_is_the_sum_of_the_log_probabilities_of_the_steps(made: Any, name: str):
    model = made(*f"model={name}".split())
    with torch.no_grad():
        terms = model.terms(PAIRS)
        code = model._beside(terms.code, terms.reading)[0]
        state, total = model.decoder.start(code, terms.reading.memories), torch.zeros(len(PAIRS))
        for place in range(PAIRS.tokens.shape[1] - 1):
            log_p, state = model.decoder.step(PAIRS.tokens[:, place], state)
            here = log_p.gather(1, PAIRS.tokens[:, place + 1, None])[:, 0]
            total += here * (place + 1 < PAIRS.lengths)
    torch.testing.assert_close(terms.distortion, -total, **F32)


def test_the_weighted_likelihood_of_a_discrete_z_is_that_of_its_enumeration(made: Any):
    model = made("model=cvae", "latent=categorical", "latent.categories=5", "regularizer=none")
    torch.manual_seed(0)
    with torch.no_grad():
        exact = marginal(model, PAIRS)
        estimate = importance_weighted(model, PAIRS, 4000)
    assert ((estimate.nll - exact).abs() < 4 * estimate.error + 1e-4).all()


def test_q_sees_both_texts_or_the_source_alone(made: Any):
    other = Batch.of(WORDS.encode(["c b a", "f f f", "a a a"]))
    other = Batch(other.tokens, other.lengths, source=PAIRS.source)
    with torch.no_grad():
        for name, same in (("cvae", False), ("cvae model.posterior=source", True), ("aevnmt", True)):
            model = made(*f"model={name}".split())
            params = [model.params(model.read(batch)) for batch in (PAIRS, other)]
            assert torch.equal(*params) == same, name


def test_aevnmt_adds_the_likelihood_of_the_source(made: Any):
    model = made("model=aevnmt")
    with torch.no_grad():
        reading = model.read(PAIRS)
        code = torch.randn(2, len(PAIRS), 3)
        both = model.log_likelihood(PAIRS, reading, code)
        lengths = (PAIRS.source != 0).sum(1)
        source = model.retold(PAIRS.source[:, :-1], PAIRS.source[:, 1:], lengths, code)
        model.retold = None
        torch.testing.assert_close(both, model.log_likelihood(PAIRS, reading, code) + source, **F32)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
def test_a_wide_beam_finds_what_an_exhaustive_search_finds(alpha: float):
    torch.manual_seed(3)
    decoder = RecurrentDecoder(6, 2, embedding=4, hidden=4, attention="dot", states=3).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter *= 4
    code, longest = torch.randn(2, 2), 4
    memories = {"source": Memory(torch.randn(2, 5, 3), torch.ones(2, 5, dtype=torch.bool), torch.zeros(2, 3))}
    found = write(decoder, code, Decoding("beam", beam=400, length_penalty=alpha, max_length=longest), memories)
    # whatever is not ended by then counts as it stands
    texts = [text for n in range(longest + 1) for text in itertools.product((3, 4, 5), repeat=n)]
    for row in range(2):
        alone = {"source": memories["source"][row : row + 1]}
        best, most = None, -float("inf")
        for text in texts:
            tokens = [1, *text, *([2] if len(text) < longest else [])]
            inputs, targets = torch.tensor([tokens[:-1]]), torch.tensor([tokens[1:]])
            with torch.no_grad():
                log_p = decoder(inputs, targets, torch.tensor([len(tokens)]), code[None, row : row + 1], alone)
            rank = float(log_p) / ((5 + len(tokens) - 1) / 6) ** alpha
            if rank > most:
                best, most = list(text), rank
        assert found[row] == best


def test_a_decoder_that_attends_needs_a_source(composed: Compose):
    with pytest.raises(Refusal, match=r"decoder=attentive +attends to one"):
        checked(composed("model=svae", "decoder=attentive"))


def test_a_model_of_pairs_needs_sources(composed: Compose):
    with pytest.raises(Refusal, match="needs one for each text"):
        checked(composed("model=seq2seq", "data=snips"))


def test_the_wrong_z_is_that_of_the_source_before_never_its_own(made: Any, monkeypatch: pytest.MonkeyPatch):
    model = made("model=cvae")
    given: dict[str, list[torch.Tensor]] = {}

    def note(self: Translation, name: str, code: torch.Tensor, *_: Any) -> None:
        given.setdefault(name, []).append(code)

    monkeypatch.setattr(Translation, "_write", note)
    instrument = Translation(Context(model, EvaluationSettings()))
    with torch.no_grad():
        for rows in (slice(0, 2), slice(2, 3)):  # the second batch has one text
            batch = PAIRS[rows]
            instrument.update(Look(model.terms(batch), None, 0))
    own, wrong = torch.cat(given["greedy"]), torch.cat(given["wrong"])
    assert torch.equal(wrong[1:], own[:-1])
    assert not any(torch.equal(*pair) for pair in zip(own, wrong, strict=True))


def test_translations_come_in_the_order_of_their_sources(made: Any):
    model = made("model=cvae")
    sources = ["a b c d e f", "b", "c d"]
    together = model.translate(sources, max_length=5, batch_size=2)
    assert together == [model.translate([source], max_length=5)[0] for source in sources]
    with pytest.raises(TypeError, match="list of texts"):
        model.translate("a b")


def test_a_run_without_sources_is_told_how_to_get_texts(made: Any):
    run = Run(made("model=cvae"), {})
    with pytest.raises(RunError, match=r"translate\(sources, draw=True\)"):
        run.sample(2)
    with pytest.raises(RunError, match=r"decode\(z, sources="):
        run.decode(torch.zeros(1, 3))
