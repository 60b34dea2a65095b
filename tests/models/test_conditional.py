"""Texts given their sources: attention, beams, masks, likelihoods, what a finished run translates."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import pytest
import torch
from helpers import F32, Compose, checked, plain
from sacrebleu.metrics.bleu import BLEU

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, Refusal, RunError
from lvexp.instruments.base import Context, Look
from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.settings import EvaluationSettings
from lvexp.instruments.translation import Translation
from lvexp.loading import Run, load
from lvexp.metrics.likelihood import importance_weighted, marginal
from lvexp.models.conditional import ConditionalModel
from lvexp.networks.attention import Attention
from lvexp.networks.base import WordVectors
from lvexp.networks.bidirectional import BidirectionalEncoder
from lvexp.networks.perceptron import PerceptronEncoder
from lvexp.networks.recurrent import CELLS, RecurrentDecoder
from lvexp.networks.writing import Decoding, write
from lvexp.reading import Memory

WORDS = Vocabulary.train(["a b c d e f"], kind="words", max_size=100, min_count=1, lowercase=False)
WORDS_OF_TARGETS, WORDS_OF_SOURCES = ["a b c", "d e f", "f e d"], ["a", "b c d e", "d f"]
PAIRS = Batch.of(WORDS.encode(WORDS_OF_TARGETS), WORDS.encode(WORDS_OF_SOURCES))
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


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("at_once", [5, 2, 1])
@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_attention_is_what_a_loop_over_positions_and_states_gives(kind: str, at_once: int, learning: bool):
    torch.manual_seed(0)
    attention = Attention(kind, 4, 6)
    query, value = torch.randn(2, 3, 5, 4), torch.randn(3, 7, 6)
    mask = torch.arange(7) < torch.tensor([7, 3, 1])[:, None]
    with torch.set_grad_enabled(learning):
        key = attention.key(value)
        found = torch.cat([attention(part, key, value, mask) for part in query.split(at_once, 2)], 2)
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
    whole = Batch(PAIRS.tokens, PAIRS.lengths, source=PAIRS.source, index=torch.arange(3))
    with torch.no_grad():
        for rows in (slice(0, 2), slice(2, 3)):  # the second batch has one text
            batch = whole[rows]
            instrument.update(Look(model.terms(batch), None, 0))
    own, wrong = torch.cat(given["greedy"]), torch.cat(given["wrong"])
    assert torch.equal(wrong[1:], own[:-1])
    assert not any(torch.equal(*pair) for pair in zip(own, wrong, strict=True))


def test_texts_come_in_the_order_of_their_sources(made: Any):
    run = Run(made("model=cvae"), {})
    sources = ["a b c d e f", "b", "c d"]
    together = run.write(sources, max_length=5, batch_size=2)
    assert together == [run.write([source], max_length=5)[0] for source in sources]
    with pytest.raises(TypeError, match="list of sources"):
        run.write("a b")


def test_a_run_samples_encodes_and_scores_given_sources(made: Any):
    run = Run(made("model=cvae"), {})
    texts = run.sample(6, seed=3, source="a b c", max_length=5)
    assert texts == run.sample(6, seed=3, source="a b c", max_length=5)
    assert len(set(texts)) > 1
    assert run.encode([("a b", "c d"), ("a b", "e")]).shape == (2, 3)
    first, other = run.score([("a b", "c d"), ("c", "c d")], samples=20)
    assert first > 0
    assert first != other


@pytest.mark.parametrize("name", ["seq2seq", "cvae", "seq2seq decoder=lstm"])
def test_the_n_best_are_those_of_an_exhaustive_search_with_their_log_probabilities(made: Any, name: str):
    model = made(*f"model={name}".split())
    run, longest = Run(model, {}), 3
    known = [number for number in range(WORDS.size) if number not in (0, 1, 2)]
    # a text of the greatest length is cut before its end
    texts = [list(text) for n in range(longest + 1) for text in itertools.product(known, repeat=n)]
    for source in ("a b c", "f"):
        with torch.no_grad():
            whole = [[1, *text, 2][: longest + 1] for text in texts]
            batch = Batch.of(whole, WORDS.encode([source]) * len(texts))
            reading = model.read(batch)
            log_p = model.log_likelihood(batch, reading, model.code(reading)[None])[0]
        order = log_p.argsort(descending=True)[:4].tolist()
        found = run.n_best([source, "b"], 4, beam=400, max_length=longest)[0]
        assert [text for text, _ in found] == [WORDS.decode(texts[at]) for at in order]
        torch.testing.assert_close(torch.tensor([score for _, score in found]), log_p[order], **F32)
        assert found[0][0] == run.write([source], method="beam", beam=400, max_length=longest)[0]


@pytest.mark.parametrize(("method", "n_best"), [("greedy", 2), ("beam", 6), ("beam", 0)])
def test_more_texts_than_beam_search_keeps_are_refused(method: str, n_best: int):
    with pytest.raises(ConfigError, match=f"n_best={n_best}"):
        Decoding(method, n_best=n_best)


@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_the_weights_shown_are_those_attended_with(made: Any, kind: str):
    model = made("model=seq2seq", f"decoder.attention={kind}")
    with torch.no_grad():
        reading = model.read(PAIRS)
        code = model.code(reading)
        weights = model.attended(PAIRS, reading, code)
        assert weights.shape == (3, PAIRS.inputs.shape[1], PAIRS.source.shape[1])
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:2]), **F32)
        assert not weights[(~PAIRS.sourced)[:, None].expand_as(weights)].any()
        inside = model._beside(code[None], reading)
        own, attention = model.decoder._own(PAIRS.inputs, inside), model.decoder.attention
        memory = reading.memories["source"]
        context = torch.einsum("btl,blm->btm", weights, memory.states)
        wanted = torch.tanh(attention.out(torch.cat([context, own[0]], -1)))
        torch.testing.assert_close(model.decoder.states(PAIRS.inputs, inside, reading.memories)[0], wanted, **F32)
    assert made("model=seq2seq", "decoder=lstm").attended(PAIRS, reading, code) is None


def test_the_best_validation_may_be_that_of_the_highest_bleu(made: Any):
    model = made("model=cvae", "model.best=bleu")
    assert model.monitor == ("bleu_loss", "100−BLEU")
    assert made("model=cvae").monitor == ("nelbo", "−ELBO")
    assert not Translation.validates(made("model=cvae"))
    instrument = Translation(Context(model, EvaluationSettings(max_decode=4), alone=False))
    with torch.no_grad():
        instrument.update(Look(model.terms(PAIRS), None, 0))
    measured = instrument.measure()
    assert set(measured) == set(Translation.validates(model))
    texts = Run(model, {}).write(WORDS_OF_SOURCES, max_length=4)
    wanted = BLEU(tokenize="none", force=True).corpus_score(texts, [WORDS_OF_TARGETS]).score
    assert measured["bleu_greedy"] == pytest.approx(wanted)
    assert measured["bleu_loss"] == pytest.approx(100 - wanted)


def test_a_vocabulary_of_their_own_serves_the_sources(composed: Compose, tmp_path: Any):
    other = Vocabulary.train(["x y z"], kind="words", max_size=100, min_count=1, lowercase=False)
    config = plain(composed("data=multi30k", "model=aevnmt", *SIZES, "latent.dim=3"))
    model = build.model(config, WORDS, other)
    assert model.encoder.embedding.num_embeddings == other.size == model.retold.embedding.num_embeddings
    assert model.decoder.embedding.num_embeddings == WORDS.size
    training = build.training(config, model)
    saved = dict(training.hparams)
    assert saved["sources"] == other.to_json()
    file = tmp_path / "best.ckpt"
    torch.save({"state_dict": model.state_dict(), "hyper_parameters": saved}, file)
    run = load(file)
    assert run.model.sources.tokens([4, 5, 6]) == other.tokens([4, 5, 6])
    model.eval()
    assert run.write(["x y", "z"], max_length=4) == Run(model, {}).write(["x y", "z"], max_length=4)


@pytest.mark.parametrize("shape", [(1, 3), (2, 3)])
@pytest.mark.parametrize("name", ["seq2seq encoder=perceptron", "cvae encoder=perceptron", "cvae encoder=bilstm"])
def test_feature_vectors_are_read_and_asked_with(composed: Compose, name: str, shape: tuple[int, int]):
    torch.manual_seed(0)
    small = [size for size in SIZES if "encoder" in size]
    config = plain(composed("data=objects", f"model={name.split()[0]}", *name.split()[1:], *SIZES, *small))
    model = build.model(config, WORDS, Features(*shape)).eval()
    batch = Batch(PAIRS.tokens, PAIRS.lengths, source=torch.randn(3, *shape))
    with torch.no_grad():
        terms = model.terms(batch)
        changed = Batch(PAIRS.tokens, PAIRS.lengths, source=torch.randn(3, *shape))
        assert not torch.allclose(terms.distortion, model.terms(changed).distortion)
    run = Run(model, {})
    given = list(batch.source.numpy())
    assert len(run.write(given, max_length=3)) == 3
    assert len(run.score([(vector, "a b") for vector in given], samples=2)) == 3
    for bad in ([1.0, 2.0], "a text", [[float("nan")] * 3] * shape[0]):
        with pytest.raises(RunError, match=rf"sources of {shape[0]} vectors? of 3 values"):
            run.write([bad])


def test_the_perceptron_reads_each_vector_by_itself():
    torch.manual_seed(0)
    encoder = PerceptronEncoder(5, embedding=4, hidden=3, layers=2)
    vectors, lengths = torch.randn(2, 3, 5), torch.tensor([3, 2])
    with torch.no_grad():
        states = encoder.states(vectors, lengths)
        (_, one, _, two, _) = encoder.layers
        wanted = torch.tanh(two(torch.tanh(one(torch.tanh(vectors @ encoder.embedding.weight)))))
        torch.testing.assert_close(states, wanted, **F32)
        mean = torch.stack([wanted[0].mean(0), wanted[1, :2].mean(0)])
        torch.testing.assert_close(encoder(vectors, lengths), mean, **F32)
        words = torch.tensor([[1, 4, 2], [1, 2, 0]])
        hot = torch.nn.functional.one_hot(words, 5).float()
        torch.testing.assert_close(encoder(words, lengths), encoder(hot, lengths), **F32)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("layers", [1, 2])
def test_padded_texts_are_read_backwards_from_their_own_end(cell: str, layers: int):
    encoder = BidirectionalEncoder(9, cell=cell, embedding=4, hidden=3, layers=layers)
    torchs = CELLS[cell](4, 3, layers, batch_first=True, bidirectional=True)
    # also how checkpoints of earlier versions are opened
    encoder.load_state_dict({"embedding.weight": encoder.embedding.weight}
                            | {f"rnn.{name}": value for name, value in torchs.state_dict().items()})  # fmt: skip
    lengths = torch.tensor([5, 1, 3])
    tokens = torch.randint(4, 9, (3, 5)) * (torch.arange(5) < lengths[:, None])
    states, summary = encoder.states(tokens, lengths), encoder(tokens, lengths)
    for row, length in enumerate(lengths.tolist()):
        alone = torchs(encoder.embedding(tokens[row : row + 1, :length]))[0]
        torch.testing.assert_close(states[row, :length], alone[0], **F32)
        wanted = torch.cat([alone[0, -1, :3], alone[0, 0, 3:]])
        torch.testing.assert_close(summary[row], wanted, **F32)
    again = copy.deepcopy(encoder)
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(tokens, lengths), summary)
    summary.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in encoder.parameters())


def test_it_begins_as_torchs_bidirectional_network_does():
    torch.manual_seed(0)
    encoder = BidirectionalEncoder(9, embedding=4, hidden=3, layers=2)
    torch.manual_seed(0)
    WordVectors(9, 4)
    torchs = torch.nn.LSTM(4, 3, 2, bidirectional=True)
    for mine, other in zip(encoder.rnn.parameters(), torchs.parameters(), strict=True):
        assert torch.equal(mine, other)


def test_sources_that_are_vectors_have_no_likelihood_and_no_vocabulary(composed: Compose):
    for words in ("model=aevnmt", "model=cvae model.joint=true"):
        with pytest.raises(Refusal, match="no texts for sources"):
            checked(composed(*words.split(), "data=objects", "encoder=perceptron"))
    with pytest.raises(Refusal, match=r"a vocabulary of its own for the sources(.|\n)*data.vocabulary.joint=true"):
        checked(composed("model=nasm", "data=wikiqa", "+data.vocabulary.joint=false"))


def report(model: ConditionalModel, rows: list[list[int]]) -> tuple[dict[str, Any], Any]:
    """The findings about :data:`PAIRS` in batches of these rows."""
    whole = Batch(PAIRS.tokens, PAIRS.lengths, source=PAIRS.source, index=torch.arange(3))
    found = evaluate(
        model, [whole[torch.tensor(part)] for part in rows], EvaluationSettings(iw_samples=2, max_decode=5)
    )
    return dict(found.scores), found


@pytest.mark.parametrize("name", ["seq2seq", "cvae"])
def test_all_that_was_written_is_kept_in_the_order_of_the_test_set(made: Any, name: str):
    model = made(f"model={name}")
    scores, found = report(model, [[2, 0], [1]])
    lines = [json.loads(line) for line in found.files["written.jsonl"].splitlines()]
    assert [line["source"] for line in lines] == WORDS_OF_SOURCES
    assert [line["reference"] for line in lines] == WORDS_OF_TARGETS
    run = Run(model, {})
    for kind, how in (("greedy", {}), ("beam", {"method": "beam"})):
        assert [line[kind] for line in lines] == run.write(WORDS_OF_SOURCES, max_length=5, **how)
    assert ("draw 0" in lines[0]) == (name == "cvae")
    wanted = BLEU(tokenize="none", force=True).corpus_score([line["beam"] for line in lines], [WORDS_OF_TARGETS])
    assert scores["bleu"] == pytest.approx(wanted.score)
    assert found.verdict.startswith("BLEU") == (name == "seq2seq")
    assert ("the z of another source" in found.verdict) == (name == "cvae")


def test_attention_is_drawn(made: Any, tmp_path: Any):
    long = Batch.of(WORDS.encode(["a b c d e f a b", "f e d c b a f e"]), WORDS.encode(["a b", "b c d e"]))
    long.index = torch.arange(2)
    found = evaluate(made("model=seq2seq"), [long], EvaluationSettings(max_decode=4))
    found.pictures["attention"](tmp_path / "attention.png")
    assert (tmp_path / "attention.png").read_bytes().startswith(b"\x89PNG")
    (picture,) = found.pictures["attention"].args[0]
    assert picture.source == ["<bos>", "a", "b", "<eos>"]
    assert picture.text == [*"abcdefab", "<eos>"]
    assert picture.weights.shape == (9, 4)
    assert picture.weights.sum(1) == pytest.approx(1, abs=1e-5)


def test_a_run_without_sources_is_told_how_to_get_texts(made: Any):
    run = Run(made("model=cvae"), {})
    with pytest.raises(RunError, match=r"sample\(n, source=…\)"):
        run.sample(2)
    with pytest.raises(RunError, match=r"decode\(z, sources="):
        run.decode(torch.zeros(1, 3))
