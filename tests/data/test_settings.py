"""The settings of a corpus, and the names of cache entries that depend on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvexp.data import corpus
from lvexp.data.module import TextData
from lvexp.data.settings import Columns, CountSettings, DataSettings, Place
from lvexp.data.source import check
from lvexp.errors import ConfigError
from tests.data.conftest import opened

CONF = Path(__file__).parents[2] / "conf" / "data"
ODD = {"text": 3, "group": "g", "label": None, "odd": [1]}
COUNTS = {"min_df": 3, "odd": 1, "stop_words": ["a"], "pattern": None}


def conf(name: str, **settings: Any) -> dict[str, Any]:
    group = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    return {key: value for key, value in group.items() if key not in ("_target_", "provides")} | {"seed": 1} | settings


def name_of_entry(data: dict[str, Any]) -> str:
    return corpus._key(TextData(**data).settings, "content")


@pytest.mark.parametrize(
    ("name", "settings", "key"),
    [
        ("snips", {}, "4c808238d8a30e0c165cb6a3"),
        ("ptb", {}, "e5d3181bc11f342a45b87da6"),
        ("20news", {"folder": "20news_nvdm"}, "0abeb732f04f84ee92ab43d1"),
        ("bbc", {}, "5e681826c09c051760cce0f8"),
        ("wikiqa", {}, "e171244fd47e266b760f1ad0"),
        ("snips", {"columns": ODD}, "292b0469456158d60ab25906"),
        ("snips", {"view": "counts", "counts": COUNTS}, "25f3810648a99b56e6730662"),
    ],
)
def test_entries_of_earlier_versions_are_found_again(name, settings, key, monkeypatch):
    monkeypatch.setenv("LVEXP_DATA", "/corpora")
    assert name_of_entry(conf(name, **settings)) == key, "entries that users have would be encoded anew"


def test_null_and_a_missing_key_are_different_entries():
    short, long = {"text": 1}, {"text": 1, "label": None}
    assert Columns.of(short) != Columns.of(long)
    assert name_of_entry(conf("snips", columns=short)) != name_of_entry(conf("snips", columns=long))


def test_what_does_not_change_the_corpus_does_not_change_its_entry():
    other = conf("snips", batch_size=3, eval_batch_size=3, labelled=0.5, balance=0.5, cache="/there", variant="a")
    assert name_of_entry(other) == name_of_entry(conf("snips"))


def test_keys_of_a_class_of_the_users_own_are_taken(make):
    data = make("a b\n") | {"mine": {"any": 1}, "place": "here", "_target_": "mine.Data"}
    data["columns"]["mine"] = data["split"]["mine"] = data["files"]["mine"] = 1
    check(DataSettings.of(data))
    assert opened(data).splits["train"].buckets == [(4, 1)]
    assert DataSettings.of(data).columns.unknown == {"mine": 1}


def test_a_vocabulary_with_a_key_that_it_does_not_know_is_not_made(make):
    data = make("a b\n", vocabulary={"mine": 1})
    check(DataSettings.of(data))
    with pytest.raises(TypeError, match="unexpected keyword argument 'mine'"):
        opened(data)
    del data["vocabulary"]["mine"]
    counted = TextData(**data | {"view": "counts", "counts": {"mine": 1, "pattern": r"\w"}})
    assert counted.vocabulary.words == ["a", "b"], "it makes no use of that group's keys but one"


def test_no_value_is_refused_before_the_check():
    data = DataSettings.of({"name": "text", "batch_size": "many", "vocabulary": {"max_size": None}})
    assert (data.batch_size, data.max_length, data.vocabulary.max_size) == ("many", None, None)
    assert (data.format, data.columns.text, data.split.valid) == ("auto", 0, None)


@pytest.mark.parametrize("key", ["files", "columns", "split", "vocabulary", "counts"])
def test_a_group_that_is_no_mapping(key: str):
    with pytest.raises(ConfigError, match=rf"data\.{key}=5: must be a mapping"):
        DataSettings.of({"name": "text", key: 5})


def test_the_place_depends_on_nothing_else():
    data = {"name": "text", "files": {"train": "a"}, "columns": 5, "split": 5, "counts": 5}
    assert Place.of(data) == Place(name="text", files={"train": "a"})
    counted = Place.of(data | {"view": "counts", "counts": {"words": "w"}})
    assert counted.words == "w"


def test_settings_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CountSettings().min_df = 3  # pyright: ignore[reportAttributeAccessIssue]
