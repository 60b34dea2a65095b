"""Texts encoded with the vocabulary of a finished run."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from lvexp.data.bag import Bag
from lvexp.data.corpus import cache, open_corpus
from lvexp.data.counts import open_counts
from lvexp.data.features import Features
from lvexp.data.known import Known
from lvexp.data.settings import DataSettings
from lvexp.data.special import BOS, EOS, UNK
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, DataError

RUN = "data.vocabulary.run=outputs/run"


def words(text: str) -> Vocabulary:
    return Vocabulary.train([text], kind="words", max_size=100, min_count=1, lowercase=False)


def opened(data: dict[str, Any], known: Known):
    return open_corpus(DataSettings.of(data), known)


def test_the_vocabulary_is_the_runs_and_other_words_are_unknown(make):
    corpus = opened(make("a b c\nd\n", "a\n", "b b\n"), Known(RUN, words("b b a x")))
    assert corpus.vocabulary.size == 7
    b, a = corpus.vocabulary.encode(["b a"])[0][1:3]
    assert corpus.splits["train"].row(0).tolist() == [BOS, a, b, UNK, EOS]
    assert corpus.splits["test"].row(0).tolist() == [BOS, b, b, EOS]
    assert corpus.notes == ["train: 50.0% of the words are not in the run's vocabulary"]


def test_the_name_of_the_cache_entry_depends_on_the_vocabulary_and_not_on_the_run(make):
    data = make("a b\n", "a\n", "b\n")
    settings = DataSettings.of(data)
    entries = lambda: {path.name for path in cache(settings).iterdir() if path.is_dir()}  # noqa: E731
    opened(data, Known(RUN, words("a")))
    before = entries()
    data["vocabulary"]["run"] = "outputs/run"
    opened(data, Known(RUN, words("a b")))
    first = entries() - before
    data["vocabulary"] |= {"run": "elsewhere", "max_size": 7}
    opened(data, Known("data.vocabulary.run=elsewhere", words("a b")))
    assert entries() - before == first
    opened(data, Known(RUN, words("a c")))
    assert len(entries() - before) == 2


def test_a_vocabulary_that_is_null_changes_no_entry(make):
    data = make("a b\n", "a\n", "b\n")
    plain = DataSettings.of(data).entry()
    data["vocabulary"]["run"] = None
    assert DataSettings.of(data).entry() == plain
    assert DataSettings.of(data).compared().keys() == DataSettings.of(make("a\n", "a\n", "b\n")).compared().keys()


def test_only_the_test_set_is_read_and_the_other_files_need_not_be_there(make, tmp_path):
    data = make("a b\n", "a\n", "b a\nc\n")
    (tmp_path / "train.txt").unlink()
    corpus = opened(data, Known(RUN, words("a b"), only=("test",)))
    assert list(corpus.splits) == ["test"]
    assert len(corpus.splits["test"]) == 2


def test_labels_are_numbered_as_those_of_the_run(make):
    data = make("y\tone\n", "y\ttwo\n", "x\tone\n", suffix=".tsv", columns={"text": 1, "label": 0})
    known = Known(RUN, words("one two"), labels=["w", "x", "y"])
    corpus = opened(data, known)
    assert corpus.labels == ["w", "x", "y"]
    assert corpus.splits["train"].labels.tolist() == [2]
    assert corpus.splits["test"].labels.tolist() == [1]
    with pytest.raises(DataError, match=r"'x' is no label of data\.vocabulary\.run=outputs/run, which has w, y"):
        opened(data, dataclasses.replace(known, labels=["w", "y"]))


def test_sources_have_the_runs_vocabulary_too(make):
    data = make("s a\tb\n", "t\tb\n", "t\tb\n", suffix=".tsv", columns={"text": 1, "source": 0})
    data["vocabulary"]["joint"] = False
    corpus = opened(data, Known(RUN, words("b"), words("a s")))
    assert corpus.sources.to_json() == words("a s").to_json()
    assert corpus.splits["test"].sources(np.array([0])).tolist() == [[BOS, UNK, EOS]]


def test_feature_vectors_of_another_shape_are_refused(make, tmp_path):
    data = make("a\n", "a\n", "a\n")
    data["sources"] = {split: f"{split}.npy" for split in ("train", "valid", "test")}
    for name in data["sources"].values():
        np.save(tmp_path / name, np.ones((1, 3), np.float32))
    assert opened(data, Known(RUN, words("a"), Features(1, 3))).sources.shape == (1, 3)
    for sources, read in ((Features(1, 4), "1 × 4 values"), (None, "texts")):
        with pytest.raises(DataError, match=f"hold 1 × 3 values for each text, and .* reads {read}"):
            opened(data, Known(RUN, words("a"), sources))


def test_documents_are_counted_in_the_words_of_the_run(make):
    data = make("aa bb bb\ncc\n", "aa\n", "bb dd\n", view="counts")
    corpus = open_counts(DataSettings.of(data), Known(RUN, Bag(["bb", "aa"])))
    assert corpus.splits["train"].counts.toarray().tolist() == [[2, 1]]
    assert corpus.splits["test"].counts.toarray().tolist() == [[1, 0]]
    assert any("without a word of the vocabulary" in note for note in corpus.notes)


def test_counts_of_other_words_are_refused(make, tmp_path):
    data = make("x 1:2\n", "x 1:1\n", "y 2:1\n", suffix=".feat", view="counts", columns={"text": 0, "label": 0})
    (tmp_path / "list.txt").write_text("aa\nbb\n")
    data["counts"] = {"words": "list.txt"}
    settings = DataSettings.of(data)
    assert open_counts(settings, Known(RUN, Bag(["aa", "bb"]))).splits["train"].counts.toarray().tolist() == [[2, 0]]
    with pytest.raises(DataError, match="counts words of another list than"):
        open_counts(settings, Known(RUN, Bag(["bb", "aa"])))


def test_a_module_that_does_not_pass_the_vocabulary_on_is_refused(make):
    data = make("a\n", "a\n", "a\n")
    data["vocabulary"]["run"] = "outputs/run"
    with pytest.raises(ConfigError, match=r"data\.vocabulary\.run=outputs/run: .* vocabulary of its own"):
        open_corpus(DataSettings.of(data))
