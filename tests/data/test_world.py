"""The world of objects: which are held out, and what stands beside each text."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import Compose, plain

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.world import World
from lvexp.errors import ConfigError


def world(composed: Compose, *overrides: str) -> World:
    config: dict[str, Any] = plain(composed("model=game", *overrides))
    found = build.data(config)
    assert isinstance(found, World)
    return found


def whole(data: World, split: str) -> Batch:
    (batch,) = data.in_order(split)
    return batch


def objects(data: World, split: str) -> set[tuple[int, ...]]:
    source = whole(data, split).source
    assert source is not None
    return {tuple(row.nonzero()[:, 0].tolist()) for row in source[:, 0]}


def test_the_objects_of_the_test_set_are_new_and_as_many_as_asked_for(composed: Compose):
    data = world(composed)
    train, test = objects(data, "train"), objects(data, "test")
    assert (len(train), len(test)) == (51, 13)
    assert not train & test
    assert objects(data, "valid") == train
    assert len(whole(data, "train")) == 51 * 6
    held = world(composed, "data.held_out.valid=10", "data.held_out.test=20")
    parts = [objects(held, split) for split in ("train", "valid", "test")]
    assert [len(part) for part in parts] == [34, 10, 20]
    assert len(set.union(*parts)) == 64


def test_the_seed_draws_which_objects_are_held_out(composed: Compose):
    drawn = [objects(world(composed, f"data.split.seed={seed}"), "test") for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


@pytest.mark.parametrize(("asked", "tasks"), [(1, 3), (2, 6), (3, 1)])
def test_a_text_is_what_its_task_asks_of_its_object(asked: int, tasks: int, composed: Compose):
    data = world(composed, f"data.asked={asked}")
    batch, names = whole(data, "train"), ["red", "green", "blue", "purple", "star", "square", "circle", "triangle"]
    assert batch.source is not None
    assert batch.source.shape == (51 * tasks, 2, 22)
    asked_for: dict[int, set[tuple[int, ...]]] = {}
    for tokens, (thing, task) in zip(batch.tokens.tolist(), batch.source, strict=True):
        words = data.vocabulary.decode(tokens).split()
        assert len(words) == asked
        seen = thing[:12].nonzero()[:, 0].tolist()
        assert len(seen) == 3
        assert all(names.index(word) in seen for word in words if word in names)
        kinds = tuple(names.index(word) // 4 if word in names else 2 for word in words)
        asked_for.setdefault(int(task.argmax()), set()).add(kinds)
    assert len(asked_for) == tasks
    assert all(len(kinds) == 1 for kinds in asked_for.values()), "a task asks for the same attributes of all objects"
    assert len(set.union(*asked_for.values())) == tasks


def test_what_leaves_no_object_is_told(composed: Compose):
    with pytest.raises(ConfigError, match="leaves none of the 64 objects"):
        world(composed, "data.held_out.test=64").prepare_data()


def test_all_training_games_are_one_batch(composed: Compose):
    data = world(composed)
    assert data.steps_per_epoch == 1
    (batch,) = data.train_dataloader()
    assert torch.equal(batch.index.sort().values, torch.arange(306))
