"""Reinflection: the loss of a pair and of a word alone, against losses written out with all tags enumerated."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lvexp import load
from lvexp.__main__ import main
from lvexp.anneal.constant import Constant
from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.draws import Draw
from lvexp.errors import RunError
from lvexp.estimators.base import AbstractEstimator
from lvexp.estimators.enumerate import Enumerate
from lvexp.estimators.gumbel import Gumbel
from lvexp.estimators.score import Score
from lvexp.estimators.straight_through import StraightThrough
from lvexp.latents.gaussian import Gaussian
from lvexp.models.msved import MSVED
from lvexp.networks.aligned import AlignedDecoder
from lvexp.networks.bidirectional import BidirectionalEncoder
from lvexp.networks.writing import Decoding
from lvexp.training.module import Training

LETTERS = Vocabulary.train(["abcd"], kind="characters", max_size=100, min_count=1, lowercase=False)
TAGS = {"case": ["none", "nom", "dat"], "num": ["none", "pl"]}
EVERY = torch.tensor([*itertools.product(range(3), range(2))])  # all tags of a word
PAIRS = [("ab", "abc", [1, 0]), ("dcb", "dc", [0, 1]), ("a", "aab", [2, 1])]
BETA, ALPHA = 0.5, 0.7


class Mean(AbstractEstimator):
    """z at its mean, in training too, so that a loss can be written out."""

    def draw(self, q: Any, samples: int) -> Draw:
        return Draw.equal(q.mean.expand(samples, *q.mean.shape))


def made(inference: type[AbstractEstimator] = Enumerate, attends: str = "both", **options: Any) -> MSVED:
    torch.manual_seed(0)
    encoder = BidirectionalEncoder(LETTERS.size, "gru", embedding=5, hidden=3, dropout=0.0)
    latent = Gaussian(encoder.width, dim=2)
    code = MSVED.code_width(latent, encoder)
    decoder = AlignedDecoder(LETTERS.size, code, encoder.width, attends, 5, 4, dropout_in=0.0, dropout_out=0.0)
    settings: dict[str, Any] = {"attributes": TAGS, "estimator": Mean(), "alpha": ALPHA, **options}
    model = MSVED(encoder, decoder, inference, vocabulary=LETTERS, latent=latent, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model


def pairs(unknown: tuple[int, ...] = ()) -> Batch:
    """The pairs as a batch; the tags of some are not known."""
    sources, targets, tags = zip(*PAIRS, strict=True)
    batch = Batch.of(LETTERS.encode(targets), LETTERS.encode(sources))
    classes = torch.tensor(tags)
    classes[[*unknown]] = -1
    return dataclasses.replace(batch, attributes=classes, index=torch.arange(len(PAIRS)))


def loss(model: MSVED, batch: Batch, beta: float = BETA) -> torch.Tensor:
    """The training loss of one step."""
    training = Training(model, Constant(beta), functools.partial(torch.optim.Adam, lr=0.01))
    return training.training_step(batch, 0)


# --- written out -----------------------------------------------------------------------------------------------------


def posterior(model: MSVED, word: str) -> tuple[torch.Tensor, ...]:
    """States, summary, mean, KL(q(z|x)‖p(z)) and log q of all tags."""
    (ids,) = LETTERS.encode([word])
    tokens = torch.tensor([ids])
    states = model.encoder.states(tokens, torch.tensor([len(ids)]))
    summary = torch.cat([states[0, -1, :3], states[0, 0, 3:]])
    mean, log_var = model.latent.linear(summary).chunk(2)
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum()
    scores = model.tags.heads(summary).view(2, 3)
    case, num = scores[0].log_softmax(0), scores[1, :2].log_softmax(0)
    log_q = torch.stack([case[a] + num[b] for a, b in EVERY.tolist()])
    return states[0], mean, kl, log_q


def cost(model: MSVED, word: str, z: torch.Tensor, tags: list[int], source: torch.Tensor) -> torch.Tensor:
    """-log p(x|z, y), letter by letter, with torch's own GRU cell."""
    there = [model.tags.vectors[key, value] for key, value in enumerate(tags) if value]
    decoder, total = model.decoder, torch.tensor(0.0)
    summed = torch.tanh(sum(there, torch.zeros(6)))
    code = torch.cat([z, summed])
    state = torch.tanh(decoder.initial.weight @ code)
    (ids,) = LETTERS.encode([word])
    for read, wanted in itertools.pairwise(ids):
        contexts = []
        for name, memory in (("tags", there), ("source", [*source])):
            if name not in decoder.names:
                continue
            if not memory:
                contexts.append(torch.zeros(6))
                continue
            part = decoder.alignments[name]
            energy = torch.stack([
                part.score.weight[0] @ torch.tanh(part.query(state) + part.key.weight @ one) for one in memory
            ])  # fmt: skip
            contexts.append((energy.softmax(0)[:, None] * torch.stack(memory)).sum(0))
        given = torch.cat([decoder.embedding.weight[read], code, *contexts])
        state = decoder.cell(given[None], state[None])[0]
        out = torch.tanh(decoder.readout.weight @ torch.cat([*contexts, state]))
        total = total - (decoder.output.weight @ out).log_softmax(0)[wanted]
    return total


