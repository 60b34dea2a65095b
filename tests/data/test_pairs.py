"""Texts with a source, in groups; words and punctuation apart."""

from __future__ import annotations

import pytest
import torch

from lvexp.data.module import TextData
from lvexp.data.settings import DataSettings
from lvexp.data.source import check, columns
from lvexp.errors import ConfigError, DataError

ROWS = [
    ("q1", "who is it", "it is me", 0), ("q1", "who is it", "nobody , of course", 1),
    ("q2", "what", "that thing", 0), ("q2", "what", "this", 0),
    ("q3", "where to go", "here", 1),
]  # fmt: skip
TSV = "id\tasked\ttext\tlabel\n" + "".join("\t".join(map(str, row)) + "\n" for row in ROWS)
COLUMNS = {"text": "text", "label": "label", "source": "asked", "group": "id"}


@pytest.fixture
def data(make):
    def build(content: str = TSV, suffix: str = ".tsv", **settings) -> TextData:
        return TextData(**make(content, suffix=suffix, **{"columns": COLUMNS, **settings}))

    return build


def read(data: TextData, split: str = "train") -> list[tuple[int, str, str, int]]:
    """Group, source, text and label of every row, by its number."""
    found = {}
    for batch in data.in_order(split):
        assert batch.source is not None
        for row in range(len(batch)):
            source, text = (data.vocabulary.decode(ids[row][1:]) for ids in (batch.source, batch.tokens))
            found[int(batch.index[row])] = (int(batch.group[row]), source, text, int(batch.labels[row]))
    return [found[row] for row in sorted(found)]


@pytest.mark.parametrize("suffix", [".tsv", ".jsonl"])
def test_every_row_comes_with_its_source_and_its_group(data, suffix: str):
    content = TSV
    if suffix == ".jsonl":
        content = "".join(
            f'{{"id": "{group}", "asked": "{asked}", "text": "{text}", "label": {label}}}\n'
            for group, asked, text, label in ROWS
        )
    found = read(data(content, suffix))
    assert found == [(int(group[1]) - 1, asked, text, label) for group, asked, text, label in ROWS]


def test_sources_are_padded_behind_their_end(data):
    batch = next(batch for batch in data().in_order("train") if len(batch) > 1)
    ends = (batch.source == 2).nonzero()
    assert len(ends) == len(batch)
    for row, column in ends.tolist():
        assert (batch.source[row, column + 1 :] == 0).all()
        assert batch.source[row, 0] == 1


def test_only_groups_with_a_right_answer(data):
    kept = data(answered="1")
    assert [group for group, *_ in read(kept)] == [0, 0, 1]
    assert any("2 rows of groups without a right answer left out" in note for note in kept.corpus.notes)


def test_the_words_of_sources_and_of_the_named_splits_are_known(make):
    other = TSV.replace("nobody", "somebody")
    plain = make(TSV, other, other, suffix=".tsv", columns=COLUMNS)
    assert "who" in plain_words(plain)
    assert "somebody" not in plain_words(plain)
    known = {**plain, "vocabulary": {**plain["vocabulary"], "splits": ["train", "valid"]}}
    assert "somebody" in plain_words(known)


def plain_words(cfg: dict) -> list[str]:
    vocabulary = TextData(**cfg).vocabulary
    return vocabulary.tokens(range(vocabulary.size))


def test_a_group_is_cut_as_one(data):
    rows = [(f"q{number // 4}", "why", f"word{number}", number % 2) for number in range(400)]
    content = "id\tasked\ttext\tlabel\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)
    cut = data(content, cut=True)
    texts = {split: {text for _, _, text, _ in read(cut, split)} for split in ("train", "valid", "test")}
    assert all(texts.values())
    home = {text: split for split, found in texts.items() for text in found if text != "<unk>"}
    for number in range(0, 400, 4):
        here = {home[word] for word in (f"word{number + k}" for k in range(4)) if word in home}
        assert len(here) <= 1


def test_long_sources_are_cut_too(data):
    found = read(data(max_length=2, long="truncate"))
    assert found[0][1:3] == ("who is", "it is")
    assert [row[2] for row in read(data(max_length=2, long="drop"))] == ["that thing", "this"]


def test_a_source_that_is_not_there(make):
    with pytest.raises(DataError, match="no column 'question'"):
        check(DataSettings.of(make(TSV, suffix=".tsv", columns={**COLUMNS, "source": "question"})))
    with pytest.raises(ConfigError, match=r"data\.answered=1"):
        check(DataSettings.of(make(TSV, suffix=".tsv", columns={**COLUMNS, "group": None}, answered="1")))
    with pytest.raises(ConfigError, match=r"columns\.source=1"):
        check(DataSettings.of(make("a b\n", columns={"text": 0, "source": 1})))
    assert "source" in columns(DataSettings.of({"name": "text", "columns": COLUMNS, "provides": ["tokens"]}))
    without = {"name": "text", "columns": {"text": 0}, "provides": ["tokens", "source"]}
    assert "source" not in columns(DataSettings.of(without))


def test_words_and_punctuation_apart(data):
    parted = data(lowercase=True, vocabulary={"kind": "wordpunct", "max_size": 100, "min_count": 1})
    vocabulary = parted.vocabulary
    for text in ("who is it", "It is... me, of course!", "<unk> what?", "here\u3000to go", "naïve <eos>"):
        (ids,) = vocabulary.encode([text])
        assert ids[1:-1] == vocabulary.tokenizer.encode(text, add_special_tokens=False).ids
    assert vocabulary.decode(vocabulary.encode(["Nobody,of course"])[0][1:]) == "nobody , of course"
    again = type(vocabulary).from_json(vocabulary.to_json())
    assert again.encode(["Who is it?"]) == vocabulary.encode(["Who is it?"])


def test_a_corpus_without_sources_has_none(make):
    batch = next(iter(TextData(**make("a b\nc d\n")).test_dataloader()))
    assert batch.source is None
    assert batch.group is None
    assert torch.equal(batch.index.sort().values, torch.arange(2))
