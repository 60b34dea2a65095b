"""Corpora as bags of words."""

from __future__ import annotations

import numpy as np
import pytest

from lvexp.data.module import TextData
from lvexp.errors import ConfigError, DataError

FEAT = "1 1:2 3:1\n2 2:4\n1\nx y\n2 4:1 1:1\n"


def counted(make, text, counts=None, **settings) -> TextData:
    return TextData(**make(text, **settings) | {"view": "counts", "counts": counts or {}})


def test_texts_are_counted_and_limits_hold(make):
    text = "aa bb bb the\naa cc the\naa dd the\nzz\n"
    data = counted(make, text, counts={"min_df": 1, "max_df": 3, "stop_words": ["the"]})
    assert data.vocabulary.words == ["aa", "bb", "cc", "dd", "zz"]
    batch = data.in_order("train")
    (found,) = list(batch)
    order = found.index.argsort()
    assert found.counts[order].tolist() == [[1, 2, 0, 0, 0], [1, 0, 1, 0, 0], [1, 0, 0, 1, 0], [0, 0, 0, 0, 1]]
    assert found.predicted() == 8
    assert data.corpus.splits["train"].counts.nnz == 7, "sparse: a word that is not there takes no room"


def test_pairs_are_read_with_labels_and_what_is_malformed_is_noted(make, tmp_path):
    (tmp_path / "words").write_text("aa 9\nbb 8\ncc 7\ndd 6\n")
    settings = {"suffix": ".feat", "columns": {"text": 0, "label": 0}, "counts": {"words": "words"}}
    data = counted(make, FEAT, **settings)
    split = data.corpus.splits["train"]
    assert split.counts.toarray().tolist() == [[2, 0, 1, 0], [0, 4, 0, 0], [1, 0, 0, 1]]
    assert np.array(data.labels)[split.labels].tolist() == ["1", "2", "2"]
    assert any("no class and id:count pairs" in note for note in data.corpus.notes)


@pytest.mark.parametrize("bad", ["1 5:1\n", "1 0:1\n"])
def test_a_word_that_the_vocabulary_lacks_is_an_error(make, tmp_path, bad):
    (tmp_path / "words").write_text("aa\nbb\ncc\ndd\n")
    with pytest.raises(DataError, match="vocabulary has 4"):
        _ = counted(make, bad, suffix=".feat", counts={"words": "words"}).corpus


def test_counts_are_no_texts(make):
    with pytest.raises(ConfigError, match=r"data\.view=counts"):
        _ = TextData(**make(FEAT, suffix=".feat")).corpus


def test_limits_that_leave_nothing(make):
    with pytest.raises(ConfigError, match=r"data\.counts\.min_df=5"):
        _ = counted(make, "aa bb\nbb cc\n", counts={"min_df": 5}).corpus


def test_a_column_says_which_split(make):
    rows = "aa bb\ttrain\naa\tval\nbb\ttest\naa\ttrain\n"
    data = counted(make, rows, suffix=".tsv", cut=True, columns={"text": 0, "label": None, "split": 1})
    assert {name: len(split) for name, split in data.corpus.splits.items()} == {"train": 2, "valid": 1, "test": 1}