def of_a_pair(model: MSVED, source: str, target: str, tags: list[int], reconstruct: bool = True) -> torch.Tensor:
    """L of a pair, with the tags of the source enumerated."""
    states_s, z_s, kl_s, log_q = posterior(model, source)
    total = cost(model, target, z_s, tags, states_s) + BETA * kl_s
    if not reconstruct:
        return total
    states_t, z_t, kl_t, log_q_t = posterior(model, target)
    for row, guess in enumerate(EVERY.tolist()):
        back = cost(model, source, z_s, guess, states_s) + cost(model, source, z_t, guess, states_t)
        total = total + log_q[row].exp() * (back + log_q[row] + math.log(6))
    total = total + cost(model, target, z_t, tags, states_t) + BETA * kl_t
    return total - ALPHA * log_q_t[EVERY.tolist().index(tags)]


def of_a_word(model: MSVED, word: str) -> torch.Tensor:
    """L of a word whose tags are not known."""
    states, z, kl, log_q = posterior(model, word)
    total = BETA * kl
    for row, guess in enumerate(EVERY.tolist()):
        total = total + log_q[row].exp() * (cost(model, word, z, guess, states) + log_q[row] + math.log(6))
    return total


def gradients(model: MSVED) -> dict[str, torch.Tensor]:
    return {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}


@pytest.mark.parametrize("attends", ["tags", "both", "source", "none"])
@pytest.mark.parametrize("reconstruct", [True, False])
def test_the_loss_of_pairs_and_its_gradient_are_those_written_out(attends: str, reconstruct: bool):
    model = made(attends=attends, reconstruct=reconstruct)
    found = loss(model, pairs())
    found.backward()
    mine = gradients(model)
    model.zero_grad()
    expected = torch.stack([of_a_pair(model, *pair, reconstruct) for pair in PAIRS]).mean()
    expected.backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    theirs = gradients(model)
    assert mine.keys() >= theirs.keys()
    for name, gradient in mine.items():
        torch.testing.assert_close(gradient, theirs.get(name, torch.zeros_like(gradient)), rtol=1e-4, atol=1e-6)
    assert ("tags.heads.weight" in theirs) == reconstruct


def test_a_word_without_tags_is_its_own_source_and_has_its_own_weight():
    model = made(unlabelled=0.3)
    found = loss(model, pairs(unknown=(0, 2)))
    found.backward()
    mine = gradients(model)
    model.zero_grad()
    words = 0.3 * (of_a_word(model, PAIRS[0][1]) + of_a_word(model, PAIRS[2][1]))
    expected = (words + of_a_pair(model, *PAIRS[1])) / 3
    expected.backward()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(mine[name], gradient, rtol=1e-4, atol=1e-6)


