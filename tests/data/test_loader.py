from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvexp.data.loader import BatchLoader
from lvexp.data.permute import key, permute
from lvexp.errors import RunError
from tests.data.conftest import opened, sentences


@pytest.fixture
def split(make):
    return opened(make(sentences(400))).splits["train"]


def seen(loader: BatchLoader) -> list[list[int]]:
    """The rows of each batch of one pass."""
    return [batch.index.tolist() for batch in loader if batch.index is not None]


def test_every_text_once_and_equal_lengths(split):
    for shuffle in (False, True):
        batches = list(BatchLoader(split, 8, shuffle=shuffle))
        for batch in batches:
            assert batch.tokens.dtype == batch.lengths.dtype == torch.int64
            assert batch.lengths.tolist() == [batch.tokens.shape[1]] * len(batch)
            assert bool(batch.mask.all())
            assert batch.index is not None
            assert [split.row(row).tolist() for row in batch.index.tolist()] == batch.tokens.tolist()
        assert sorted(row for batch in batches for row in batch.index.tolist()) == list(range(400))
        assert max(map(len, batches)) == 8
        # At most one batch of each length is short.
        assert max(Counter(batch.tokens.shape[1] for batch in batches if len(batch) < 8).values()) == 1


def test_labels_come_along(make):
    lines = "".join(f"{number % 3}\t{'x ' * (number % 4 + 1)}\n" for number in range(20)) + "\tx\n"
    split = opened(make(lines, suffix=".tsv", columns={"text": 1, "label": 0})).splits["train"]
    for batch in BatchLoader(split, 4, shuffle=True):
        assert batch.labels is not None
        assert batch.labels.tolist() == [-1 if row == 20 else row % 3 for row in batch.index.tolist()]


def test_order_is_a_function_of_seed_and_epoch(split):
    loader = BatchLoader(split, 8, shuffle=True, seed=3)
    first, second = seen(loader), seen(loader)
    again = BatchLoader(split, 8, shuffle=True, seed=3)
    again.set_epoch(1)
    assert seen(again) == second
    again.set_epoch(0)
    assert seen(again) == first
    assert first != second
    assert first != seen(BatchLoader(split, 8, shuffle=True, seed=4))
    # Not only the order of the batches changes, but who shares one.
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}


def test_passes_that_do_not_change(split):
    for loader in (BatchLoader(split, 8), BatchLoader(split, 8, shuffle=True, fixed=True)):
        assert seen(loader) == seen(loader)


def test_the_first_batches_of_an_evaluation_are_not_the_shortest(split):
    lengths = [batch.tokens.shape[1] for batch in BatchLoader(split, 8)]
    assert len(set(lengths[:6])) > 2


def test_iterators_that_are_not_used_change_nothing(split):
    loader = BatchLoader(split, 8, shuffle=True)
    iter(loader)
    iter(loader)
    assert loader.state_dict()["epoch"] == 0
    assert seen(loader) == seen(BatchLoader(split, 8, shuffle=True))


def test_a_pass_left_early_is_followed_by_the_next_epoch(split):
    loader = BatchLoader(split, 8, shuffle=True)
    next(iter(loader))
    expected = BatchLoader(split, 8, shuffle=True)
    expected.set_epoch(1)
    assert seen(loader) == seen(expected)


@settings(max_examples=15)
@given(st.integers(0, 100), st.integers(0, 2))
def test_resume_anywhere(shared, taken, epoch):
    whole = BatchLoader(shared, 8, shuffle=True, seed=1)
    passes = [seen(whole) for _ in range(4)]
    loader = BatchLoader(shared, 8, shuffle=True, seed=1)
    loader.set_epoch(epoch)
    batches = iter(loader)
    taken = min(taken, len(loader))
    for _ in range(taken):
        next(batches)
    resumed = BatchLoader(shared, 8, shuffle=True, seed=1)
    resumed.load_state_dict(loader.state_dict())
    rest = passes[epoch][taken:]
    if rest:
        assert seen(resumed) == rest
    assert seen(resumed) == passes[epoch + 1]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A split for tests that run many examples."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "a.txt").write_text(sentences(300))
    cfg = {"name": "text", "root": str(folder), "files": {"train": "a.txt", "valid": "a.txt", "test": "a.txt"}}
    rest = {"columns": {}, "max_length": 50, "long": "drop", "batch_size": 1, "eval_batch_size": 1}
    vocabulary = {"kind": "words", "max_size": 1000, "min_count": 1}
    return opened(cfg | rest | {"vocabulary": vocabulary, "cache": str(folder)}).splits["train"]


