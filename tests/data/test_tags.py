"""Structured tags of texts, and more texts to train on that have neither tags nor classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from lvexp.data import tags
from lvexp.data.module import TextData
from lvexp.errors import ConfigError, DataError
from lvexp.job.identity import run_id
from tests.data.conftest import opened

TRAIN = [
    ("abadi", "pos=N,case=DAT", "abadiye"),
    ("abadiler", "pos=N,case=ABL,num=PL", "abadilerden"),
    ("git", "pos=V", "gitmek"),
]
COLUMNS = {"text": 2, "source": 0, "tags": 1, "label": None}
ALL = {"case": ["none", "ABL", "DAT"], "num": ["none", "PL"], "pos": ["none", "N", "V"]}


def table(rows: list[tuple[str, ...]]) -> str:
    return "".join("\t".join(row) + "\n" for row in rows)


@pytest.fixture
def settings(make, tmp_path: Path):
    def build(train=TRAIN, test=TRAIN[:1], words: str | None = None, **more: Any) -> dict[str, Any]:
        characters = {"kind": "characters", "max_size": 100, "min_count": 1}
        more["columns"] = COLUMNS | more.get("columns", {})
        cfg = make(table(train), table(test), table(test), suffix=".tsv", vocabulary=characters, **more)
        if words is not None:
            (tmp_path / "words.txt").write_text(words)
            cfg["files"]["unlabelled"] = "words.txt"
        return cfg

    return build


# --- what tags are ---------------------------------------------------------------------------------------------------


def test_tags_are_read_and_written():
    assert tags.parse("pos=N,case=DAT") == {"pos": "N", "case": "DAT"}
    assert tags.parse(" N; PL ;") == {"N": "N", "PL": "PL"}
    assert tags.parse("") == {}
    for text in ("pos=N,case=DAT", "N,PL", "pos=N,PL"):
        assert tags.write(tags.parse(text)) == text


@pytest.mark.parametrize("text", ["pos=", "=N", "pos=N,pos=V", "N;N"])
def test_malformed_tags_are_told(text: str):
    with pytest.raises(ValueError, match=r"is no tag|twice"):
        tags.parse(text)


def test_values_have_numbers_and_none_is_the_first():
    names = tags.names({"num": {"PL"}, "case": {"DAT", "ABL", "none"}})
    assert names == {"case": ["none", "ABL", "DAT"], "num": ["none", "PL"]}
    assert tags.numbers({"case": "DAT"}, names) == [2, 0]
    assert tags.numbers({"case": "LOC", "num": "PL"}, names) == [0, 1]
    assert tags.numbers(None, names) == [-1, -1]
    assert tags.strange({"case": "LOC", "num": "PL", "tense": "PST"}, names) == ["case=LOC", "tense=PST"]


# --- a corpus of them ------------------------------------------------------------------------------------------------


def test_each_key_is_an_attribute_and_a_text_without_it_has_none(settings):
    data = TextData(**settings())
    assert data.classes == ALL
    assert data.labels == []
    found = {}
    for batch in data.in_order("train"):
        assert batch.labels is None
        for ids, row in zip(batch.tokens.tolist(), batch.attributes.tolist(), strict=True):
            found[data.vocabulary.decode(ids)] = row
    assert found == {"abadiye": [2, 0, 1], "abadilerden": [1, 1, 1], "gitmek": [0, 0, 2]}


def test_tags_by_name_in_json_and_without_keys(make):
    rows = '{"form": "a b", "features": "N;PL"}\n{"form": "c", "features": "N"}\n'
    cfg = make(rows, suffix=".jsonl", columns={"text": "form", "tags": "features", "label": None})
    assert TextData(**cfg).classes == {"N": ["none", "N"], "PL": ["none", "PL"]}


def test_lines_without_tags_or_with_malformed_ones_are_counted_and_left_out(settings):
    corpus = opened(settings([*TRAIN, ("a", "", "b"), ("a", "pos=N,pos=V", "c")]))
    assert len(corpus.splits["train"]) == 3
    notes = "\n".join(corpus.notes)
    assert "1 lines without tags skipped (at line 4)" in notes
    assert "1 lines with malformed tags (KEY=VALUE,KEY=VALUE) skipped (at line 5)" in notes


def test_a_tag_that_no_training_text_has_is_counted_and_left_out(settings):
    data = TextData(**settings(test=[("git", "pos=V,tense=PST", "gitti"), ("abadi", "pos=N", "abadi")]))
    assert data.classes == ALL, "valid and test add no class"
    said = "test.tsv: 1 texts have the tag tense=PST, which no training text has: left out"
    assert said in data.corpus.notes, "the file's name, not where it lies: notes are kept and compared"
    found = [row for batch in data.in_order("test") for row in batch.attributes.tolist()]
    assert sorted(found) == [[0, 0, 1], [0, 0, 2]]


# --- unlabelled texts ------------------------------------------------------------------------------------------------


def words_of(data: TextData, split: str = "train") -> dict[str, tuple[str, list[int]]]:
    found = {}
    for batch in data.in_order(split):
        for ids, source, row in zip(
            batch.tokens.tolist(), batch.source.tolist(), batch.attributes.tolist(), strict=True
        ):
            found[data.vocabulary.decode(ids)] = data.vocabulary.decode(source), row
    return found


def test_unlabelled_words_are_texts_of_train_and_their_own_sources(settings):
    found = words_of(TextData(**settings(words="evler\nevde\n")))
    assert len(found) == 5
    assert found["evler"] == ("evler", [-1, -1, -1])
    assert found["abadiye"] == ("abadi", [2, 0, 1])


@pytest.mark.parametrize("transductive", [False, True])
def test_forms_of_the_test_set_are_left_out_unless_they_are_wanted(settings, transductive: bool):
    test = [("ev", "pos=N", "evler")]
    data = TextData(**settings(test=test, words="evler\nevde\n", transductive=transductive))
    assert ("evler" in words_of(data)) == transductive
    assert "evde" in words_of(data)
    said = "kept, without their classes" if transductive else "left out"
    assert any(f"1 texts that stand in valid or test too {said}" in note for note in data.corpus.notes)
    assert words_of(data, "test") == {"evler": ("ev", [0, 0, 1])}, "the test set is as it was"


def test_unlabelled_words_may_be_a_column_of_a_table(settings, tmp_path: Path):
    cfg = settings()
    (tmp_path / "more.tsv").write_text("x\ty\tevde\n")
    cfg["files"]["unlabelled"] = "more.tsv"
    assert words_of(TextData(**cfg))["evde"] == ("evde", [-1, -1, -1])


def test_their_characters_are_in_the_vocabulary_and_their_number_in_the_cache_entry(settings, cache: Path):
    assert "<unk>" not in TextData(**settings(words="jqx\n")).vocabulary.decode(
        TextData(**settings(words="jqx\n")).vocabulary.encode(["jqx"])[0]
    )
    before = len([path for path in cache.iterdir() if path.is_dir()])
    opened(settings(words="jqx\njq\n"))
    assert len([path for path in cache.iterdir() if path.is_dir()]) == before + 1


def test_a_corpus_without_sources_has_more_texts(make, tmp_path: Path):
    (tmp_path / "more.txt").write_text("c d\ne f\n")
    cfg = make("good\ta b\nbad\tb a\n", suffix=".tsv", columns={"text": 1, "label": 0})
    cfg["files"]["unlabelled"] = "more.txt"
    data = TextData(**cfg)
    labels = np.concatenate([batch.labels.numpy() for batch in data.in_order("train")])
    assert sorted(labels.tolist()) == [-1, -1, 0, 1]
    assert len(data.corpus.splits["test"]) == 2


# --- which tags are shown --------------------------------------------------------------------------------------------


def many(settings, **more: Any) -> TextData:
    rows = [(f"s{n}", f"pos={'NV'[n % 2]}", f"t{n:02}") for n in range(40)]
    return TextData(**settings(rows, rows[:3], words="u01\nu02\n", **more))


def test_a_share_of_the_tags_is_shown(settings):
    data = many(settings, labelled=0.25)
    rows = np.concatenate([batch.attributes.numpy() for batch in data.train_dataloader()])
    assert (rows >= 0).all(1).sum() == 10
    assert len(rows) == 42


def test_a_balance_of_one_leaves_only_the_texts_whose_tags_are_shown(settings):
    rows = np.concatenate([b.attributes.numpy() for b in many(settings, labelled=0.25, balance=1.0).train_dataloader()])
    assert len(rows) == 10
    assert (rows >= 0).all()


def test_a_balance_below_one_repeats_them(settings):
    rows = np.concatenate([b.attributes.numpy() for b in many(settings, labelled=0.25, balance=0.5).train_dataloader()])
    assert (rows >= 0).all(1).mean() == pytest.approx(0.5)
    assert len(rows) == 64


# --- mistakes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"columns": {"label": 0}}, "data.columns.label=0 data.columns.tags=1: tags are all the classes"),
        ({"columns": {"attributes": [0]}}, "tags are all the classes"),
        ({"columns": {"tags": 2}}, "data.columns.text=2 data.columns.tags=2: are the same column"),
        ({"columns": {"tags": 0}}, "data.columns.source=0 data.columns.tags=0: are the same column"),
        ({"transductive": True}, "data.transductive=true: there are no unlabelled texts"),
        ({"view": "counts"}, "bags of words have no tags"),
    ],
)
def test_what_makes_no_sense_is_refused(settings, change: dict[str, Any], said: str):
    with pytest.raises(ConfigError) as error:
        opened(settings(**change))
    assert said in str(error.value)
    assert "\ntry  " in str(error.value)


def test_a_missing_file_of_unlabelled_words_is_named(settings):
    cfg = settings()
    cfg["files"]["unlabelled"] = "nowhere.txt"
    with pytest.raises(DataError, match=r"data.files.unlabelled=nowhere.txt: there is no file"):
        opened(cfg)


def test_a_file_of_nothing_but_test_forms_is_refused(settings):
    with pytest.raises(DataError, match="too little of it is usable"):
        opened(settings(test=[("ev", "pos=N", "evler")], words="evler\n"))


def test_the_new_keys_change_no_run_that_has_none_of_them(composed):
    """The id of a run of before there were the keys."""
    before = run_id(composed("model=svae", "data=snips"), "svae")
    with_keys = ("+data.transductive=false", "+data.columns.tags=null")
    assert run_id(composed("model=svae", "data=snips", *with_keys), "svae") == before
    assert run_id(composed("model=svae", "data=snips", "+data.transductive=true"), "svae") != before
    assert run_id(composed("model=svae", "data=snips", "+data.columns.tags=0"), "svae") != before


def test_the_shipped_options_name_the_columns_of_the_task():
    node = yaml.safe_load((Path(__file__).parents[2] / "conf" / "data" / "sigmorphon.yaml").read_text())
    assert node["columns"] == COLUMNS
