"""Answer selection: the bound against integration, what may and may not see the label, the whole run."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from helpers import Compose, checked, plain
from torch.distributions import kl_divergence

import lvexp
from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.vectors import read_vectors
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, DataError, Refusal, RunError
from lvexp.models.answers import AnswerModel
from lvexp.run import run

WORDS = Vocabulary.train(["a b c d e f"], kind="words", max_size=100, min_count=1, lowercase=False)
SMALL = ("encoder.embedding=6", "encoder.hidden=4", "decoder.hidden=5", "logger=csv", "data=wikiqa")
MODELS = ("nasm", "answer_attention", "answer_lstm")


@pytest.fixture
def model(composed: Compose):
    def make(name: str = "nasm", *overrides: str, seed: int = 0) -> AnswerModel:
        sizes = ["latent.dim=1"] if name == "nasm" else []
        torch.manual_seed(seed)
        made = build.model(plain(composed(f"model={name}", *SMALL, *sizes, *overrides)), WORDS).eval()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter *= 2.0  # so that h matters
        assert isinstance(made, AnswerModel)
        return made

    return make


def pairs(*answers: tuple[str, str, int]) -> Batch:
    questions, texts, labels = zip(*answers, strict=True)
    batch = Batch.of(WORDS.encode(texts), WORDS.encode(questions))
    count = torch.arange(len(labels))
    return dataclasses.replace(batch, labels=torch.tensor(labels), group=torch.zeros_like(count), index=count)


PAIRS = pairs(("a b", "c d e", 1), ("c", "f", 0), ("f e d c b a", "a b c d", 1))


def test_the_bound_holds_and_the_rate_is_its_gap_to_the_posterior(model):
    """With one dimension p(y|q,a) is a sum over a grid: the bound is below it by KL(q‖p(h|q,a,y)), to the digit."""
    made = model()
    grid = torch.linspace(-60, 60, 40_001, dtype=torch.float64)
    with torch.no_grad():
        read = made.read(PAIRS)
        params = made.params(read)
        q, p = made.latent.posterior(params), made.latent.prior(read.condition)
        points = grid.float()[:, None, None].expand(-1, len(PAIRS), 1)
        log_likelihood = made.log_likelihood(PAIRS, read, points).double()
        log_q, log_p = q.log_prob(points).double(), p.log_prob(points).double()
        step = grid[1] - grid[0]
        evidence = (log_likelihood + log_p).logsumexp(0) + step.log()
        bound = (log_q.exp() * log_likelihood).sum(0) * step - kl_divergence(q, p)
        gap = (log_q.exp() * (log_q - (log_likelihood + log_p - evidence))).sum(0) * step
        assert (bound < evidence).all()
        assert torch.allclose(evidence - bound, gap, atol=1e-4)
        torch.manual_seed(0)
        terms = made.terms(PAIRS, samples=20_000)
    assert torch.allclose(-(terms.distortion + terms.rate).double(), bound, atol=0.02)
    assert (terms.rate > 0.001).all()


def test_p_of_both_labels_sums_to_one(model):
    made, code = model(), torch.randn(5, len(PAIRS), 1)
    other = dataclasses.replace(PAIRS, labels=1 - PAIRS.labels)
    both = sum(made.log_likelihood(batch, made.read(batch), code).exp() for batch in (PAIRS, other))
    assert torch.allclose(both, torch.ones_like(both))


@pytest.mark.parametrize("name", MODELS)
def test_relevance_never_sees_the_label_and_the_posterior_does(model, name: str):
    made = model(name)
    blind = dataclasses.replace(PAIRS, labels=None)
    other = dataclasses.replace(PAIRS, labels=1 - PAIRS.labels)
    known, unlabelled = made.read(PAIRS), made.read(blind, labelled=False)
    assert torch.equal(made.relevance(known), made.relevance(unlabelled))
    assert not torch.allclose(made.terms(PAIRS).distortion, made.terms(other).distortion)
    if name == "nasm":
        assert not torch.allclose(made.params(known), made.params(made.read(other)))
        assert torch.equal(known.condition, unlabelled.condition)


def test_relevance_from_draws_is_the_mean_probability(model):
    made = model()
    torch.manual_seed(0)
    read = made.read(PAIRS)
    found = made.relevance(read, 20_000).sigmoid()
    prior = made.latent.prior(read.condition)
    grid = torch.linspace(-8, 8, 4001)[:, None]
    mean, deviation = prior.mean[:, 0], prior.variance[:, 0].sqrt()
    points = (mean + deviation * grid)[..., None]
    weight = torch.softmax(-grid.square() / 2, 0)
    right = dataclasses.replace(PAIRS, labels=torch.ones(3).long())
    expected = (weight * made.log_likelihood(right, made.read(right), points).exp()).sum(0)
    assert torch.allclose(found.float(), expected, atol=0.005)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("encoder", ["bilstm", "lstm", "gru"])
def test_padding_changes_nothing(model, name: str, encoder: str):
    made = model(name, f"encoder={encoder}", *SMALL[:2])
    read = made.read(PAIRS)
    together, attended = made.relevance(read), None
    if name != "answer_lstm":
        attended = made.attention(read)
        assert torch.allclose(attended.sum(1), torch.ones(3))
    for row in range(len(PAIRS)):
        length, asked = int(PAIRS.lengths[row]), int((PAIRS.source[row] != 0).sum())
        alone = Batch(PAIRS.tokens[row : row + 1, :length], PAIRS.lengths[row : row + 1])
        alone.source = PAIRS.source[row : row + 1, :asked]
        apart = made.read(alone, labelled=False)
        assert torch.allclose(made.relevance(apart)[0], together[row], atol=1e-5)
        if attended is not None:
            assert torch.allclose(made.attention(apart)[0], attended[row, :length], atol=1e-6)
            assert (attended[row, length:] == 0).all()


def test_h_drives_the_attention_and_nothing_else(model):
    made = model()
    memories = made.read(PAIRS).memories
    low, high = (made.decoder(memories, torch.full((1, 3, 1), value)) for value in (-3.0, 3.0))
    assert not torch.allclose(low, high)
    with torch.no_grad():
        made.decoder.driver.weight.zero_()
    low, high = (made.decoder(memories, torch.full((1, 3, 1), value)) for value in (-3.0, 3.0))
    assert torch.equal(low, high)


def test_a_step_reads_the_batch_once_and_has_the_same_gradient(model, monkeypatch: pytest.MonkeyPatch):
    made = model("nasm", "decoder.dropout=0", "encoder.dropout=0").train()
    reads = []
    read = type(made.encoder).states
    monkeypatch.setattr(type(made.encoder), "states", lambda self, *args: reads.append(1) or read(self, *args))
    training = tiny.training(made)
    torch.manual_seed(3)
    training.training_step(PAIRS, 0).backward()
    assert len(reads) == 2, "question and answer"
    once = [None if p.grad is None else p.grad.clone() for p in made.parameters()]
    made.zero_grad()
    terms = made.terms
    # the posterior from one reading, prior and likelihood from another
    monkeypatch.setattr(made, "terms", lambda batch, samples, params, inputs, _: terms(batch, samples, params, inputs))
    torch.manual_seed(3)
    training.training_step(PAIRS, 0).backward()
    assert len(reads) == 2 + 4
    for ours, parameter in zip(once, made.parameters(), strict=True):
        assert (ours is None) == (parameter.grad is None)
        assert ours is None or torch.allclose(ours, parameter.grad, atol=1e-5)


def test_the_prior_belongs_to_the_generative_model(model):
    made = model()
    inference = {id(parameter) for parameter in made.inference_parameters()}
    assert {id(p) for p in made.latent.linear.parameters()} <= inference
    others = (made.encoder, made.decoder, made.latent.conditional, made.asked)
    assert not inference & {id(p) for part in others for p in part.parameters()}


def test_labels_that_are_no_judgement_are_refused(model):
    for labels in (None, torch.tensor([0, 1, 2]), torch.tensor([0, -1, 1])):
        with pytest.raises(DataError, match="labelled"):
            model().terms(dataclasses.replace(PAIRS, labels=labels))
    with pytest.raises(DataError, match="questions"):
        model().read(dataclasses.replace(PAIRS, source=None), labelled=False)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("model=nasm", ["data=snips", "data=wikiqa"]),
        ("model=nasm latent=none data=wikiqa", ["latent=none", "latent=gaussian"]),
        ("model=nasm latent=point data=wikiqa", ["latent=point"]),
        ("model=nasm decoder=lstm data=wikiqa", ["decoder=lstm", "decoder=matcher"]),
        ("model=nasm encoder=none data=wikiqa", ["encoder=none"]),
        ("model=nasm decoder.attention=false data=wikiqa", ["decoder.attention=true"]),
        ("model=nasm regularizer=word_dropout data=wikiqa", ["word_dropout"]),
        ("model=nasm regularizer=delta data=wikiqa", ["regularizer=delta", "latent=gaussian"]),
        ("model=svae latent=conditional", ["latent=conditional", "model=svae"]),
        ("model=svae decoder=matcher", ["decoder=matcher"]),
        ("model=answer_lstm latent=gaussian data=wikiqa", ["latent=gaussian"]),
        ("model=answer_attention anneal=linear data=wikiqa", ["anneal=linear", "latent=none"]),
    ],
)
def test_what_does_not_go_together(typed: str, named: list[str], composed: Compose):
    with pytest.raises(Refusal) as caught:
        checked(composed(*typed.split()))
    for words in named:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "typed",
    [
        "model=nasm",
        "model=nasm latent=gaussian regularizer=delta",
        "model=nasm encoder=gru anneal=linear regularizer=free_bits",
        "model=answer_lstm encoder=lstm",
        "model=svae encoder=bilstm data=snips",
    ],
)
def test_what_goes_together(typed: str, composed: Compose):
    checked(composed("data=wikiqa", *typed.split()))


# --- word vectors ----------------------------------------------------------------------------------------------------

VECTORS = {"b": [1.0, 2.0], "D": [3.0, 4.0], "d": [5.0, 6.0], "F": [7.0, 8.0]}


def written(kind: str, folder: Path) -> Path:
    lines = "".join(f"{word} {' '.join(map(str, vector))}\n" for word, vector in VECTORS.items())
    file = folder / f"vectors.{'bin' if kind == 'binary' else 'txt'}"
    if kind == "binary":
        entries = [f"{word} ".encode() + np.array(vector, "<f4").tobytes() for word, vector in VECTORS.items()]
        file.write_bytes(b"4 2\n" + b"\n".join(entries))
    else:
        file.write_text(("4 2\n" if kind == "word2vec" else "") + lines)
    return file


@pytest.mark.parametrize("kind", ["glove", "word2vec", "binary"])
def test_vectors_of_every_format(kind: str, tmp_path: Path):
    found = read_vectors(written(kind, tmp_path), ["<pad>", "b", "c", "d", "f"], 2)
    expected = {1: [1, 2], 3: [5, 6], 4: [7, 8]}  # d as it is written, f but for case
    assert {place: vector.tolist() for place, vector in found.items()} == expected
    with pytest.raises(ConfigError, match=r"encoder\.embedding=2"):
        read_vectors(written(kind, tmp_path), ["b"], 3)
    with pytest.raises(DataError, match="none of the corpus's words"):
        read_vectors(written(kind, tmp_path), ["z"], 2)


def test_vectors_that_end_early(tmp_path: Path):
    file = tmp_path / "short.bin"
    file.write_bytes(b"2 2\nb " + np.zeros(2, "<f4").tobytes())
    with pytest.raises(DataError, match="cannot be read"):
        read_vectors(file, ["b"], 2)


@pytest.mark.parametrize("train", [True, False])
def test_a_model_starts_from_vectors(model, tmp_path: Path, train: bool):
    path = written("glove", tmp_path)
    made = model("nasm", "encoder.embedding=2", f"embeddings.path={path}", f"embeddings.train={train}")
    made.prepare()
    table = made.encoder.embedding.weight
    words = WORDS.tokens(range(WORDS.size))
    assert table[words.index("d")].tolist() == [5, 6]
    assert table[words.index("c")].tolist() not in VECTORS.values()
    assert table.requires_grad == train


# --- the whole run ---------------------------------------------------------------------------------------------------


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Questions whose right answers name the thing asked for, and say "indeed"."""
    rng = random.Random(0)
    things = ["cat", "dog", "bird", "cup", "box", "hat"]
    lines = ["QuestionID\tQuestion\tSentence\tLabel"]
    for number in range(60):
        asked = rng.choice(things)
        answers = rng.sample([thing for thing in things if thing != asked], 3) + ([asked] if number % 5 else [])
        rng.shuffle(answers)
        for a in answers:
            right = a == asked
            lines.append(
                f"Q{number}\twhere is the {asked}?\tThe {a} is {'indeed' if right else 'not'} here.\t{int(right)}"
            )
    file = tmp_path / "asked.tsv"
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture
def job(corpus: Path, composed: Compose, tmp_path: Path):
    def make(name: str, *overrides: str) -> tuple[dict, Path]:
        files = [f"data.files.{split}={corpus}" for split in ("train", "valid", "test")]
        config = plain(
            composed(
                f"model={name}", "data=wikiqa", "data.root=.", *files, "logger=csv", "encoder.embedding=16",
                "encoder.hidden=16", "decoder.dropout=0", "encoder.dropout=0", "data.batch_size=16",
                "optimizer.lr=0.02",
                "trainer.max_epochs=3", "evaluation.iw_samples=3", *overrides,
            )
        )  # fmt: skip
        folder = tmp_path / name
        folder.mkdir()
        return run(config, folder, run_id="r", group_id="g", choices={"regularizer": []}, overrides=[]), folder

    return make


