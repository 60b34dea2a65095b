"""scripts/attributes: which sentences a corpus has, and in which of its files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvexp.data import source
from lvexp.data.module import TextData
from lvexp.data.settings import DataSettings
from lvexp.errors import DataError

ROOT = Path(__file__).parents[2]
FILES = ("train", "valid", "test", "judge")
#: file of LVEXP_DATA → its lines
SMALL = {
    "sst/stsa.binary.train": [
        "1 a good film", "0 a bad film", "1 a good film", "0 what 's next ?", "0 so so", "1 so so",
        "1 " + "very " * 15 + "good", "0 " + "very " * 14 + "bad",
    ],
    "sst/stsa.binary.dev": ["0 not good", "1 " + "so " * 16 + "good"],
    "sst/stsa.binary.test": ["0 what 's next ?", "1 fine"],
    "yelp_shen2017/sentiment.test.0": ["it was bad .", "bad  food .", "stock .", "of dev .", "of test ."],
    "yelp_shen2017/sentiment.test.1": ["it is good .", "stock .", "i go ."],
    "yelp_shen2017/sentiment.train20.0": ["it was bad .", "awful .", "of dev .", "both ways .", "stock ."],
    "yelp_shen2017/sentiment.train20.1": ["nice .", "nice .", "both ways ."],
    "yelp_shen2020/tense.valid.past": ["it was bad .", "they left .", "of test ."],
    "yelp_shen2020/tense.valid.present": ["i go .", "i go .", "i stay ."],
    "yelp_shen2020/tense.test.past": ["they left .", "they stayed .", "both times ."],
    "yelp_shen2020/tense.test.present": ["nice .", "both times ."],
    "yelp_li2018/sentiment.dev.0": ["of dev .", "of both ."],
    "yelp_li2018/sentiment.dev.1": ["fine ."],
    "yelp_li2018/sentiment.test.0": ["of test .", "i ca n't ."],
    "yelp_li2018/sentiment.test.1": ["of both ."],
    "yelp_li2018/reference.0": ["of test .\tDon't go, it's  a \"5\" of 10.5 stars!", "i ca n't .\tI CANNOT "],
    "yelp_li2018/reference.1": ["of both .\tmy `` hot '' sub, 2nd of 1,000 (at 9pm)."],
}  # fmt: skip


def made(data: Path | str, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "attributes"), str(folder), *more],
        env={**os.environ, "LVEXP_DATA": str(data)}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip


def read(folder: Path) -> dict[str, list[dict[str, str]]]:
    lines = {name: (folder / f"{name}.jsonl").read_text(encoding="utf-8").split("\n") for name in FILES}
    return {name: [json.loads(line) for line in found if line] for name, found in lines.items()}


def conf(name: str, folder: Path, **more: Any) -> dict[str, Any]:
    group = yaml.safe_load((ROOT / "conf" / "data" / f"{name}.yaml").read_text())
    kept = {key: value for key, value in group.items() if key not in ("_target_", "provides")}
    return kept | {"root": str(folder), "seed": 1} | more


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder like LVEXP_DATA with a few sentences in each file."""
    for name, lines in SMALL.items():
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_text("".join(f"{line}\n" for line in lines))
    return tmp_path / "raw"


def test_the_treebank_is_divided_by_length(small: Path, tmp_path: Path):
    done = made(small, tmp_path / "made", "--only", "sst")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["sst"]
    negative, positive = ({"sentiment": label} for label in ("negative", "positive"))
    good = {"text": "a good film"} | positive
    assert read(tmp_path / "made" / "sst") == {
        "train": [good, {"text": "a bad film"} | negative, good, {"text": "very " * 14 + "bad"} | negative],
        "valid": [{"text": "not good"} | negative],
        "test": [{"text": "what 's next ?"} | negative, {"text": "fine"} | positive],
        "judge": [{"text": "very " * 15 + "good"} | positive],
    }
    assert "train.jsonl: 4 (2 negative, 2 positive); left out 2 with both labels, 1 of test\n" in done.stdout


def test_reviews_have_all_that_is_known_of_them(small: Path, tmp_path: Path):
    done = made(small, tmp_path / "made", "--only", "yelp")
    assert done.returncode == 0, done.stderr
    negative, positive = ({"sentiment": label} for label in ("negative", "positive"))
    past, present = ({"tense": label} for label in ("past", "present"))
    nice = {"text": "nice ."} | positive | present
    assert read(tmp_path / "made" / "yelp") == {
        "train": [
            {"text": "it was bad ."} | negative | past,
            {"text": "bad food ."} | negative,
            {"text": "it is good ."} | positive,
            {"text": "i go ."} | positive | present,
            {"text": "they left ."} | past,
            {"text": "i stay ."} | present,
        ],
        "valid": [{"text": "of dev ."} | negative, {"text": "fine ."} | positive],
        "test": [{"text": "of test ."} | negative, {"text": "i ca n't ."} | negative, {"text": "of both ."} | positive],
        "judge": [
            {"text": "awful ."} | negative, {"text": "stock ."} | negative, nice, nice, {"text": "they stayed ."} | past
        ],
    }  # fmt: skip
    printed = done.stdout.splitlines()
    assert printed[2] == "  valid.jsonl: 2 (1 negative, 1 positive); left out 1 of test"
    assert printed[3].endswith("2 past, 2 present); left out 2 with both labels, 1 of test, 1 of valid")
    assert printed[4].endswith("1 past, 2 present); left out 4 with both labels, 1 of valid, 2 of train")


