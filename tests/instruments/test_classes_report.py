"""The report on classes: who judges, what is counted, and what the figures are beside."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path

import pytest
import torch
from sacrebleu.metrics.bleu import BLEU

from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.estimators.auto import Auto
from lvexp.instruments.attributes import Attributes
from lvexp.instruments.base import Context, Look
from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.settings import EvaluationSettings
from lvexp.latents.categorical import Categorical
from lvexp.latents.gaussian import Gaussian
from lvexp.latents.mixed import Mixed
from lvexp.metrics.bleu import corpus_bleu, mean_bleu
from lvexp.metrics.judge import Judge
from lvexp.models.m2 import M2
from lvexp.networks.recurrent import RecurrentDecoder, RecurrentEncoder

WORDS = Vocabulary.train(["good bad food was the staff a"], kind="words", max_size=100, min_count=1, lowercase=False)
GOOD, BAD = WORDS.encode(["good"])[0][1], WORDS.encode(["bad"])[0][1]
SMALL = EvaluationSettings(iw_samples=2, samples=4, reconstructions=2, interpolations=0)
REAL = ["the food was good", "the food was bad", "good staff", "bad staff", "a good food", "a bad food"]


class Obedient(RecurrentDecoder):
    """Writes "the food was good" or "… bad", as c says; of three codes out of four if ``share`` is .75."""

    share = 1.0

    def step(self, tokens, state):
        code, _, _ = state
        _, again = super().step(tokens, state)
        the, food, was = WORDS.encode(["the food was"])[0][1:4]
        follows = {WORDS.special.bos: the, the: food, food: was, GOOD: WORDS.special.eos, BAD: WORDS.special.eos}
        table = torch.full((WORDS.size,), -1)
        table[[*follows]] = torch.tensor([*follows.values()])
        lies = (torch.arange(len(tokens)) % 4 == 0) & (self.share < 1)
        word = torch.where((code[:, 3] > 0) != lies, GOOD, BAD)  # the first entry of c's embedding
        word = torch.where(table[tokens] >= 0, table[tokens], word)
        log_p = -50.0 * (1 - torch.nn.functional.one_hot(word, WORDS.size).float())
        return log_p, again


def model(share: float = 1.0, **more: int) -> M2:
    """With a class, and others with so many values."""
    torch.manual_seed(0)
    encoder = RecurrentEncoder(WORDS.size, embedding=4, hidden=5)
    classes = {name: functools.partial(Categorical, categories=k, embedding=2) for name, k in {"c": 2, **more}.items()}
    latent = Mixed(5, z=functools.partial(Gaussian, dim=3), **classes)
    with torch.no_grad():
        latent.blocks["c"].embedding[0] = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])  # negative, positive
    decoder = Obedient(WORDS.size, latent.width, embedding=4, hidden=5)
    decoder.share = share
    made = M2(encoder=encoder, decoder=decoder, vocabulary=WORDS, latent=latent, estimator=Auto())
    made.attribute_names = {"sentiment": ["negative", "positive"]}
    return made


def corpus(texts: list[str], start: int = 0) -> list[Batch]:
    batch = Batch.of(WORDS.encode(texts))
    batch.labels = torch.tensor([int("good" in text) for text in texts])
    batch.index = torch.arange(start, start + len(texts))
    return [batch]


def judged(made: M2, judge: list[str] | None = None, **settings):
    others = {"valid": corpus(REAL)} | ({} if judge is None else {"judge": corpus(judge)})
    return evaluate(made, corpus(REAL[:4]), dataclasses.replace(SMALL, **settings), ("negative", "positive"), others)


@pytest.fixture(scope="module")
def usual():
    return judged(model())


def test_a_decoder_that_obeys_gets_all_of_its_samples_right_and_one_that_does_not_fewer(usual):
    found = usual.scores
    assert found["judge_accuracy"] == found["attribute_accuracy"] == found["transfer_accuracy"] == 1.0
    assert found["attribute_accuracy_of_positive"] == found["attribute_accuracy_of_negative"] == 1.0
    assert found["judge_texts"] == len(REAL)
    assert found["judge_held_out"] is False
    lying = judged(model(share=0.75)).scores
    assert lying["attribute_accuracy"] == pytest.approx(0.75, abs=0.01)


def test_the_copy_is_wrong_and_keeps_everything(usual):
    found = usual.scores
    assert found["copy_accuracy"] == 0.0
    assert found["copy_self_bleu_corpus"] == pytest.approx(100)
    assert found["copy_g"] == 0.0
    # two of the four texts are "the food was …", written with the other word: no four words in common
    written = ["the food was bad", "the food was good"] * 2
    texts = REAL[:4]
    assert found["transfer_self_bleu"] == mean_bleu(written, texts) == 0.0
    assert found["transfer_self_bleu_corpus"] == pytest.approx(corpus_bleu(written, texts))
    assert found["transfer_self_bleu_corpus"] > 0
    assert found["transfer_g"] == 0.0


def test_rewrites_by_people_are_a_row_of_their_own(tmp_path: Path):
    file = tmp_path / "human.txt"
    rewrites = ["the food was bad", "the food was good", "bad staff", "good staff"]
    file.write_text("\n".join(rewrites) + "\n")
    evaluation = judged(model(), references=str(file))
    found = evaluation.scores
    assert found["human_accuracy"] == 1.0
    assert found["human_self_bleu"] == mean_bleu(rewrites, REAL[:4])
    written = ["the food was bad", "the food was good", "the food was bad", "the food was good"]
    assert found["transfer_bleu"] == mean_bleu(written, rewrites)
    assert found["transfer_bleu"] == pytest.approx(50)
    assert found["transfer_bleu_corpus"] == pytest.approx(corpus_bleu(written, rewrites))
    assert found["copy_bleu"] == 0.0
    assert "human" in {name for title, rows in evaluation.groups for name, *_ in rows}
    file.write_text("".join(f"{text}\t{rewrite}\n" for text, rewrite in zip(REAL, rewrites, strict=False)))
    assert judged(model(), references=str(file)).scores["transfer_bleu"] == found["transfer_bleu"]
    file.write_text("one\n")
    with pytest.raises(Exception, match=r"has 1 lines, and the test set has 4 texts"):
        judged(model(), references=str(file))


def test_the_rewrite_of_a_text_is_found_by_its_number(tmp_path: Path):
    """Batches are not in the order of the file, and the class of a text may not be known."""
    made, file = model(), tmp_path / "human.txt"
    (texts,) = corpus(REAL[:4])
    texts.index = torch.tensor([3, 1, 0, 2])
    texts.labels = torch.tensor([1, 0, 1, -1])
    rewrites = ["bad staff indeed", "the food was good", "nothing", "the food was bad"]
    file.write_text("".join(f"{rewrite}\n" for rewrite in rewrites))
    settings = dataclasses.replace(SMALL, references=str(file))
    evaluation = evaluate(made, [texts], settings, ("negative", "positive"), {"valid": corpus(REAL)})
    found, of_texts = evaluation.scores, ["the food was bad", "the food was good", "bad staff indeed"]
    assert found["human_self_bleu_corpus"] == pytest.approx(corpus_bleu(of_texts, REAL[:3]))
    assert found["human_accuracy"] == 1.0
    assert found["judge_accuracy"] == 1.0  # of the three whose class is known
    assert found["transfer_bleu"] == pytest.approx(100 * 2 / 3)
    lines = [json.loads(line) for line in evaluation.files["written.jsonl"].splitlines()]
    assert [line["text"] for line in lines] == ["good staff", "the food was bad", "the food was good"]


def test_no_more_batches_are_transferred_than_the_limit_asks_for():
    batches = [*corpus(REAL[:4]), *corpus(REAL[4:], start=4)]
    for limit, count in ((3, 4), (5, 6)):
        instrument = Attributes(Context(made := model(), dataclasses.replace(SMALL, bleu_sentences=limit)))
        with torch.no_grad():
            for number, batch in enumerate(batches):
                instrument.update(Look(made.terms(batch), None, number))
        assert len(instrument.transferred) == count
        assert len(instrument.texts) == 6


def test_figures_of_several_attributes_are_their_own_and_their_mean():
    """Even where an attribute, or a class of another one, is called like a figure."""
    made = model(bleu=3)
    made.attribute_names = {"sentiment": ["bleu", "accuracy"], "bleu": ["past", "present", "future"]}
    (texts,), (known,) = corpus(REAL[:4]), corpus(REAL)
    texts.attributes = torch.tensor([[0], [2], [1], [-1]])
    known.attributes = torch.tensor([[0], [2], [1], [-1], [0], [1]])
    evaluation = evaluate(made, [texts], SMALL, ("bleu", "accuracy"), {"valid": [known]})
    found = evaluation.scores
    assert found["sentiment/attribute_accuracy"] == found["sentiment/attribute_accuracy_of_bleu"] == 1.0
    assert [found[f"{name}/judge_texts"] for name in ("sentiment", "bleu")] == [6, 5]
    assert found["judge_texts"] == 5.5
    # c of the second changes nothing in what this decoder writes
    other = [found[f"bleu/attribute_accuracy_of_{name}"] for name in ("past", "present", "future")]
    assert found["bleu/attribute_accuracy"] == pytest.approx(sum(other) / 3)
    assert found["attribute_accuracy"] == pytest.approx((1 + sum(other) / 3) / 2)
    both = [found[f"{name}/copy_accuracy"] for name in ("sentiment", "bleu")]
    assert found["copy_accuracy"] == pytest.approx(sum(both) / 2)
    titles = [title for title, _ in evaluation.groups if title.startswith("Attribute")]
    assert titles == ["Attribute sentiment", "Attribute bleu"]
    lines = [json.loads(line) for line in evaluation.files["written.jsonl"].splitlines()]
    assert [line.get("bleu") for line in lines] == [None] * 4 + ["present", "past", "future"]
    (section,) = (part for part in evaluation.sections if part.title == "Same z, each class")
    assert len(section.columns) == 6


def test_the_judge_is_fitted_on_the_texts_kept_for_it():
    """Given texts in which the words mean the opposite, it judges the opposite."""
    swapped = corpus(REAL)[0]
    swapped.labels = 1 - swapped.labels
    others = {"valid": corpus(REAL), "judge": [swapped]}
    found = evaluate(model(), corpus(REAL[:4]), SMALL, ("negative", "positive"), others).scores
    assert found["judge_held_out"] is True
    assert found["judge_accuracy"] == found["attribute_accuracy"] == 0.0
    assert found["copy_accuracy"] == 1.0


def test_without_labelled_test_texts_the_judge_is_cross_validated():
    (texts,) = corpus(REAL[:4])
    texts.labels = torch.full((4,), -1)
    evaluation = evaluate(model(), [texts], SMALL, ("negative", "positive"), {"valid": corpus(REAL)})
    found = evaluation.scores
    assert found["judge_accuracy"] is None
    judge = Judge(REAL, corpus(REAL)[0].labels.tolist())
    assert found["judge_cross_validated"] == judge.cross_validated()
    (rows,) = (rows for title, rows in evaluation.groups if title.startswith("Attribute"))
    assert rows[0][3].startswith("of its own texts, cross-validated")
    usual = evaluate(model(), corpus(REAL[:4]), SMALL, ("negative", "positive"), {"valid": corpus(REAL)})
    assert usual.scores["judge_cross_validated"] is None
    (rows,) = (rows for title, rows in usual.groups if title.startswith("Attribute"))
    assert rows[0][3].startswith("of the test texts")


def test_a_cross_validated_judge_has_not_seen_the_texts():
    apart = [f"word{n}" for n in range(20)]  # no text says anything about another
    judge = Judge(apart, [0] * 8 + [1] * 12)
    assert judge.accuracy(apart, [0] * 8 + [1] * 12) == 1.0
    assert judge.cross_validated() == pytest.approx(12 / 20, abs=0.05)  # the most frequent class
    assert Judge(["good day", "bad day"] * 6, [1, 0] * 6).cross_validated() == 1.0
    assert Judge(["good", "bad", "bad"], [1, 0, 0]).cross_validated() is None


def test_without_labelled_texts_there_is_no_judge_and_no_figure():
    unlabelled = corpus(REAL)[0]
    unlabelled.labels = torch.full((len(REAL),), -1)
    same = corpus(REAL)[0]
    same.labels = torch.zeros(len(REAL), dtype=torch.long)
    for known in (unlabelled, same):
        found = evaluate(model(), corpus(REAL[:4]), SMALL, (), {"valid": [known]})
        assert found.scores.get("attribute_accuracy") is None
        assert not any(title.startswith("Attribute") for title, _ in found.groups)


def test_the_texts_of_a_class_share_their_z_and_the_file_holds_every_transfer(usual):
    evaluation = usual
    section = next(part for part in evaluation.sections if part.title == "Same z, each class")
    assert section.columns == ["negative", "positive"]
    assert all(row == ("the food was bad", "the food was good") for row in section.rows)
    lines = [json.loads(line) for line in evaluation.files["written.jsonl"].splitlines()]
    assert [line["text"] for line in lines] == REAL[:4]
    assert [line["sentiment"] for line in lines] == ["negative", "positive"] * 2
    assert [line["written"] for line in lines] == ["the food was bad", "the food was good"] * 2


def test_fluency_is_the_perplexity_of_a_language_model(usual):
    import tiny

    known = tiny.model("none")
    found = evaluate(
        model(),
        corpus(REAL[:4]),
        SMALL,
        ("negative", "positive"),
        {"valid": corpus(REAL)},
        language_model=known.eval(),
    ).scores
    texts = ["the food was bad", "the food was good"] * 2
    batch = Batch.of(known.vocabulary.encode(texts))
    expected = math.exp(known.terms(batch).distortion.sum().item() / batch.predicted())
    assert found["transfer_perplexity"] == pytest.approx(expected, rel=1e-5)
    assert usual.scores["transfer_perplexity"] is None


def test_the_mean_of_sentence_bleu_is_unsmoothed():
    written, references = ["a b c d e", "a b c", "x y z w"], ["a b c d f", "a b c", "a b c d"]
    first = (4 / 5 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25 * 100
    assert mean_bleu(written, references) == pytest.approx(first / 3)
    smooth = BLEU(tokenize="none", force=True).corpus_score(written, [references]).score
    assert corpus_bleu(written, references) == pytest.approx(smooth)
    assert mean_bleu([], []) is None


def test_a_judge_knows_words_and_their_neighbours():
    texts = ["not good", "not bad at all", "good", "bad", "very good", "very bad"] * 3
    classes = [0, 1, 1, 0, 1, 0] * 3
    judge = Judge(texts, classes)
    assert judge.accuracy(texts, classes) == 1.0
    assert judge([]) == []
    assert judge.accuracy([], []) is None
