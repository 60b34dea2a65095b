"""Data sets that Hugging Face's ``datasets`` reads, from folders made here."""

from __future__ import annotations

import gc
import random
from pathlib import Path

import pytest
from helpers import Compose

from lvexp.data import hub, source
from lvexp.data.corpus import open_corpus
from lvexp.data.settings import DataSettings
from lvexp.errors import ConfigError, DataError
from lvexp.job.identity import run_id

datasets = pytest.importorskip("datasets", reason="datasets is not installed: pip install 'lvexp[hf]'")
WORDS = {"World": ["war", "peace", "vote"], "Sports": ["goal", "match", "team"]}


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    datasets.disable_progress_bars()


def made(split: str, count: int = 40):
    rng = random.Random(split)
    labels, words = [rng.randrange(2) for _ in range(count)], list(WORDS.values())
    rows = {
        "body": [" ".join([*rng.choices(words[label], k=3), split, str(n)]) for n, label in enumerate(labels)],
        "topic": [-1 if split == "test" else label for label in labels],
        "tokens": [["the", "word", str(n)] for n in range(count)],
        "translation": [{"en": f"the {n}", "de": f"das {n}"} for n in range(count)],
        "score": [n / 7 for n in range(count)],
    }
    features = datasets.Features(
        {
            "body": datasets.Value("string"),
            "topic": datasets.ClassLabel(names=list(WORDS)),
            "tokens": datasets.List(datasets.Value("string")),
            "translation": {"en": datasets.Value("string"), "de": datasets.Value("string")},
            "score": datasets.Value("float64"),
        }
    )
    return datasets.Dataset.from_dict(rows, features=features)


@pytest.fixture
def saved(tmp_path: Path) -> str:
    folder = tmp_path / "saved"
    splits = {"train": made("train"), "validation": made("valid", 20), "test": made("test", 20)}
    datasets.DatasetDict(splits).save_to_disk(str(folder))
    return str(folder)


def settings(cache: Path, path: str, columns: dict | None = None, **hf) -> DataSettings:
    return DataSettings.of(
        {
            "name": "hf", "hf": {"path": path, **hf}, "files": {}, "cache": str(cache),
            "columns": columns or {"text": "body", "label": "topic"}, "max_length": 20, "long": "drop",
            "split": {"valid": 0.2, "test": 0.2, "seed": 0}, "batch_size": 4, "eval_batch_size": 4,
            "vocabulary": {"kind": "words", "max_size": 500, "min_count": 1},
        }
    )  # fmt: skip


def test_a_data_set_of_save_to_disk_with_the_names_of_its_classes(saved: str, tmp_path: Path):
    asked = settings(tmp_path / "cache", saved)
    source.check(asked)
    corpus = open_corpus(asked)
    assert {split: len(rows) for split, rows in corpus.splits.items()} == {"train": 40, "valid": 20, "test": 20}
    assert corpus.labels == ["Sports", "World"]
    train, test = corpus.splits["train"], corpus.splits["test"]
    for row in range(len(train)):
        words = {*corpus.vocabulary.decode(train.row(row)).split()}
        assert words & {*WORDS[corpus.labels[train.labels[row]]]}
    assert (test.labels == -1).all(), "-1: not known"


@pytest.mark.parametrize(("column", "start"), [("tokens", "the word"), ("translation.de", "das")])
def test_a_column_of_words_and_a_nested_one_are_texts(column: str, start: str, saved: str, tmp_path: Path):
    corpus = open_corpus(settings(tmp_path / "cache", saved, {"text": column, "label": None}))
    assert corpus.vocabulary.decode(corpus.splits["train"].row(0)).startswith(start)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # datasets leaves a streamed file open
@pytest.mark.parametrize("kind", ["csv", "parquet", "json"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_folder_of_files(kind: str, streaming: bool, tmp_path: Path):
    folder = tmp_path / "files"
    folder.mkdir()
    for split in ("train", "test"):
        rows = made(split).remove_columns(["tokens", "translation"])
        getattr(rows, f"to_{kind}")(str(folder / f"{split}.{kind}"))
    asked = settings(tmp_path / "cache", str(folder), {"text": "body", "label": None}, streaming=streaming, take=30)
    corpus = open_corpus(asked)
    assert len(corpus.splits["test"]) == 30
    assert len(corpus.splits["train"]) + len(corpus.splits["valid"]) == 30, "valid is cut from train"
    gc.collect()  # here, where the warning is ignored


def test_a_streamed_data_set_is_not_read_further_than_asked():
    read = []

    def endless():
        while True:
            read.append(None)
            yield {"text": "a b"}

    rows = datasets.IterableDataset.from_generator(endless)
    found = [row for row, _ in zip(hub._rows(rows), range(5), strict=False)]
    assert found == [{"text": "a b"}] * 5
    assert len(read) < 10


def test_the_texts_make_the_run_not_where_they_are(saved: str, tmp_path: Path, composed: Compose):
    Path(saved).rename(tmp_path / "moved")
    typed = ["data=hf", "data.columns.text=body", "data.columns.label=topic"]
    ids = set()
    for path in (tmp_path / "moved", tmp_path / "again"):
        if not path.exists():
            (tmp_path / "moved").rename(path)
        ids.add(run_id(composed(*typed, f"data.hf.path={path}"), "svae"))
    assert len(ids) == 1
    fewer = run_id(composed(*typed, f"data.hf.path={tmp_path / 'again'}", "data.hf.take=30"), "svae")
    assert fewer not in ids


@pytest.mark.parametrize(
    ("hf", "said"),
    [
        ({"path": None}, r"no data set is named\ntry  data\.hf\.path=NAME"),
        ({"path": "nowhere/at-all-that-is"}, r"data\.hf\.path=nowhere/at-all-that-is: cannot be loaded"),
        (
            {"splits": {"train": "unsupervised"}},
            r"data\.hf\.splits\.train=unsupervised: this data set has train, validation",
        ),
    ],
)
def test_what_cannot_be_read_is_named(hf: dict, said: str, saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises((ConfigError, DataError), match=said):
        source.check(settings(tmp_path / "cache", **{"path": saved, **hf}))


def test_a_column_that_is_not_there_is_named(saved: str, tmp_path: Path):
    with pytest.raises(DataError, match=r"under the key 'text'; its keys are body, topic, tokens, translation\.en"):
        source.check(settings(tmp_path / "cache", saved, {"text": "text"}))


def test_without_the_package_the_extra_is_named(saved: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"pip install 'lvexp\[hf\]'"):
        source.check(settings(tmp_path / "cache", saved))
