"""Rows that are the same are computed once."""

from __future__ import annotations

import torch

from lvexp.networks.alike import alike, told_apart


def test_each_kind_has_its_first_row():
    rows = torch.tensor([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [0.0, 0.0], [2.0, 1.0]], requires_grad=True)
    first, of = alike(rows)
    assert sorted(first.tolist()) == [0, 1, 3]
    assert torch.equal(rows[first][of], rows)


def test_rows_that_a_sum_does_not_tell_apart_are_kept_apart():
    rows = torch.tensor([[1e30, 1.0], [1e30, 2.0], [1e30, 1.0]])
    first, of = alike(rows)
    assert torch.equal(rows[first][of], rows)
    assert alike(rows[:0])[1].tolist() == []


def test_what_is_told_tells_kinds_apart():
    of, words = torch.tensor([0, 0, 1, 0]), torch.tensor([2, 1, 2, 2])
    kinds, said, new = told_apart(of, words, 3)
    assert kinds[new].tolist() == of.tolist()
    assert said[new].tolist() == words.tolist()
    assert len(kinds) == 3, "two have heard the same"
