"""Measures of languages on languages whose values are known."""

from __future__ import annotations

import itertools
import math

import pytest

from lvexp.metrics import compositionality as of

MEANINGS = [*itertools.product(range(3), range(3))]


def test_messages_are_as_far_apart_as_the_edits_that_they_need():
    """One, two and one edit, and one, two and two, against the attributes that differ."""
    assert of.topographic_similarity([(), (1,), (1, 2)], [(0, 0), (0, 1), (1, 1)]) == pytest.approx(1)
    assert of.topographic_similarity([(1, 2, 3), (2, 3), (3, 2, 1)], [(0, 0), (1, 1), (0, 1)]) == pytest.approx(-1)


def test_information_and_entropy_in_nats():
    assert of.entropy([0, 1, 2, 3]) == pytest.approx(math.log(4))
    assert of.entropy([7, 7]) == 0
    assert of.information([0, 0, 1, 1], [1, 1, 0, 0]) == pytest.approx(math.log(2))
    assert of.information([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(0)


def test_a_language_with_a_symbol_for_each_attribute_has_one_of_everything():
    messages = [(a, 3 + b) for a, b in MEANINGS]
    assert of.topographic_similarity(messages, MEANINGS) == pytest.approx(1)
    assert of.disentanglement(of.positions(messages, 2), MEANINGS) == pytest.approx(1)
    assert of.disentanglement(of.counts(messages, 6), MEANINGS) == pytest.approx(1)


def test_in_either_order_it_is_disentangled_by_symbols_alone():
    messages = [(a, 3 + b) if (a + b) % 2 else (3 + b, a) for a, b in MEANINGS]
    assert of.disentanglement(of.counts(messages, 6), MEANINGS) == pytest.approx(1)
    by_position = of.disentanglement(of.positions(messages, 2), MEANINGS)
    assert by_position is not None
    assert by_position < 0.5


def test_a_code_of_whole_meanings_is_not_disentangled():
    messages = [(3 * a + b,) for a, b in MEANINGS]
    assert of.disentanglement(of.positions(messages, 1), MEANINGS) == pytest.approx(0)
    assert of.topographic_similarity(messages, MEANINGS) is None, "all messages are equally far apart"


def test_one_message_for_all_has_none_of_it():
    messages = [(1, 1)] * len(MEANINGS)
    assert of.topographic_similarity(messages, MEANINGS) is None
    assert of.disentanglement(of.positions(messages, 2), MEANINGS) is None


def test_positions_and_counts_of_messages_of_several_lengths():
    messages = [(1, 2), (), (1, 1, 1)]
    assert of.positions(messages, 3) == [[1, -1, 1], [2, -1, 1], [-1, -1, 1]]
    assert of.counts(messages, 3) == [[0, 0, 0], [1, 0, 3], [1, 0, 0]]
