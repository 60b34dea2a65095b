from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lvexp.data import source
from lvexp.data.settings import DataSettings, Place
from lvexp.data.source import ABSENT, files
from lvexp.errors import ConfigError, DataError

CONF = Path(__file__).parents[2] / "conf" / "data"


def conf(name: str) -> dict:
    return yaml.safe_load((CONF / f"{name}.yaml").read_text()) | {"seed": 1}


def check(data: dict) -> None:
    source.check(DataSettings.of(data))


def columns(data: dict) -> frozenset[str]:
    return source.columns(DataSettings.of(data))


def fingerprint(data: dict) -> str:
    return source.fingerprint(Place.of(data))


def test_nothing_heavy_is_imported():
    code = (
        "import sys, lvexp.data.source; print(sorted({'torch', 'lightning', 'numpy', 'tokenizers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "[]\n"


def test_the_shipped_corpus_is_found_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check(conf("snips"))
    assert columns(conf("snips")) == {"tokens", "labels"}
    assert fingerprint(conf("snips")) != ABSENT
    assert (files(Place.of(conf("snips")))["train"].parent / "LICENSE-CC0-1.0.txt").is_file()


def test_absent_treebank(monkeypatch, tmp_path):
    monkeypatch.delenv("LVEXP_DATA", raising=False)
    with pytest.raises(DataError, match=r"(?s)neither data\.root nor LVEXP_DATA.*may not be given away.*DIR/ptb/"):
        check(conf("ptb"))
    monkeypatch.setenv("LVEXP_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"(?s)no file {tmp_path}/ptb/train\.txt.*train\.txt valid\.txt test\.txt"):
        check(conf("ptb"))
    assert fingerprint(conf("ptb")) == ABSENT
    for name in ("train", "valid", "test"):
        (tmp_path / f"{name}.txt").write_text("a <unk> b\n")
    check(conf("ptb") | {"root": str(tmp_path)})
    assert columns(conf("ptb")) == {"tokens"}


def test_text_needs_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"data\.files\.train=FILE"):
        check(conf("text"))
    with pytest.raises(DataError, match="there is no file"):
        check(conf("text") | {"files": {"train": "my.txt"}})
    (tmp_path / "my.txt").write_text("words\n")
    check(conf("text") | {"files": {"train": "my.txt"}})


def test_labels_follow_the_column(make):
    assert columns(make("x")) == {"tokens"}
    assert columns(make("x", columns={"label": "kind"})) == {"tokens", "labels"}
    assert columns(conf("snips") | {"columns": {"text": 1, "label": None}}) == {"tokens"}


def test_the_fingerprint_is_of_the_content_alone(make, tmp_path):
    one = make("a b\n", "c\n", "d\n")
    before = fingerprint(one)
    (tmp_path / "elsewhere").mkdir()
    for split in ("train", "valid", "test"):
        (tmp_path / f"{split}.txt").rename(tmp_path / "elsewhere" / f"other-{split}.txt")
    moved = one | {"root": str(tmp_path / "elsewhere"), "files": {s: f"other-{s}.txt" for s in one["files"]}}
    assert fingerprint(moved) == before
    assert fingerprint(make("a b\n", "d\n", "c\n")) != before
    assert fingerprint(make("a b \n", "c\n", "d\n")) != before


@pytest.mark.parametrize("content", [b"", b"\n \n\n", b"\xff\n\xfe\n"])
def test_files_without_text(make, content):
    with pytest.raises(DataError, match="too little of it is usable text"):
        check(make(content))


def test_unreadable_file(make, tmp_path):
    cfg = make("x")
    (tmp_path / "train.txt").unlink()
    (tmp_path / "train.txt").mkdir()
    with pytest.raises(DataError, match="there is no file"):
        check(cfg)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"format": "xml"}, r"data\.format=xml: there is no such choice"),
        ({"vocabulary": {"kind": "word"}}, r"data\.vocabulary\.kind=word:.*\ntry.*words\|characters\|bpe"),
        ({"vocabulary": {"kind": "bpe", "max_size": 100}}, r"data\.vocabulary\.max_size=100:.*260 or more"),
        ({"vocabulary": {"min_count": 0}}, r"data\.vocabulary\.min_count=0"),
        ({"long": "cut"}, r"data\.long=cut"),
        ({"batch_size": 0}, r"data\.batch_size=0"),
        ({"batch_size": "many"}, r"data\.batch_size=many"),
        ({"max_length": None}, r"data\.max_length=None"),
        ({"cut": True, "split": {"valid": 5}}, r"data\.split\.valid=5"),
        ({"cut": True, "split": {"valid": 0.5, "test": 0.5}}, "leave nothing to train on"),
    ],
)
def test_settings_without_meaning(make, settings, says):
    with pytest.raises(ConfigError, match=says):
        check(make("a b\n", **settings))
