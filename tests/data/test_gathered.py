"""Texts in several files: lists, a file or a folder for each class."""

from __future__ import annotations

import gzip
import os
import random
from pathlib import Path

import pytest
from helpers import Compose

from lvexp.data import source
from lvexp.data.corpus import open_corpus
from lvexp.data.settings import DataSettings
from lvexp.errors import ConfigError, DataError
from lvexp.job.identity import run_id

WORDS = {"pos": ["good", "fine", "great"], "neg": ["bad", "poor", "awful"]}
CLASSES = {"columns": {"text": "text", "label": "label"}}


def texts(name: str, count: int = 40) -> list[str]:
    rng = random.Random(name)
    return [f"a {' '.join(rng.choices(WORDS[name], k=3))} film number {number}" for number in range(count)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in WORDS:
        (tmp_path / f"{name}.txt").write_text("\n".join(texts(name)) + "\n")
        (tmp_path / name).mkdir()
        for number, text in enumerate(texts(name)):
            (tmp_path / name / f"{number}.txt").write_text(f"{text}\nand more\n")
    return tmp_path


def settings(folder: Path, train: object, **given) -> DataSettings:
    return DataSettings.of(
        {
            "name": "text", "root": str(folder), "files": {"train": train}, "columns": {"text": 0},
            "split": {"valid": 0.2, "test": 0.2, "seed": 0}, "max_length": 20, "long": "drop", "batch_size": 4,
            "vocabulary": {"kind": "words", "max_size": 500, "min_count": 1}, "cache": str(folder / "cache"),
            "eval_batch_size": 4, **given,
        }
    )  # fmt: skip


def read(corpus, split: str) -> list[tuple[str, str]]:
    found = corpus.splits[split]
    texts_of = (corpus.vocabulary.decode(found.row(number)) for number in range(len(found)))
    return [(text, corpus.labels[label]) for text, label in zip(texts_of, found.labels, strict=True)]


@pytest.mark.parametrize(
    "train",
    [
        {"pos": "pos.txt", "neg": "neg.txt"},
        {"pos": "pos", "neg": "neg"},
        {"pos": ["pos.txt", "neg.txt"], "neg": "neg"},
    ],
)
def test_a_file_or_a_folder_for_each_class(train: dict, folder: Path):
    asked = settings(folder, train, **CLASSES)
    source.check(asked)
    corpus = open_corpus(asked)
    assert corpus.labels == ["neg", "pos"]
    rows = [row for split in corpus.splits for row in read(corpus, split)]
    assert len(rows) == sum(40 * (len(part) if isinstance(part, list) else 1) for part in train.values())
    for text, label in rows:
        assert text.endswith("and more") == (train[label] == label), "a file of a folder is one text"
        if not isinstance(train[label], list):
            assert set(text.split()) & {*WORDS[label]}


def test_a_list_of_files_is_read_as_one(folder: Path):
    (folder / "more.txt.gz").write_bytes(gzip.compress(b"one more film\nand another"))
    corpus = open_corpus(settings(folder, ["pos.txt", "neg.txt", "more.txt.gz"]))
    assert sum(map(len, corpus.splits.values())) == 82


def test_tables_of_a_list_have_one_first_line(folder: Path):
    for name in WORDS:
        rows = [f"{text},{name}" for text in texts(name)]
        (folder / f"{name}.csv").write_text("\n".join(["review,stars", *rows]))
    corpus = open_corpus(settings(folder, ["pos.csv", "neg.csv"], columns={"text": "review", "label": "stars"}))
    assert corpus.labels == ["neg", "pos"], "and not stars"
    assert sum(map(len, corpus.splits.values())) == 80


def test_a_changed_file_is_gathered_again_and_the_run_is_another(folder: Path, composed: Compose):
    typed = [
        "data=text", f"data.files.train=[{folder}/pos.txt,{folder}/neg.txt]", f"data.cache={folder}/cache"
    ]  # fmt: skip
    first = run_id(composed(*typed), "svae")
    assert run_id(composed(*typed, f"data.cache={folder}/elsewhere"), "svae") == first
    (folder / "neg.txt").write_text("another film\n" * 50)
    os.utime(folder / "neg.txt", (1, 1))
    assert run_id(composed(*typed), "svae") != first


def test_the_same_texts_in_one_file_are_the_same_run(folder: Path, composed: Compose):
    (folder / "both.txt").write_text((folder / "pos.txt").read_text() + (folder / "neg.txt").read_text())
    several = composed("data=text", f"data.files.train=[{folder}/pos.txt,{folder}/neg.txt]")
    assert run_id(several, "svae") == run_id(composed("data=text", f"data.files.train={folder}/both.txt"), "svae")


@pytest.mark.parametrize(
    ("train", "given", "said"),
    [
        ({"pos": "pos.txt", "neg": "neg.txt"}, {}, r"try  data=text data\.columns\.label=label"),
        ({"pos": "nowhere.txt"}, CLASSES, r"there is no file .*nowhere\.txt"),
        (["pos.txt", "nowhere.txt"], {}, r"there is no file .*nowhere\.txt"),
        (["pos.txt", "t.tsv"], {}, r"files of several kinds, \.tsv, \.txt"),
        ({"pos": "empty"}, CLASSES, "is empty"),
    ],
)
def test_what_cannot_be_gathered_is_named(train: object, given: dict, said: str, folder: Path):
    (folder / "t.tsv").write_text("a\tb\n")
    (folder / "empty").mkdir()
    with pytest.raises((ConfigError, DataError), match=said):
        source.check(settings(folder, train, **given))


def test_lines_that_cannot_be_decoded_are_counted(folder: Path):
    (folder / "pos.txt").write_bytes("schön\n".encode("latin-1") + (folder / "pos.txt").read_bytes())
    corpus = open_corpus(settings(folder, {"pos": "pos.txt", "neg": "neg.txt"}, **CLASSES))
    assert corpus.notes == ["train.jsonl: 1 lines of invalid UTF-8 skipped (at line 1)"]
    whole = open_corpus(settings(folder, {"pos": "pos.txt", "neg": "neg.txt"}, **CLASSES, encoding="latin-1"))
    assert not whole.notes


def test_rows_of_a_group_are_in_one_split_wherever_they_stand(tmp_path: Path):
    rows = [f"the text {number} of many,author {number % 25}" for number in range(200)]
    (tmp_path / "t.csv").write_text("\n".join(["text,author", *rows]))
    words = {"kind": "words", "max_size": 500, "min_count": 1, "splits": ["train", "valid", "test"]}
    columns = {"text": "text", "label": None, "group": "author"}
    corpus = open_corpus(settings(tmp_path, "t.csv", columns=columns, vocabulary=words))
    seen: dict[int, set[str]] = {}
    for split, found in corpus.splits.items():
        for number in range(len(found)):
            author = int(corpus.vocabulary.decode(found.row(number)).split()[2]) % 25
            seen.setdefault(author, set()).add(split)
    assert len(seen) == 25
    assert all(len(splits) == 1 for splits in seen.values())
    assert {split for splits in seen.values() for split in splits} == {"train", "valid", "test"}
