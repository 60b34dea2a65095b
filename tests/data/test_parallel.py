"""Texts and their sources in two parallel files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lvexp.data import source
from lvexp.data.module import TextData
from lvexp.data.settings import DataSettings
from lvexp.errors import ConfigError, DataError
from lvexp.job import identity

WORDS = ["eins", "zwei", "drei", "vier", "fünf"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    targets = [" ".join(WORDS[at % 5] for at in range(n, n + n % 4 + 1)) for n in range(40)]
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.de").write_text("\n".join(targets) + "\n")
        (tmp_path / f"{split}.en").write_text("\n".join(f"{n} one" for n in range(40)) + "\n")
    return tmp_path


def data(folder: Path, **more: Any) -> dict[str, Any]:
    splits = ("train", "valid", "test")
    return {
        "name": "text", "root": str(folder), "format": "txt", "columns": {"text": 0},
        "split": {"valid": 0.1, "test": 0.1, "seed": 0},
        "files": {split: f"{split}.de" for split in splits}, "sources": {split: f"{split}.en" for split in splits},
        "vocabulary": {"kind": "words", "max_size": 100, "min_count": 1}, "max_length": 20, "long": "drop",
        "batch_size": 4, "eval_batch_size": 4, "cache": str(folder / "cache"), **more,
    }  # fmt: skip


def test_each_line_has_the_same_line_of_the_other_file_for_a_source(folder: Path):
    module = TextData(**data(folder))
    assert module.corpus.notes == []
    words = module.vocabulary
    seen = {}
    for batch in module.in_order("train"):
        for row, text, asked in zip(batch.index.tolist(), batch.tokens.tolist(), batch.source.tolist(), strict=True):
            seen[row] = words.decode(text[1:]), words.decode(asked[1:])
    texts, sources = ((folder / f"train.{side}").read_text().splitlines() for side in ("de", "en"))
    assert seen == dict(enumerate(zip(texts, sources, strict=True)))
    assert "source" in source.columns(DataSettings.of(data(folder)))


def test_a_line_without_its_source_is_counted_and_left_out(folder: Path):
    lines = (folder / "train.en").read_text().splitlines()
    (folder / "train.en").write_text("\n".join(["", *lines[1:]]) + "\n")
    module = TextData(**data(folder))
    assert len(module.corpus.splits["train"]) == 39
    assert any("without a source" in note for note in module.corpus.notes)


@pytest.mark.parametrize("longer", ["de", "en"])
def test_files_of_different_lengths_are_named_both(folder: Path, longer: str):
    with (folder / f"train.{longer}").open("a") as file:
        file.write("eins\nzwei\n")
    with pytest.raises(DataError, match=r"train.de has 4[02] lines and .*train.en has 4[02]"):
        _ = TextData(**data(folder)).corpus


def test_every_file_of_texts_has_one_of_sources(folder: Path):
    given = data(folder, sources={"train": "train.en"})
    with pytest.raises(ConfigError, match=r"data.files.valid without data.sources.valid"):
        source.check(DataSettings.of(given))
    with pytest.raises(DataError, match=r"data.sources.train=nowhere.en: there is no regular file"):
        source.check(DataSettings.of(data(folder, sources=dict.fromkeys(("train", "valid", "test"), "nowhere.en"))))


def test_the_sources_are_part_of_what_identifies_a_corpus(folder: Path):
    before = source.fingerprint(DataSettings.of(data(folder)).place)
    (folder / "test.en").write_text((folder / "test.en").read_text().replace("0 one", "0 two"))
    assert source.fingerprint(DataSettings.of(data(folder)).place) != before


def test_sources_beside_a_table_are_refused(folder: Path):
    (folder / "train.tsv").write_text("a\tb\n")
    given = data(folder, format="auto", files={"train": "train.tsv", "valid": "valid.de", "test": "test.de"})
    with pytest.raises((ConfigError, DataError), match=r"plain text|suffix|format"):
        source.check(DataSettings.of(given))


def test_a_run_is_the_same_wherever_its_sources_lie(folder: Path, composed):
    def config(names: str):
        files = [f"data.files.{split}={split}.de" for split in ("train", "valid", "test")]
        sources = [f"data.sources.{split}={names.format(split)}" for split in ("train", "valid", "test")]
        return composed("model=seq2seq", "data=text", f"data.root={folder}", "data.format=txt", *files, *sources)

    before = identity.run_id(config("{}.en"), "seq2seq")
    for split in ("train", "valid", "test"):
        (folder / f"{split}.en").rename(folder / f"{split}.english")
    assert identity.run_id(config("{}.english"), "seq2seq") == before
    with (folder / "train.english").open("a") as file:
        file.write("more\n")
    assert identity.run_id(config("{}.english"), "seq2seq") != before
