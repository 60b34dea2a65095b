"""scripts/compression: which sentences are in which file, and how they are tokenised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
OTHERS = {
    "gigaword": [("japan 's UNK corp. said wednesday", ["UNK said"])],
    "broadcast": [
        ("They 've seen it .", ["They 've .", "seen it ."]),
        ("Sentence 5 was here.", ["here"]),
        ("word " * 61, ["word"]),
    ],
    "bnc": [("`` It is not , '' he said .", ["It is not ."]), ("They 've seen it .", ["They ."])],
    "duc2004": [("Cambodia's party, led by Hun Sen, didn't.", ["Party didn't."])],
}


def made(data: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "compression"), str(folder)],
        env={**os.environ, "LVEXP_DATA": str(data)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "sentence_compression"
    data.mkdir()
    pairs = [(f"Sentence {at} was here, at 10.5%.", [f"Sentence {at} was here."]) for at in range(1000)]
    pairs[5] = ("Sentence 5 was here .", ["Sentence 5."])
    for name, rows in {"google": pairs, **OTHERS}.items():
        lines = (json.dumps({"id": "x", "text": text, "summaries": found}) for text, found in rows)
        (data / f"{name}.jsonl").write_text("".join(f"{line}\n" for line in lines))
    done = made(tmp_path, tmp_path / "made")
    assert done.returncode == 0, done.stderr
    return tmp_path / "made"


def test_pairs_are_divided_in_their_order(folder: Path):
    parts = {name: (folder / f"{name}.tsv").read_text().splitlines() for name in ("train", "valid", "test")}
    assert {name: len(lines) - 1 for name, lines in parts.items()} == {"train": 800, "valid": 100, "test": 100}
    assert parts["train"][:2] == ["text\tcompression", "sentence 0 was here , at 10.5 % .\tsentence 0 was here ."]
    assert parts["test"][-1] == "sentence 999 was here , at 10.5 % .\tsentence 999 was here ."


def test_sentences_without_a_pair_stand_once_and_in_no_pair(folder: Path):
    assert (folder / "unlabelled.txt").read_text().splitlines() == [
        "japan 's <unk> corp. said wednesday", "they 've seen it .", "sentence 5 was here.",
        " ".join(["word"] * 61),
        "`` it is not , '' he said .", "cambodia 's party , led by hun sen , did n't .",
    ]  # fmt: skip


def test_references_have_a_line_for_each_sentence(folder: Path):
    text = "japan 's <unk> corp. said wednesday"
    assert (folder / "gigaword.tsv").read_text() == f"text\tcompression\n{text}\t<unk> said\n"
    assert (folder / "gigaword.references.tsv").read_text() == "<unk> said\n"
    assert (folder / "broadcast.references.tsv").read_text() == "they 've .\tseen it .\nhere\n"
    assert (folder / "broadcast.tsv").read_text().splitlines()[1] == "they 've seen it .\tthey 've ."


def test_sentences_with_references_are_those_that_are_read():
    declared = yaml.safe_load((ROOT / "conf" / "data" / "compression.yaml").read_text())["max_length"]
    assert f"\nLONGEST = {declared}\n" in (ROOT / "scripts" / "compression").read_text()


def test_missing_files_are_named(tmp_path: Path):
    done = made(tmp_path, tmp_path / "made")
    assert done.returncode == 2
    assert "google.jsonl" in done.stderr
    assert "try  LVEXP_DATA=DIR" in done.stderr
