"""Texts and their sources in two parallel files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lvexp.data
from lvexp.data import source
from lvexp.data.module import TextData
from lvexp.data.settings import DataSettings
from lvexp.errors import ConfigError, DataError
from lvexp.job import identity

objects = Path(lvexp.data.__file__).parent / "objects"
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


# --- batches by the length of the source ---------------------------------------------------------------------------


def uneven(folder: Path, size: int = 400) -> dict[str, Any]:
    """Texts of two lengths, with sources of 1 to 20 words."""
    for split in ("train", "valid", "test"):
        (folder / f"{split}.de").write_text("".join("eins\n" if n % 3 else "zwei drei\n" for n in range(size)))
        (folder / f"{split}.en").write_text("".join("one " * (1 + 7 * n % 20) + "\n" for n in range(size)))
    return data(folder, batch_size=8, eval_batch_size=8)


def test_texts_of_a_batch_have_sources_of_similar_length(folder: Path):
    module = TextData(**uneven(folder))
    split = module.corpus.splits["train"]
    for loader, most in ((module.in_order("train"), 0.05), (module.train_dataloader(), 0.1)):
        batches = list(loader)
        assert sorted(row for batch in batches for row in batch.index.tolist()) == list(range(len(split)))
        assert all(batch.mask.all() for batch in batches)
        padding = sum(int((~batch.sourced).sum()) for batch in batches) / sum(batch.source.numel() for batch in batches)
        assert padding < most  # in batches without regard to the source it is 0.45
    epochs = [{frozenset(batch.index.tolist()) for batch in module.train_dataloader()} for _ in range(2)]
    loader = module.train_dataloader()
    loader.set_epoch(1)
    other = {frozenset(batch.index.tolist()) for batch in loader}
    assert epochs[0] == epochs[1] != other, "who shares a batch depends on the epoch"


# --- vocabularies of their own -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["words", "characters", "bpe"])
def test_sources_may_have_a_vocabulary_of_their_own(folder: Path, kind: str):
    words = {"kind": kind, "max_size": 400, "min_count": 1}
    joint, own = (TextData(**data(folder, vocabulary={**words, "joint": both})) for both in (True, False))
    assert joint.sources is None
    assert own.sources is not None
    if kind == "words":
        known = {word for text in WORDS for word in text.split()}
        assert set(own.vocabulary.tokens(range(4, own.vocabulary.size))) == known
        assert set(own.sources.tokens(range(4, own.sources.size))) == {*map(str, range(40)), "one"}
        assert joint.vocabulary.size == own.vocabulary.size + own.sources.size - 4
    texts, asked = ((folder / f"train.{side}").read_text().splitlines() for side in ("de", "en"))
    for batch in own.in_order("train"):
        for row, text, source_ids in zip(
            batch.index.tolist(), batch.tokens.tolist(), batch.source.tolist(), strict=True
        ):
            assert own.vocabulary.decode(text) == texts[row]
            assert own.sources.decode(source_ids) == asked[row]
    again = TextData(**data(folder, vocabulary={**words, "joint": False}))
    assert again.sources.to_json() == own.sources.to_json()


def test_a_vocabulary_of_their_own_needs_sources(folder: Path):
    words = {"kind": "words", "max_size": 100, "min_count": 1, "joint": False}
    with pytest.raises(ConfigError, match=r"data.vocabulary.joint=false: these texts have no sources"):
        source.check(DataSettings.of(data(folder, sources=None, vocabulary=words)))


# --- feature vectors -----------------------------------------------------------------------------------------------


def vectors(folder: Path, shape: tuple[int, ...] = (40, 3), **more: Any) -> dict[str, Any]:
    for split in ("train", "valid", "test"):
        np.save(folder / f"{split}.npy", np.arange(np.prod(shape), dtype=np.float64).reshape(shape))
    return data(folder, sources={split: f"{split}.npy" for split in ("train", "valid", "test")}, **more)


@pytest.mark.parametrize("shape", [(40, 3), (40, 2, 3)])
def test_each_line_has_the_same_row_of_an_array_for_a_source(folder: Path, shape: tuple[int, ...]):
    settings = vectors(folder, shape)
    lines = (folder / "train.de").read_text().splitlines()
    (folder / "train.de").write_text("\n".join([lines[0], "", *lines[2:]]) + "\n")  # its row is left out too
    module = TextData(**settings)
    wanted = np.load(folder / "train.npy").reshape(40, -1, 3)
    seen = 0
    for batch in module.in_order("train"):
        assert batch.sourced.all()
        for row, found in zip(batch.index.tolist(), batch.source, strict=True):
            assert np.array_equal(found, wanted[row if row == 0 else row + 1])
            seen += 1
    assert seen == 39
    assert module.sources.size == 3
    columns = source.columns(DataSettings.of(settings))
    assert "source" in columns
    assert not columns & {"source_texts", "joint"}


def test_lines_and_rows_are_counted_against_each_other(folder: Path):
    settings = vectors(folder)
    np.save(folder / "train.npy", np.zeros((41, 3)))
    with pytest.raises(DataError, match=r"train.de has 40 lines and .*train.npy has 41 rows"):
        _ = TextData(**settings).corpus


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (np.zeros(40), r"holds float64 of shape \(40,\)"),
        (np.array([["a"] * 3] * 40), r"holds <U1 of shape"),
        (np.full((40, 3), np.nan), "row 0 .* is not finite"),
        (np.zeros((40, 2)), r"has 1 vector of 3 values for each text and .*train.npy has 1 vector of 2"),
        (b"no array", "is not a NumPy array"),
        (b"", "is not a NumPy array"),
    ],
)
def test_an_array_that_cannot_be_used_is_named(folder: Path, made: Any, said: str):
    settings = vectors(folder)
    if isinstance(made, bytes):
        (folder / "train.npy").write_bytes(made)
    else:
        np.save(folder / "train.npy", made)
    with pytest.raises(DataError, match=said):
        _ = TextData(**settings).corpus


def test_an_archive_is_no_array(folder: Path):
    settings = vectors(folder)
    np.savez(folder / "two.npz", a=np.zeros((40, 3)))
    (folder / "two.npz").rename(folder / "train.npy")
    with pytest.raises(DataError, match="is not a NumPy array"):
        _ = TextData(**settings).corpus


def test_the_shipped_objects_are_in_one_split_each_and_have_all_sentences():
    found = {split: np.load(objects / f"{split}.npy") for split in ("train", "valid", "test")}
    seen = [{tuple(row) for row in rows.tolist()} for rows in found.values()]
    assert [len(one) for one in seen] == [45, 6, 13]
    assert len(set().union(*seen)) == 64
    for split, rows in found.items():
        texts = (objects / f"{split}.txt").read_text().splitlines()
        assert len(texts) == len(set(texts)) == 24 * len({tuple(row) for row in rows.tolist()})
