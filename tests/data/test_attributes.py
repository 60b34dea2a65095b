"""Further columns with classes, each of which may be unknown, and the labelled texts of judge."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console

from lvexp import evaluation
from lvexp.__main__ import main
from lvexp.data import classes, source
from lvexp.data.batch import Batch
from lvexp.data.corpus import Corpus, open_corpus
from lvexp.data.known import Known
from lvexp.data.layout import Layout
from lvexp.data.module import TextData
from lvexp.data.problems import Problems
from lvexp.data.rows import Row, rows
from lvexp.data.settings import DataSettings
from lvexp.errors import ConfigError, DataError
from lvexp.instruments.evaluate import Evaluation
from lvexp.job.identity import group_id, run_id
from lvexp.models.sentence import SentenceModel
from tests.data.conftest import opened

CONF = Path(__file__).parents[2] / "conf"
#: text, label, tense, person; None is not known
ROWS = [
    ("it was good", "positive", "past", "3"),
    ("i like it", "positive", "present", None),
    ("i hated it", None, "past", "1"),
    ("so bad", "negative", None, None),
    ("not bad at all", None, None, None),
]
KEYS = ("text", "kind", "tense", "person")
TENSE = {"text": "text", "label": "kind", "attributes": ["tense"]}
BOTH = TENSE | {"attributes": ["person", "tense"]}


def written(found: Iterable[tuple[str | None, ...]], suffix: str, names: bool = True) -> str:
    """Rows as a file with these columns; what is not known is missing, or empty where there must be something."""
    if suffix == ".jsonl":
        return "".join(
            json.dumps({key: value for key, value in zip(KEYS, row, strict=True) if value is not None}) + "\n"
            for row in found
        )
    table = io.StringIO()
    writer = csv.writer(table, delimiter="," if suffix == ".csv" else "\t", lineterminator="\n")
    writer.writerows(
        [*([KEYS] if names else []), *(["" if value is None else value for value in row] for row in found)]
    )
    return table.getvalue()


def read(data: TextData, split: str = "train") -> dict[str, tuple[int, list[int]]]:
    """Text → label and attributes, from the batches."""
    found = {}
    for batch in data.in_order(split):
        assert batch.attributes is not None
        assert batch.labels is not None
        for ids, label, attributes in zip(batch.tokens, batch.labels.tolist(), batch.attributes.tolist(), strict=True):
            found[data.vocabulary.decode(ids)] = (label, attributes)
    return found


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl"])
def test_every_text_comes_with_its_attributes(make, suffix: str):
    data = TextData(**make(written(ROWS, suffix), suffix=suffix, columns=BOTH))
    assert data.labels == ["negative", "positive"]
    assert data.corpus.attributes == {"person": ["1", "3"], "tense": ["past", "present"]}
    assert list(data.corpus.attributes) == ["person", "tense"], "in the order that they were given"
    assert read(data) == {
        "it was good": (1, [1, 0]),
        "i like it": (1, [-1, 1]),
        "i hated it": (-1, [0, 0]),
        "so bad": (0, [-1, -1]),
        "not bad at all": (-1, [-1, -1]),
    }
    stored = data.corpus.splits["train"].attributes
    assert stored is not None
    assert stored.tolist() == [[1, 0], [-1, 1], [0, 0], [-1, -1], [-1, -1]]


def test_columns_by_number(make):
    columns = {"text": 0, "label": 1, "attributes": [3, 2]}
    data = TextData(**make(written(ROWS, ".tsv", names=False), suffix=".tsv", columns=columns))
    assert data.corpus.attributes == {"3": ["1", "3"], "2": ["past", "present"]}
    assert read(data)["it was good"] == (1, [1, 0])


def test_values_of_json_that_are_no_text(tmp_path: Path):
    path = tmp_path / "a.jsonl"
    path.write_text(
        '{"text": "a", "n": 3, "b": true}\n{"text": "b", "n": null, "b": ""}\n{"text": "c", "n": "\\ud800"}\n'
    )
    settings = DataSettings.of({"name": "text", "columns": {"text": "text", "attributes": ["n", "b"]}})
    problems = Problems(path)
    found = list(rows(path, Layout.of(path, settings), problems))
    assert found == [Row(1, "a", None, attributes=("3", "True")), Row(2, "b", None, attributes=(None, None))]
    assert problems.notes() == ["a.jsonl: 1 lines of invalid UTF-8 skipped (at line 3)"]


def test_attributes_without_a_label(make):
    data = TextData(**make(written(ROWS, ".jsonl"), suffix=".jsonl", columns=TENSE | {"label": None}))
    assert data.labels == []
    batches = list(data.in_order("train"))
    assert all(batch.labels is None and batch.attributes is not None for batch in batches)


@pytest.mark.parametrize("none", [{}, {"attributes": None}, {"attributes": []}])
def test_a_corpus_without_attributes_is_what_it_was(make, none: dict[str, Any], cache: Path):
    columns = {"text": "text", "label": "kind"}
    before = make(written(ROWS, ".jsonl"), suffix=".jsonl", columns=columns)
    before["columns"].pop("attributes", None)
    opened(before)
    data = TextData(**before | {"columns": columns | none})
    assert data.corpus.attributes == {}
    assert next(iter(data.train_dataloader())).attributes is None
    assert data.corpus.splits["train"].attributes is None
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 1, "one entry of the cache"
    assert not list(cache.glob("*/*.attributes"))


def test_attributes_change_the_entry_of_the_cache(make, cache: Path):
    cfg = make(written(ROWS, ".jsonl"), suffix=".jsonl", columns=TENSE)
    assert list(opened(cfg).attributes) == ["tense"]
    assert list(opened(cfg | {"columns": BOTH}).attributes) == ["person", "tense"]
    assert list(opened(cfg).attributes) == ["tense"]
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 2


def test_run_ids_without_attributes_are_those_of_before(composed):
    typed = ["data=text", "data.files.train=none.tsv", "data.columns.text=1", "data.columns.source=0"]
    config = composed(*typed)
    assert run_id(config, "svae") == "svae-222938d070"
    assert group_id(config, "m") == "m-d51ccb8493"
    assert run_id(composed(*typed, "data.columns.attributes=[2]"), "svae") != "svae-222938d070"


def test_hidden_labels_leave_attributes_as_they_are(make):
    cfg = make(written(ROWS * 9, ".jsonl"), suffix=".jsonl", columns=TENSE)
    shown, hidden = TextData(**cfg), TextData(**cfg, labelled=0)
    for one, other in zip(shown.train_dataloader(), hidden.train_dataloader(), strict=True):
        assert other.labels is not None
        assert (other.labels == -1).all()
        assert torch.equal(one.attributes, other.attributes)


def test_repeated_texts_keep_their_attributes(make):
    data = TextData(**make(written(ROWS, ".jsonl"), suffix=".jsonl", columns=TENSE), balance=0.8)
    found = [
        (data.vocabulary.decode(ids), int(value[0]))
        for batch in data.train_dataloader()
        for ids, value in zip(batch.tokens, batch.attributes, strict=True)
    ]
    assert len(found) > len(ROWS)
    assert set(found) == {(row[0], {"past": 0, "present": 1, None: -1}[row[2]]) for row in ROWS}


def test_sources_and_groups_go_along(make):
    table = "g\tq\ttext\tkind\ttense\n" + "".join(
        f"{group}\t{question}\tit {word}\t{number % 2}\t{tense}\n"
        for number, (group, question, word, tense) in enumerate(
            [
                ("a", "who", "is", "present"),
                ("a", "who", "was", "past"),
                ("b", "what then", "is", ""),
                ("c", "so", "x", "past"),
            ]
        )
    )
    columns = TENSE | {"source": "q", "group": "g"}
    data = TextData(**make(table, suffix=".tsv", columns=columns, vocabulary={"joint": False}))
    found = {}
    for batch in data.in_order("train"):
        for row in range(len(batch)):
            assert batch.source is not None
            assert data.sources is not None
            source_text = data.sources.decode(batch.source[row])
            found[int(batch.index[row])] = (source_text, int(batch.group[row]), batch.attributes[row].tolist())
    assert found == {
        0: ("who", 0, [1]), 1: ("who", 0, [0]), 2: ("what then", 1, [-1]), 3: ("so", 2, [0])
    }  # fmt: skip


def test_a_batch_moves_and_is_cut_with_its_attributes():
    batch = Batch(torch.zeros(3, 2).long(), torch.full((3,), 2), attributes=torch.arange(6).reshape(3, 2))
    assert batch[1:].attributes.tolist() == [[2, 3], [4, 5]]
    assert batch.to("meta").attributes.is_meta


@pytest.mark.parametrize(
    ("columns", "suffix", "says"),
    [
        ({"text": "text", "attributes": ["tense"]}, ".txt", "attributes=.tense.: train.txt is read as plain text"),
        ({"text": "text", "attributes": ["tense", "tense"]}, ".jsonl", "names tense more than once"),
        (
            {"text": "text", "attributes": ["text"]},
            ".jsonl",
            r"text=text data.columns.attributes=\[text\]: name the same",
        ),
        ({"text": 1, "attributes": [0, 1]}, ".tsv", r"data.columns.text=1 data.columns.attributes=\[0,1\]"),
        ({"text": "text", "label": "kind", "attributes": ["kind"]}, ".csv", "label=kind.*name the same column"),
        (
            {"text": "text", "attributes": "tense"},
            ".csv",
            r"attributes=tense: must be a list.*\n.*attributes=\[tense\]",
        ),
    ],
)
def test_columns_that_cannot_be(make, columns, suffix: str, says: str):
    with pytest.raises(ConfigError, match=says):
        opened(make(written(ROWS, suffix), suffix=suffix, columns=columns))


def test_counts_have_no_attributes(make):
    cfg = make(written(ROWS, ".jsonl"), suffix=".jsonl", columns=TENSE)
    with pytest.raises(ConfigError, match=r"attributes=\[tense\] data.view=counts"):
        source.check(DataSettings.of(cfg | {"view": "counts"}))
    counted = cfg | {"view": "counts", "format": "feat", "columns": {"text": 0, "attributes": [1]}}
    with pytest.raises(ConfigError, match="counts, which have one class"):
        Layout.of(Path("a.feat"), DataSettings.of(counted))


def test_a_column_without_any_value(make):
    columns = TENSE | {"attributes": ["tense", "topic"]}
    with pytest.raises(DataError, match=r"data\.columns\.attributes=\[topic\]: no line of any file has a label there"):
        opened(make(written(ROWS, ".jsonl"), suffix=".jsonl", columns=columns))
    with pytest.raises(DataError, match="has no column 'topic'"):
        opened(make(written(ROWS, ".csv"), suffix=".csv", columns=columns))


def test_a_column_with_too_many_values(make, monkeypatch):
    monkeypatch.setattr(classes, "MOST_LABELS", 2)
    many = [("a", "x", tense, None) for tense in ("past", "present", "future")]
    with pytest.raises(DataError, match=r"(?s)attributes=\[tense\]: .*train.jsonl has over 2 different values"):
        opened(make(written(many, ".jsonl"), suffix=".jsonl", columns=TENSE))


# ---------------------------------------------------------------------------------------------------------------------
# judge

JUDGED = [
    ("it  was good", "positive", "past", None),  # stands in train, but for a blank
    ("an awful thing", "negative", "present", None),
    ("i loved it", "positive", "past", None),
]


@pytest.fixture
def judged(make, tmp_path: Path):
    """Writes files and returns the settings of a corpus with a judge."""

    def build(judge=JUDGED, suffix: str = ".jsonl", **settings) -> dict[str, Any]:
        cfg = make(written(ROWS, suffix), suffix=suffix, **{"columns": TENSE} | settings)
        (tmp_path / f"judge{suffix}").write_text(written(judge, suffix) if isinstance(judge, list) else judge)
        cfg["files"]["judge"] = f"judge{suffix}"
        return cfg

    return build


def texts(corpus: Corpus, split: str) -> list[str]:
    found = corpus.splits[split]
    return [corpus.vocabulary.decode(found.row(number)) for number in range(len(found))]


@pytest.mark.parametrize("suffix", [".tsv", ".csv", ".jsonl"])
def test_judge_is_a_split_without_the_texts_of_train(judged, suffix: str):
    data = TextData(**judged(suffix=suffix))
    corpus = data.corpus
    assert isinstance(corpus, Corpus)
    assert list(corpus.splits) == ["train", "valid", "test", "judge"]
    line = 1 if suffix == ".jsonl" else 2
    assert corpus.notes == [f"judge{suffix}: 1 texts that stand in train too left out (at line {line})"]
    # words of judge alone are no part of the vocabulary
    assert texts(corpus, "judge") == ["<unk> <unk> <unk>", "i <unk> it"]
    assert corpus.splits["judge"].labels is not None
    assert corpus.splits["judge"].labels.tolist() == [0, 1]
    assert corpus.splits["judge"].attributes is not None
    assert corpus.splits["judge"].attributes.tolist() == [[1], [0]]
    assert sum(len(batch) for batch in data.in_order("judge")) == 2
    assert sum(len(batch) for batch in data.train_dataloader()) == len(ROWS)


def test_nothing_else_changes_with_judge(judged):
    with_judge = judged()
    without = with_judge | {"files": {**with_judge["files"], "judge": None}}
    bare = with_judge | {"files": {key: name for key, name in with_judge["files"].items() if key != "judge"}}
    one, other = opened(with_judge), opened(without)
    assert opened(bare).fingerprint == other.fingerprint != one.fingerprint
    assert list(other.splits) == ["train", "valid", "test"]
    assert one.vocabulary.to_json() == other.vocabulary.to_json()
    assert (one.labels, one.attributes) == (other.labels, other.attributes)
    for split in other.splits:
        assert texts(one, split) == texts(other, split)


def test_where_only_the_test_set_is_read_the_other_files_need_not_be_there(judged, tmp_path: Path):
    settings = judged()
    whole = opened(settings)
    (tmp_path / "other.jsonl").write_text(written(ROWS, ".jsonl"))
    settings["files"] |= {"train": "gone.jsonl", "test": "other.jsonl"}
    for name in ("judge.jsonl", "train.jsonl"):
        (tmp_path / name).unlink()
    known = Known("evaluate=RUN", whole.vocabulary, None, whole.labels, whole.attributes, ("test",))
    found = open_corpus(DataSettings.of(settings), known)
    assert list(found.splits) == ["test"]
    assert texts(found, "test") == texts(whole, "test")
    assert (found.labels, found.attributes) == (whole.labels, whole.attributes)


def test_a_missing_judge_is_told_before_a_run_begins(judged, run_main, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    settings = judged()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lvexp.run.run", lambda *_, **__: pytest.fail("it began"))
    named = [f"data.files.{split}={file}" for split, file in settings["files"].items() if split != "judge"]
    said = run_main(main, "data=text", *named, "data.columns.label=kind", "data.files.judge=none.jsonl")
    assert said.code == 2
    assert "data.files.judge=none.jsonl: there is no file" in said.err


def test_the_content_of_judge_counts(judged):
    before = opened(judged()).fingerprint
    assert opened(judged([*JUDGED[:2], ("i love it", "positive", "past", None)])).fingerprint != before


def test_lower_casing_makes_texts_equal(judged):
    shouted = [("So BAD", "negative", "past", None), *JUDGED[1:]]
    assert len(opened(judged(shouted)).splits["judge"]) == 3
    assert len(opened(judged(shouted, lowercase=True)).splits["judge"]) == 2


def test_only_texts_that_end_in_train_count_where_splits_are_cut(judged, make):
    cfg = judged(cut=True)
    lines = [(f"text number {number}", "positive" if number % 2 else "negative", "past", None) for number in range(90)]
    (Path(cfg["root"]) / "train.jsonl").write_text(written(lines, ".jsonl"))
    (Path(cfg["root"]) / "judge.jsonl").write_text(written(lines, ".jsonl"))
    corpus = opened(cfg)
    assert sorted(texts(corpus, "judge")) == sorted(texts(corpus, "valid") + texts(corpus, "test"))
    assert not set(texts(corpus, "judge")) & set(texts(corpus, "train"))


def test_a_column_of_splits_does_not_move_texts_out_of_judge(judged):
    cfg = judged(columns=TENSE | {"split": "person"})
    root = Path(cfg["root"])
    for name in ("train", "judge"):
        lines = [(f"{name} {split} {kind}", kind, "past", split) for split in ("train", "valid") for kind in "ab"]
        (root / f"{name}.jsonl").write_text(written(lines, ".jsonl"))
    (root / "test.jsonl").write_text(written([("the test", "a", "past", "test")], ".jsonl"))
    cfg["files"] |= {"valid": None, "test": "test.jsonl"}
    assert {split: len(found) for split, found in opened(cfg).splits.items()} == {
        "train": 2, "valid": 2, "test": 1, "judge": 4,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("judge", "says"),
    [
        (
            [(text, None, "past", None) for text in ("a", "b")],
            "data.columns.label=kind: no line of it has a label there",
        ),
        (
            [("a", "positive", None, None), ("b", "negative", None, None)],
            r"attributes=\[tense\]: no line of it has a label",
        ),
        ([("a", "neutral", "past", None)], "'neutral' is the label of no text of train, valid or test"),
        ([("a", "positive", "past", None), ("b", "positive", "present", None)], "has the label 'positive', and a clas"),
        ([row for row in ROWS if row[1] and row[2]], "every text of it stands in train too"),
        ("", "too little of it is usable text"),
    ],
)
def test_a_judge_that_cannot_be(judged, judge, says: str):
    with pytest.raises(DataError, match=says):
        opened(judged(judge))


def test_a_judge_without_a_column_of_labels(judged):
    cfg = judged(columns={"text": "text", "label": None})
    with pytest.raises(DataError, match=r"data\.files\.judge=judge\.jsonl: .*data\.columns\.label=null"):
        source.check(DataSettings.of(cfg))
    with pytest.raises(ConfigError, match=r"data\.files\.judge=judge\.jsonl data\.view=counts"):
        source.check(DataSettings.of(cfg | {"view": "counts"}))


def test_a_judge_that_is_not_there(judged):
    cfg = judged()
    cfg["files"]["judge"] = "none.jsonl"
    with pytest.raises(DataError, match=r"data\.files\.judge=none\.jsonl: there is no file"):
        source.check(DataSettings.of(cfg))


def test_long_texts_of_judge(judged):
    long = [*JUDGED, ("a b c d e f g", "positive", "past", None)]
    corpus = opened(judged(long, max_length=5))
    assert len(corpus.splits["judge"]) == 2
    assert "judge.jsonl: 1 texts of more than 5 tokens skipped (at line 4)" in corpus.notes
    every = [("a b c d e f g", "positive", "past", None), ("a b c d e f h", "negative", "present", None)]
    with pytest.raises(DataError, match=r"judge\.jsonl: every text has more than data\.max_length=4"):
        opened(judged(every, max_length=4))


def test_stored_attributes_are_read_at_any_place(make):
    many = [(f"w{number % 7} " * (number % 4 + 1), "ab"[number % 2], "xyz"[number % 3], None) for number in range(300)]
    split = opened(make(written(many, ".jsonl"), suffix=".jsonl", columns=TENSE)).splits["train"]
    length, count = split.buckets[1]
    places = np.arange(split.buckets[0][1], split.buckets[0][1] + count)[::7]
    batch = split.batch(places, length)
    assert batch.attributes is not None
    assert batch.index is not None
    assert batch.attributes[:, 0].tolist() == [number % 3 for number in batch.index.tolist()]


def test_the_report_is_given_judge_if_there_is_one(judged, monkeypatch):
    given: dict[str, Any] = {}

    def measure(model, loader, settings, labels, others, more, fluent=None) -> Evaluation:
        given.update(others)
        return Evaluation({}, "")

    monkeypatch.setattr(evaluation, "evaluate", measure)
    config, model = yaml.safe_load((CONF / "config.yaml").read_text()), SentenceModel.__new__(SentenceModel)
    cfg = judged()
    evaluation.measured(config, model, TextData(**cfg), [], Console())
    assert {split: sum(map(len, batches)) for split, batches in given.items()} == {"train": 5, "valid": 5, "judge": 2}
    given.clear()
    cfg["files"].pop("judge")
    evaluation.measured(config, model, TextData(**cfg), [], Console())
    assert list(given) == ["train", "valid"]
