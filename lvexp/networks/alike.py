"""Rows that are the same: what is computed from them is the same too, and need be computed once only."""

from __future__ import annotations

import torch

from lvexp.shapes import Float, Int, Tensor


def alike(rows: Float[Tensor, "N E"]) -> tuple[Int[Tensor, " M"], Int[Tensor, " N"]]:
    """The first of each kind of row, and the kind of each row, from 0 on: the same for rows that are the same. On a
    GPU, which would be waited for, and if a sum cannot tell all rows apart, every row is a kind of its own."""
    every = torch.arange(len(rows), device=rows.device)
    if rows.device.type != "cpu" or not len(rows):
        return every, every
    rows = rows.detach()
    weights = torch.arange(1, rows.shape[1] + 1, dtype=torch.float64).sqrt()  # sorting sums is faster than sorting rows
    kinds, of = (rows.double() * weights).sum(1).unique(return_inverse=True)
    first = every.new_full((len(kinds),), len(rows)).scatter_reduce(0, of, every, "amin")
    return (first, of) if torch.equal(rows[first][of], rows) else (every, every)


def told_apart(
    of: Int[Tensor, " N"], words: Int[Tensor, " N"], size: int
) -> tuple[Int[Tensor, " M"], Int[Tensor, " M"], Int[Tensor, " N"]]:
    """Rows of the kinds ``of``, after each was told a word below ``size``: for each of the new kinds, the old one and
    the word; and the new kind of each row."""
    if of.device.type != "cpu":
        return of, words, torch.arange(len(of), device=of.device)
    pairs, kinds = (of * size + words).unique(return_inverse=True)
    return pairs // size, pairs % size, kinds