def test_words_alone_train_too():
    model = made(unlabelled=1.0)
    found = loss(model, pairs(unknown=(0, 1, 2)))
    expected = torch.stack([of_a_word(model, target) for _, target, _ in PAIRS]).mean()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("baseline", [pytest.param("mean", marks=pytest.mark.slow), "leave_one_out"])
def test_score_functions_tend_to_the_enumerated_gradient(baseline: str):
    exact = made()
    loss(exact, pairs(unknown=(1,))).backward()
    expected = exact.tags.heads.weight.grad
    model = made(functools.partial(Score, baseline=baseline), tag_samples=4)
    torch.manual_seed(1)
    total, square, draws = 0.0, 0.0, 120
    for _ in range(draws):
        model.zero_grad()
        loss(model, pairs(unknown=(1,))).backward()
        total, square = total + model.tags.heads.weight.grad, square + model.tags.heads.weight.grad.square()
    mean = total / draws
    error = ((square / draws - mean.square()) / draws).sqrt()
    away = ((mean - expected) / error.clamp(min=1e-6))[model.tags.valid.flatten()]
    assert away.abs().max() < 4
    assert (error[model.tags.valid.flatten()] < 0.3 * expected.abs().max()).all(), "enough draws to tell"


@pytest.mark.parametrize("inference", [StraightThrough, functools.partial(Gumbel, hard=True), Gumbel])
def test_the_values_of_relaxed_draws_have_a_gradient(inference: Any):
    model = made(inference)
    found = loss(model, pairs(unknown=(1,)))
    found.backward()
    assert found.isfinite()
    gradient = model.tags.heads.weight.grad.view(2, 3, -1)
    assert gradient[model.tags.valid].abs().sum() > 0
    assert gradient[~model.tags.valid].abs().sum() == 0, "a value that a key does not have is never chosen"


def test_the_temperature_of_unknown_tags_falls_with_the_steps():
    model = made(functools.partial(Gumbel, temperature=0.1, rate=0.01))
    assert isinstance(model.inference, Gumbel)
    for step in (0, 100):
        model.turn(step, 0)
        assert model.inference.tau == pytest.approx(math.exp(-0.01 * step))


# --- none, padding and beams -----------------------------------------------------------------------------------------


def test_none_never_contributes():
    model, batch = made(), pairs()
    before = model.terms(batch).distortion
    with torch.no_grad():
        model.tags.vectors[:, 0] = 17.0
    torch.testing.assert_close(model.terms(batch).distortion, before, rtol=0, atol=0)
    loss(model, batch).backward()
    assert model.tags.vectors.grad[:, 0].abs().sum() == 0
    memory = model.tags.memory(model.tags.values(torch.tensor([[0, 0], [2, 0], [0, 1]])))
    assert not memory.states[0].any(), "a text without tags has a memory of zeros"
    assert memory.mask.tolist() == [[True], [True], [True]], "one key at most has a value"
    assert torch.equal(memory.states[2, 0], model.tags.vectors[1, 1]), "what counts comes first"
    memory = model.tags.memory(model.tags.values(torch.tensor([[1, 1], [2, 0]])))
    assert memory.mask.tolist() == [[True, True], [True, False]]