def test_a_run_learns_to_rank_and_ranks_when_loaded(job):
    result, folder = job("nasm")
    test = result["test"]
    assert test["questions"] == test["questions_mixed"] == 48, "a fifth has no right answer"
    assert test["map"] > 0.9, "0.52 by chance"
    assert test["map_counts"] == test["mrr_counts"] == test["map_combined"] == 1, "the word in common tells"
    assert test["map_low"] <= test["map"] <= test["map_high"]
    assert result["valid"]["map"] == pytest.approx(test["map"]), "the same questions, and the best checkpoint"
    assert test["ppl"] is None
    assert "val/map" in (folder / "metrics.csv").read_text().splitlines()[0]
    assert "ppl" not in (folder / "metrics.csv").read_text().splitlines()[0]
    assert (folder / "figures" / "attention.png").stat().st_size > 1000
    assert not (folder / "figures" / "projection.png").exists(), "q(h|q,a,y) separates the labels it is given"
    assert "below word counts" in result["verdict"] or test["map"] == 1
    assert "where is the" in (folder / "samples.txt").read_text()
    assert json.loads((folder / "result.json").read_text())["groups"][0][0] == "Answers: MAP, MRR"

    loaded = lvexp.load(folder)
    answers = ["The cat is not here.", "The dog is indeed here.", "The hat is not here."]
    ranked = loaded.rank("Where is the dog?", answers)
    assert sorted(answer for answer, _ in ranked) == sorted(answers)
    assert ranked[0][0] == answers[1]
    assert [p for _, p in ranked] == sorted((p for _, p in ranked), reverse=True)
    assert all(0 < p < 1 for _, p in ranked)
    (alone,) = loaded.rank("Where is the dog?", answers[:1])
    assert alone[1] == pytest.approx(dict(ranked)[answers[0]], abs=1e-5)
    with pytest.raises(RunError, match="svae"):
        loaded.sample(2)
    for call in (loaded.encode, loaded.score):
        with pytest.raises(RunError, match=r'source is missing\ntry  \{"source": …, "text": …, "label": …\}'):
            call(["a"])
    records = [("Where is the dog?", answer, label) for answer, label in zip(answers, (0, 1, 0), strict=True)]
    assert loaded.encode(records).shape == (3, 32)
    assert all(nats > 0 for nats in loaded.score(records, samples=5))
