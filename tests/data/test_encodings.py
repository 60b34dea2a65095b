"""Files in other encodings than UTF-8."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import Command, Compose

from lvexp.data import source
from lvexp.data.corpus import open_corpus
from lvexp.data.problems import advised
from lvexp.data.settings import DataSettings
from lvexp.errors import ConfigError, DataError
from lvexp.job.identity import run_id

TEXTS = [f"schöne grüße aus {place} {number}" for number in range(30) for place in ("köln", "bern")]


def settings(folder: Path, **given) -> DataSettings:
    return DataSettings.of(
        {
            "name": "text", "root": str(folder), "files": {"train": "t.txt"}, "columns": {"text": 0},
            "split": {"valid": 0.2, "test": 0.2, "seed": 0}, "max_length": 20, "long": "drop", "batch_size": 4,
            "vocabulary": {"kind": "words", "max_size": 100, "min_count": 1}, "cache": str(folder / "cache"),
            "eval_batch_size": 4, **given,
        }
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8", "UTF-8"])
def test_a_file_is_read_in_its_encoding(encoding: str, tmp_path: Path):
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), encoding=encoding)
    corpus = open_corpus(settings(tmp_path, encoding=encoding))
    assert {"schöne", "grüße", "köln"} <= {*corpus.vocabulary.tokens(range(corpus.vocabulary.size))}
    assert not corpus.notes


def test_an_encoding_that_a_file_is_not_in_is_named_with_the_option(tmp_path: Path):
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), encoding="latin-1")
    with pytest.raises(DataError, match=r"60 lines of invalid UTF-8(?s:.*)try  data\.encoding=latin-1"):
        source.check(settings(tmp_path))
    with pytest.raises(DataError, match="lines of invalid ascii"):
        source.check(settings(tmp_path, encoding="ascii"))
    assert "data.encoding=latin-1" in advised("t.txt: 1 lines of invalid UTF-8 skipped (at line 3)")
    assert advised("t.txt: 1 blank lines skipped (at line 3)").endswith("(at line 3)")


@pytest.mark.parametrize(
    ("encoding", "advice"), [("latin1x", "latin-1"), ("utf-16", "iconv -f utf-16"), (None, "no such")]
)
def test_an_encoding_that_cannot_be_read_is_refused(encoding: str | None, advice: str, tmp_path: Path):
    with pytest.raises(ConfigError, match=advice):
        source.check(settings(tmp_path, encoding=encoding))


def test_the_usual_encoding_is_not_a_part_of_a_runs_identity(composed: Compose, tmp_path: Path):
    (tmp_path / "t.txt").write_text("\n".join(TEXTS))
    typed = ["data=text", f"data.files.train={tmp_path / 't.txt'}"]
    usual, none, other = (
        run_id(composed(*typed, more), "svae") for more in ("seed=1", "~data.encoding", "data.encoding=latin-1")
    )
    assert usual == none != other
    assert "encoding" not in settings(tmp_path).entry()


def test_a_run_on_a_file_in_another_encoding(small: list[str], corpus: Path, lvexp: Command):
    corpus.write_text(corpus.read_text().replace("hat", "chapeau_à_fleurs"), encoding="latin-1")
    typed = [*small, "trainer.max_epochs=1", "trainer.limit_train_batches=2"]
    refused = lvexp(*typed)
    assert (refused.returncode == 2) or "data.encoding=latin-1" in refused.stdout
    done = lvexp(*typed, "data.encoding=latin-1")
    assert done.returncode == 0, done.stderr
    assert "UTF-8" not in done.stdout
