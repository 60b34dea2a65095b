"""MAP and MRR by hand, and against trec_eval itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvexp.data.vocabulary import Vocabulary
from lvexp.metrics.overlap import Combination, Overlap
from lvexp.metrics.ranking import Ranking, average_precision, figures, interval, mixed, questions, reciprocal_rank


def asked(*answers: tuple[float, int]):
    score, relevant = zip(*answers, strict=True)
    return np.array(score, float), np.array(relevant, bool)


def test_by_hand():
    # in order of the score: right, wrong, right, wrong
    question = asked((0.1, 0), (0.9, 1), (0.3, 1), (0.5, 0))
    assert average_precision(*question) == pytest.approx((1 / 1 + 2 / 3) / 2)
    assert reciprocal_rank(*question) == 1
    last = asked((3, 0), (2, 0), (1, 1))
    assert average_precision(*last) == reciprocal_rank(*last) == pytest.approx(1 / 3)
    both = figures([question, last])
    assert both == {"map": pytest.approx((5 / 6 + 1 / 3) / 2), "mrr": pytest.approx((1 + 1 / 3) / 2)}


def test_of_equal_scores_the_later_answer_comes_first():
    assert reciprocal_rank(*asked((0, 1), (0, 0), (0, 0))) == pytest.approx(1 / 3)
    assert reciprocal_rank(*asked((0, 0), (0, 0), (0, 1))) == 1


def test_questions_without_a_right_answer_do_not_count_and_those_without_a_wrong_one_are_not_mixed():
    found = questions([5, 7, 5, 9, 9], [0.1, 0.2, 0.3, 0.4, 0.5], [0, 0, 1, 1, 1])
    assert [score.tolist() for score, _ in found] == [[0.1, 0.3], [0.4, 0.5]]
    assert [score.tolist() for score, _ in mixed(found)] == [[0.1, 0.3]]
    assert questions([], [], []) == []


def random_answers(seed: int, decimals: int):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(40), rng.integers(1, 12, 40))
    return group, rng.normal(size=len(group)).round(decimals), (rng.random(len(group)) < 0.3).astype(int)


@pytest.mark.parametrize("decimals", [6, 0], ids=["no ties", "many ties"])
def test_against_trec_eval(decimals: int):
    pytrec_eval = pytest.importorskip("pytrec_eval")
    group, score, label = random_answers(3, decimals)
    truth: dict[str, dict[str, int]] = {}
    run: dict[str, dict[str, float]] = {}
    for place, (question, value, right) in enumerate(zip(group.tolist(), score.tolist(), label.tolist(), strict=True)):
        truth.setdefault(str(question), {})[f"{place:05d}"] = right
        run.setdefault(str(question), {})[f"{place:05d}"] = value
    judged = pytrec_eval.RelevanceEvaluator(truth, {"map", "recip_rank"}).evaluate(run)
    counted = [judged[name] for name, answers in truth.items() if any(answers.values())]
    found = questions(group, score, label)
    assert len(found) == len(counted) < len(truth), "some questions have no right answer"
    ours = figures(found)
    assert ours["map"] == pytest.approx(np.mean([one["map"] for one in counted]))
    assert ours["mrr"] == pytest.approx(np.mean([one["recip_rank"] for one in counted]))


def test_the_metric_does_not_hang_on_the_order_of_the_stream():
    group, score, label = (torch.tensor(column) for column in random_answers(4, 1))
    index, metric = torch.arange(len(group)), Ranking()
    for rows in torch.randperm(len(group), generator=torch.Generator().manual_seed(0)).split(17):
        metric.update(group[rows], index[rows], score[rows], label[rows])
    expected = figures(questions(group.tolist(), score.tolist(), label.tolist()))
    assert metric.compute() == {**expected, "map_loss": 1 - expected["map"]}


def test_the_bootstrap_interval_is_near_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(5, 2, 400)
    low, high = interval(values.tolist())
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert interval(values.tolist()) == (low, high), "the same every time"


WORDS = Vocabulary.train(["the cat sat on a red mat ?"], kind="words", max_size=100, min_count=1, lowercase=True)


def test_overlap_counts_words_once_and_weighs_them_by_their_rarity():
    cat_mat, cat_only, nothing = WORDS.encode(["the cat mat", "a cat sat", "the ?"])
    overlap = Overlap(WORDS, [cat_mat, cat_only, nothing, nothing, nothing, nothing])
    question = WORDS.encode(["the red cat cat on the mat ?"])[0]
    count, weighed = overlap(question, cat_mat)
    assert count == 2  # cat and mat: "the" is a stop word, "?" no word
    assert weighed == pytest.approx(np.log(6 / 3) + np.log(6 / 2))
    assert overlap(question, nothing) == (0, 0)


def test_the_combination_ranks_by_what_tells_right_from_wrong():
    rng = np.random.default_rng(0)
    label = np.arange(200) % 2
    features = np.c_[rng.normal(size=200), 2 * label + rng.normal(size=200)]
    odds = Combination(features, label)
    assert odds(np.array([[0.0, 3.0]]))[0] > 1 > -1 > odds(np.array([[0.0, -1.0]]))[0]
    noise, signal = (np.diff(odds(np.array([[-3.0, 1.0], [3.0, 1.0]])[:, order]))[0] for order in ([0, 1], [1, 0]))
    assert abs(noise) < signal / 3, "noise weighs little"