def test_padding_of_the_source_changes_nothing():
    model, batch = made(), pairs()
    wide = dataclasses.replace(batch, source=torch.nn.functional.pad(batch.source, (0, 5)))
    for one, other in zip(
        (model.terms(batch).distortion, model.terms(batch).rate),
        (model.terms(wide).distortion, model.terms(wide).rate),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    alone = torch.stack([model.terms(batch[torch.tensor([row])]).distortion[0] for row in range(len(batch))])
    torch.testing.assert_close(model.terms(batch).distortion, alone, rtol=1e-5, atol=1e-6)


def test_the_decoder_writes_with_the_probabilities_that_it_scores_with():
    model, batch = made().eval(), pairs()
    reading = model.read(batch)
    code = model._beside(model.code(reading)[None], reading.memories["tags"])
    scored = model.decoder(batch.inputs, batch.targets, batch.lengths, code, reading.memories)[0]
    state, total = model.decoder.start(code[0], reading.memories), torch.zeros(len(batch))
    for at in range(batch.tokens.shape[1] - 1):
        log_p, state = model.decoder.step(batch.tokens[:, at], state)
        there = batch.lengths > at + 1
        total += torch.where(there, log_p.gather(1, batch.targets[:, at : at + 1])[:, 0], 0.0)
    torch.testing.assert_close(scored, total, rtol=1e-5, atol=1e-5)


def test_a_wide_beam_finds_the_best_of_all_forms():
    model, batch = made().eval(), pairs()
    reading = model.read(batch)
    code = model.code(reading)
    found = model.write(code, Decoding("beam", beam=400, n_best=3, max_length=4), reading)
    letters = LETTERS.encode(["abcd"])[0][1:-1]
    unk = LETTERS.special.unk
    forms = [form for n in range(4) for form in itertools.product([*letters, unk], repeat=n)]
    for row in range(len(batch)):
        one = torch.tensor([row])
        ids = [[LETTERS.special.bos, *form, LETTERS.special.eos] for form in forms]
        every = Batch.of(ids)
        rows = one.expand(len(forms))
        scores = model.log_likelihood(
            dataclasses.replace(every, attributes=batch.attributes[rows]), reading[rows], code[rows][None]
        )[0]
        best = [list(forms[at]) for at in scores.topk(3).indices.tolist()]
        own = [text for text in found[3 * row : 3 * row + 3] if len(text) < 4]
        assert own == best[: len(own)]
        assert own, "some of the best are shorter than the limit"


def test_attention_weights_are_those_of_the_steps():
    model, batch = made().eval(), pairs()
    reading = model.read(batch)
    code = model._beside(model.code(reading)[None], reading.memories["tags"])
    weights = model.decoder.attended(batch.inputs, code, reading.memories)
    assert weights.shape == (1, 3, batch.inputs.shape[1], batch.source.shape[1])
    torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
    assert (weights[0][~batch.sourced[:, None].expand_as(weights[0])] == 0).all()
    assert made(attends="tags").decoder.attended(batch.inputs, code, reading.memories) is None


# --- a run -----------------------------------------------------------------------------------------------------------

ROWS = [(stem, tags, stem + end) for stem in ("ab", "ba", "cad", "da", "bcd", "ac", "bad") for tags, end in
        (("pos=N,case=DAT", "a"), ("pos=N,case=DAT,num=PL", "ca"), ("pos=V", "d"))]  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run on a toy language."""
    folder = tmp_path_factory.mktemp("msved")
    (folder / "pairs.tsv").write_text("".join("\t".join(row) + "\n" for row in ROWS))
    (folder / "words.txt").write_text("abca\nbaca\ndad\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LVEXP_CACHE", str(folder / "cache"))
        words = [
            "model=msved", "data=text", f"data.root={folder}", "data.files.train=pairs.tsv",
            "data.files.valid=pairs.tsv", "data.files.test=pairs.tsv", "data.files.unlabelled=words.txt",
            "data.transductive=true", "data.columns.source=0", "data.columns.text=2", "data.columns.tags=1",
            "data.vocabulary.kind=characters", "data.vocabulary.min_count=1", "encoder.hidden=16", "decoder.hidden=32",
            "decoder.attends=both", "latent.dim=4", "trainer.max_epochs=40", "trainer.patience=0", "optimizer.lr=0.02",
            "anneal.warmup=20", "anneal.start=0.0", "data.batch_size=8", "evaluation.iw_samples=2", "logger=csv",
            f"paths.outputs={folder}",
        ]  # fmt: skip
        patch.setattr("sys.argv", ["lvexp", *words])
        main()
    (found,) = folder.glob("default/msved-*")
    return found


def test_a_run_reports_what_its_file_of_forms_says(run: Path):
    result = json.loads((run / "result.json").read_text())
    figures, written = result["test"], [json.loads(line) for line in (run / "written.jsonl").read_text().splitlines()]
    assert [each["source"] for each in written] == [stem for stem, _, _ in ROWS]
    assert [each["reference"] for each in written] == [form for _, _, form in ROWS]
    right = [each["beam"][0] == each["reference"] for each in written]
    assert figures["accuracy"] == pytest.approx(sum(right) / len(right))
    assert figures["accuracy"] > 0.8, "suffixes are learnt"
    ranks = [each["beam"].index(each["reference"]) + 1 if each["reference"] in each["beam"] else 0 for each in written]
    assert figures["mrr"] == pytest.approx(sum(1 / rank for rank in ranks if rank) / len(ranks))
    assert figures["copy_accuracy"] == 0.0
    assert figures["copy_edit_distance"] == pytest.approx(sum(len(f) - len(s) for s, _, f in ROWS) / len(ROWS))
    assert figures["known_forms"] == 1.0
    assert figures["read_forms"] == pytest.approx(1 / len(ROWS)), "bad, a form of ba"
    assert figures["unlabelled_forms"] == pytest.approx(3 / len(ROWS))
    assert figures["tag_accuracy"] > figures["tag_majority"]
    assert figures["tag_accuracy_of_pos"] > 0.9
    assert "forms are right" in result["verdict"]
    assert result["monitor"] == "inflection_loss"


def test_a_finished_run_inflects_and_analyses(run: Path):
    found, written = load(run), [json.loads(line) for line in (run / "written.jsonl").read_text().splitlines()]
    words, tags = [each["source"] for each in written], [each["tags"] for each in written]
    forms = found.inflect(words, tags, method="beam", beam=8)
    assert forms == [each["beam"][0] for each in written]
    several = found.inflect(words[:2], tags[:2], method="beam", beam=8, n_best=8)
    assert several == [each["beam"] for each in written[:2]]
    assert found.inflect(words[:3], {"pos": "V"}) == found.inflect(words[:3], "pos=V")
    analysed = found.analyse(["abd", "cadca"])
    assert analysed[0]["pos"][0] == "V"
    assert analysed[1]["num"][0] == "PL"
    assert all(0 < share <= 1 for each in analysed for _, share in each.values())
    assert found.encode([("ab", "aba", "pos=N")][:0] or [{"source": "ab", "text": "", "tags": "pos=V"}]).shape == (1, 4)
    record = {"source": "ab", "text": "abd", "tags": "pos=V"}
    (score,) = found.score([record])
    (wrong,) = found.score([record | {"tags": "pos=N,case=DAT"}])
    assert score < wrong
    assert found.write([{"source": "ab", "tags": "pos=V"}]) == found.inflect(["ab"], "pos=V")


@pytest.mark.parametrize(
    ("tags", "said"),
    [("pos=X", "no training text had 'pos=X'\ntry  pos is one of N, V"), ("mood=IMP", "the keys are case, num, pos")],
)
def test_a_tag_that_is_not_known_is_told(run: Path, tags: str, said: str):
    with pytest.raises(RunError) as error:
        load(run).inflect(["ab"], tags)
    assert said in str(error.value)


def test_as_many_tags_as_words(run: Path):
    with pytest.raises(RunError, match="2 words and tags for 1"):
        load(run).inflect(["ab", "ba"], ["pos=V"])


def test_a_model_that_was_not_trained_to_infer_tags_says_so():
    for model in (made(reconstruct=False), made(alpha=0.0)):
        assert not model.infers
        with pytest.raises(RunError, match="not trained to infer tags"):
            model.analyse(["ab"])
    assert made().infers