def test_a_limited_epoch_is_complete_at_its_limit(split):
    loader = BatchLoader(split, 8, shuffle=True, limit=5)
    batches = iter(loader)
    for _ in range(5):
        next(batches)
    resumed = BatchLoader(split, 8, shuffle=True, limit=5)
    resumed.load_state_dict(loader.state_dict())
    assert (resumed.epoch, resumed.position) == (1, 0)
    assert BatchLoader(split, 8, limit=0.5).limit == len(loader) // 2


@pytest.mark.parametrize("other", [{"batch_size": 4}, {"seed": 1}, {"world": 2}])
def test_the_state_of_other_batches_is_refused(split, other):
    state = BatchLoader(split, 8, shuffle=True).state_dict()
    with pytest.raises(RunError, match="an epoch of other batches"):
        BatchLoader(split, **({"batch_size": 8} | other), shuffle=True).load_state_dict(state)


@settings(max_examples=20)
@given(st.integers(1, 7), st.booleans())
def test_ranks_share_an_epoch(shared, world, shuffle):
    ranks = [BatchLoader(shared, 8, shuffle=shuffle, rank=rank, world=world) for rank in range(world)]
    parts = [seen(loader) for loader in ranks]
    assert [len(part) for part in parts] == [len(loader) for loader in ranks]
    rows = Counter(row for part in parts for batch in part for row in batch)
    assert set(rows) == set(range(len(shared)))
    if shuffle:
        assert len({len(part) for part in parts}) == 1
        assert sum(map(len, parts)) - ranks[0].total < world
    else:
        assert set(rows.values()) == {1}
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_perplexity_counts_eos_and_not_bos(make):
    split = opened(make("a b c\nd e\nf\ng h i j\n")).splits["train"]
    assert sum(batch.predicted() for batch in BatchLoader(split, 2)) == 10 + 4
    assert sum(int(batch.mask.sum()) for batch in BatchLoader(split, 2)) == 14


@given(st.integers(1, 5000), st.integers(0, 2**64 - 1))
def test_permutation(size, secret):
    assert sorted(permute(np.arange(size), size, secret).tolist()) == list(range(size))


@pytest.mark.parametrize("size", range(1, 10))
def test_small_permutations_are_whole_and_differ(size: int):
    """In one call with others, and each order of a few elements."""
    found = permute(np.arange(size)[None], np.array([[size]]), np.arange(200)[:, None])
    assert (np.sort(found) == np.arange(size)).all()
    assert len({tuple(row) for row in found.tolist()}) >= min(math.factorial(size), 100)


def test_permutation_elementwise():
    sizes, keys = np.array([5, 1000, 1, 77]), np.array([1, 2, 3, 4], np.uint64)
    found = permute(np.array([4, 999, 0, 3]), sizes, keys)
    single = [
        permute(np.array(place), int(size), int(k)) for place, size, k in zip([4, 999, 0, 3], sizes, keys, strict=True)
    ]
    assert found.tolist() == [int(one) for one in single]


@pytest.mark.parametrize("size", [3, 5, 16, 37])
def test_permutation_is_even(size):
    """Each place goes everywhere about equally often: chi-square of 4000 keys within 5 standard deviations."""
    draws = 4000
    keys = np.array([key(7, draw) for draw in range(draws)], np.uint64)
    found = permute(np.arange(size)[None, :], size, keys[:, None])
    for place in range(size):
        counts = np.bincount(found[:, place], minlength=size)
        chi = float(((counts - draws / size) ** 2 / (draws / size)).sum())
        assert abs(chi - (size - 1)) < 5 * (2 * (size - 1)) ** 0.5


def test_keys_differ():
    assert len({key(a, b, c) for a in range(10) for b in range(10) for c in range(10)}) == 1000