def test_references_are_in_the_tokens_of_the_corpus(small: Path, tmp_path: Path):
    assert made(small, tmp_path / "made").returncode == 0
    lines = (tmp_path / "made" / "yelp" / "references.tsv").read_text().splitlines()
    assert [line.split("\t") for line in lines] == [
        ["of test .", "do n't go , it 's a `` _num_ '' of _num_ stars !"],
        ["i ca n't .", "i can not"],
        ["of both .", "my `` hot '' sub , 2nd of 1,000 ( at 9pm ) ."],
    ]


def test_references_that_belong_to_other_sentences(small: Path, tmp_path: Path):
    (small / "yelp_li2018" / "reference.1").write_text("another .\tanother .\n")
    done = made(small, tmp_path / "made", "--only", "yelp")
    assert (done.returncode, done.stdout) == (2, "")
    assert "reference.1: its sentences are not those of sentiment.test.1\ntry  " in done.stderr


def test_corpora_that_are_not_there(tmp_path: Path):
    done = made(tmp_path, tmp_path / "made")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"{tmp_path}/sst/stsa.binary.train: No such file" in done.stderr
    done = made("", tmp_path / "made")
    assert (done.returncode, done.stdout) == (2, "")
    assert "LVEXP_DATA is not set\ntry  LVEXP_DATA=DIR" in done.stderr


@pytest.mark.parametrize("name", ["sst", "yelp"])
def test_a_corpus_that_is_not_made_yet_names_the_script(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LVEXP_DATA", raising=False)
    with pytest.raises(
        DataError, match=rf"(?s)data={name}: neither.*python scripts/attributes DIR,.* data\.root=DIR/{name}\n"
    ):
        source.check(DataSettings.of(conf(name, tmp_path, root=None)))
    monkeypatch.setenv("LVEXP_DATA", str(tmp_path))
    with pytest.raises(DataError, match=rf"(?s)no file {tmp_path}/{name}_attributes/train\.jsonl.*scripts/attributes"):
        source.check(DataSettings.of(conf(name, tmp_path, root=None)))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The corpora made of the published files, and what was printed."""
    data = os.environ.get("LVEXP_DATA")
    if not data:
        pytest.skip("the corpora are not shipped; LVEXP_DATA is not set")
    for name in ("sst", "yelp_shen2017", "yelp_li2018", "yelp_shen2020"):
        if not (Path(data) / name).is_dir():
            pytest.skip(f"LVEXP_DATA holds no {name}/")
    folder = tmp_path_factory.mktemp("made")
    done = made(Path(data), folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_the_treebank_as_published(published: tuple[Path, str]):
    folder, printed = published
    found = read(folder / "sst")
    assert {name: len(rows) for name, rows in found.items()} == {
        "train": 2_628 - 3, "valid": 311, "test": 686, "judge": 4_292,
    }  # fmt: skip
    assert "left out 3 of test" in printed
    lengths = {name: [len(row["text"].split()) for row in rows] for name, rows in found.items()}
    assert max(lengths["train"] + lengths["valid"] + lengths["test"]) == 15
    assert min(lengths["judge"]) == 16
    assert Counter(row["sentiment"] for row in found["test"]) == {"negative": 353, "positive": 333}
    corpus = TextData(**conf("sst", folder / "sst")).corpus
    assert {name: len(split) for name, split in corpus.splits.items()} == {name: len(found[name]) for name in FILES}
    assert corpus.notes == []


def test_the_reviews_as_published(published: tuple[Path, str]):
    folder, printed = published
    found = read(folder / "yelp")
    assert {name: len(rows) for name, rows in found.items()} == {
        "train": 128_565, "valid": 4_000 - 1, "test": 1_000, "judge": 84_266,
    }  # fmt: skip
    # of 126,670 sentences with a sentiment and 7,229 different ones with a tense
    known = [Counter((row.get("sentiment"), row.get("tense")) for row in found[name]) for name in ("train", "judge")]
    assert [sum(count for (label, _), count in counts.items() if label) for counts in known] == [121_502, 77_325]
    assert [sum(count for (_, tense), count in counts.items() if tense) for counts in known] == [7_762, 6_972]
    assert [sum(count for pair, count in counts.items() if all(pair)) for counts in known] == [699, 31]
    assert "left out 70 with both labels, 14 of test, 5,085 of valid" in printed
    assert "left out 5 with both labels, 6 of test, 4,187 of valid, 7,198 of train" in printed


@pytest.mark.parametrize("name", ["sst", "yelp"])
def test_no_sentence_stands_in_two_files(published: tuple[Path, str], name: str):
    texts = {file: {row["text"] for row in rows} for file, rows in read(published[0] / name).items()}
    assert sum(map(len, texts.values())) == len(set().union(*texts.values()))


def test_the_references_of_the_reviews(published: tuple[Path, str]):
    folder = published[0] / "yelp"
    pairs = [line.split("\t") for line in (folder / "references.tsv").read_text().splitlines()]
    assert [text for text, _ in pairs] == [row["text"] for row in read(folder)["test"]]
    rewritten = [reference for _, reference in pairs]
    assert rewritten[2] == "it did n't taste watered down at all ."
    assert sum(text == text.lower() for text in rewritten) == 1_000
    words = {word for row in read(folder)["train"] for word in row["text"].split()}
    unknown = [word for text in rewritten for word in text.split() if word not in words]
    assert len(unknown) < 0.01 * sum(len(text.split()) for text in rewritten), "they are tokenised like the corpus"
