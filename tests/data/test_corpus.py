from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lvexp.data import corpus as module
from lvexp.data.special import BOS, EOS, UNK
from lvexp.data.storage import Split, SplitWriter
from lvexp.errors import DataError
from tests.data.conftest import opened, sentences

CONF = Path(__file__).parents[2] / "conf" / "data"
OPEN = (
    "import json, sys; from lvexp.data.corpus import open_corpus; from lvexp.data.settings import DataSettings\n"
    "print(open_corpus(DataSettings.of(json.load(sys.stdin))).fingerprint)"
)


def texts(corpus, split="train"):
    found = corpus.splits[split]
    return [corpus.vocabulary.decode(found.row(number)) for number in range(len(found))]


def entries(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()]


@pytest.mark.parametrize("kind", ["words", "characters", "bpe"])
def test_round_trip(make, kind):
    corpus = opened(make("the cat sat\na <unk> b\n", "the dog\n", "cat\n", vocabulary={"kind": kind}))
    assert texts(corpus) == ["the cat sat", "a <unk> b"]
    assert texts(corpus, "test") == ["cat"]
    assert corpus.splits["train"].row(1)[[0, -1]].tolist() == [BOS, EOS]


def test_words_unseen_in_train_are_unknown(make):
    corpus = opened(make("a b c\n", "a d\n", "a\n"))
    assert corpus.splits["valid"].row(0).tolist() == [BOS, corpus.vocabulary.encode(["a"])[0][1], UNK, EOS]
    assert corpus.oov == {"train": 0.0, "valid": 0.5, "test": 0.0}


def test_labels_are_sorted_and_may_be_absent(make):
    cfg = make("b\tone\na\ttwo\n\tthree\n", "c\tfour\n", suffix=".tsv", columns={"text": 1, "label": 0})
    corpus = opened(cfg)
    assert corpus.labels == ["a", "b", "c"]
    assert corpus.splits["train"].labels.tolist() == [1, 0, -1]
    assert corpus.splits["valid"].labels.tolist() == [2]
    assert opened(cfg | {"columns": {"text": 1, "label": None}}).splits["train"].labels is None


def test_a_label_column_without_labels(make):
    with pytest.raises(DataError, match=r"data\.columns\.label=kind: no line of any file has a label"):
        opened(make('{"text": "a"}\n', suffix=".jsonl", columns={"label": "kind"}))


def test_a_label_column_that_is_none(make, monkeypatch):
    monkeypatch.setattr("lvexp.data.classes.MOST_LABELS", 10)
    lines = "".join(f"{number}\tx\n" for number in range(11))
    with pytest.raises(DataError, match="too many for classes"):
        opened(make(lines, suffix=".tsv", columns={"text": 1, "label": 0}))


def test_notes_survive_the_cache(make):
    cfg = make(b"a b\n\n\xff\nc d e f\ng\n", "x\n", "y\n", max_length=3)
    notes = [
        "train.txt: 1 blank lines skipped (at line 2)",
        "train.txt: 1 lines of invalid UTF-8 skipped (at line 3)",
        "train.txt: 1 texts of more than 3 tokens skipped (at line 4)",
    ]
    assert opened(cfg).notes == opened(cfg).notes == notes


def test_long_texts(make):
    drop = make("a b c\nd\n", "e\n", "f\n", max_length=2)
    assert texts(opened(drop)) == ["d"]
    cut = opened(drop | {"long": "truncate"})
    assert texts(cut) == ["a b", "d"]
    assert cut.notes == ["train.txt: 1 texts of more than 2 tokens cut (at line 1)"]
    with pytest.raises(DataError, match=r"train\.txt:1: 3 tokens, more than data\.max_length=2"):
        opened(drop | {"long": "error"})
    with pytest.raises(DataError, match=r"train\.txt: every text has more than data\.max_length=2"):
        opened(make("a b c\n", "e\n", "f\n", max_length=2))


def test_a_file_mostly_of_rubbish(make):
    with pytest.raises(DataError, match=r"(?s)too little.*3 lines of invalid UTF-8 skipped \(first at lines 2, 3, 4\)"):
        opened(make(b"good\n\xff\n\xff\n\xff\n"))


def test_cut_splits(make):
    content = sentences(400) + sentences(400)

    def parts(seed: int = 0):
        split = {"valid": 0.1, "test": 0.2, "seed": seed}
        corpus = opened(make(content, cut=True, split=split, vocabulary={"kind": "characters"}))
        return {name: texts(corpus, name) for name in corpus.splits}

    first = parts()
    assert sorted(text for part in first.values() for text in part) == sorted(content.splitlines())
    assert 50 < len(first["valid"]) < 110 < len(first["test"]) < 210
    # Equal texts stay together.
    assert not set(first["train"]) & set(first["test"])
    assert parts() == first
    assert parts(seed=1) != first


def test_the_vocabulary_is_of_train_alone(make):
    corpus = opened(make(sentences(400), cut=True))
    assert corpus.oov["train"] == 0 < corpus.oov["test"]


def test_a_corpus_too_small_to_cut(make):
    with pytest.raises(DataError, match=r"is too small: cutting valid and test from it left nothing in (train|valid)"):
        opened(make("one\n", cut=True))


def test_order_and_lengths(make):
    split = opened(make(sentences(500))).splits["train"]
    lengths = [len(split.row(number)) for number in range(len(split))]
    assert split.lengths.tolist() == lengths
    assert split.order.tolist() == sorted(range(len(split)), key=lambda number: (lengths[number], number))
    assert [length for length, count in split.buckets for _ in range(count)] == sorted(lengths)
    rows = split.order[-3:]
    if len({lengths[row] for row in rows}) == 1:
        assert split.block(rows, lengths[rows[0]]).tolist() == [split.row(row).tolist() for row in rows.tolist()]
    with pytest.raises(IndexError):
        split.row(len(split))


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(1, 7))
def test_any_lengths_are_sorted_in_chunks(tmp_path_factory, lengths, chunk):
    folder = tmp_path_factory.mktemp("split")
    rows = [[BOS, *([9] * length), EOS] for length in lengths]
    with SplitWriter(folder, "train", np.dtype("<u2"), labelled=True) as writer:
        for start in range(0, len(rows), chunk):
            writer.add(rows[start : start + chunk], list(range(start, min(start + chunk, len(rows)))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lvexp.data.storage.CHUNK", chunk)
        split = Split(folder, "train", writer.finish())
    assert [split.row(number).tolist() for number in range(len(split))] == rows
    assert split.order.tolist() == np.argsort(lengths, kind="stable").tolist()
    assert split.labels is not None
    assert split.labels.tolist() == list(range(len(rows)))


def test_large_vocabularies_take_wider_ids(make):
    content = "".join(
        f"{' '.join(f'w{number}' for number in range(start, start + 100))}\n" for start in range(0, 66_000, 100)
    )
    corpus = opened(make(content, "w1\n", "w2\n", vocabulary={"max_size": 70_000}))
    assert corpus.splits["train"].row(0).dtype == np.dtype("<u4")
    assert texts(corpus) == content.splitlines()


def test_encoded_once(make, cache, monkeypatch):
    cfg = make(sentences(30))
    first = opened(cfg)
    monkeypatch.setattr(module, "encode", pytest.fail)
    again = opened(cfg | {"batch_size": 7, "root": cfg["root"] + "/."})
    assert texts(again) == texts(first)
    assert len(entries(cache)) == 1


@pytest.mark.parametrize(
    "change", [{"lowercase": True}, {"max_length": 5}, {"vocabulary": {"kind": "words", "max_size": 9, "min_count": 1}}]
)
def test_settings_that_change_the_result_change_the_entry(make, cache, change):
    cfg = make(sentences(30))
    opened(cfg)
    opened(cfg | change)
    assert len(entries(cache)) == 2


def test_changed_content_is_encoded_anew(make, cache):
    before = opened(make("a\n"))
    after = opened(make("b\n"))
    assert (texts(before), texts(after)) == (["a"], ["b"])
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize("damage", ["cut", "flip", "remove", "garble", "empty"])
def test_a_damaged_entry_is_rebuilt(make, cache, damage):
    cfg = make(sentences(30))
    expected = texts(opened(cfg))
    (entry,) = entries(cache)
    tokens, summary = entry / "train.tokens", entry / "summary.json"
    if damage == "cut":
        tokens.write_bytes(tokens.read_bytes()[:-2])
    elif damage == "flip":
        content = bytearray(tokens.read_bytes())
        content[7] ^= 1
        tokens.write_bytes(bytes(content))
    elif damage == "remove":
        (entry / "train.order").unlink()
    else:
        summary.write_text("{" if damage == "garble" else "")
    assert texts(opened(cfg)) == expected
    assert entries(cache) == [entry]


def test_many_processes_at_once(make, cache):
    cfg = make(sentences(3000))
    jobs = [subprocess.Popen([sys.executable, "-c", OPEN], stdin=-1, stdout=-1, stderr=-1, text=True) for _ in range(5)]
    for job in jobs:
        assert job.stdin is not None
        job.stdin.write(json.dumps(cfg))
        job.stdin.close()
    for job in jobs:
        assert job.stdout is not None
        assert job.stderr is not None
        assert (job.wait(), job.stdout.read(), job.stderr.read()) == (0, opened(cfg).fingerprint + "\n", "")
        job.stdout.close()
        job.stderr.close()
    assert len(entries(cache)) == 1


def test_a_killed_writer_leaves_nothing_that_breaks_the_next(make, cache):
    cfg = make(sentences(3000))
    # It stops for good in the middle of writing, holding the lock.
    stuck = (
        "import time; from lvexp.data import encoding\n"
        "add = encoding.SplitWriter.add\n"
        "encoding.SplitWriter.add = lambda *given: (add(*given), time.sleep(99))\n" + OPEN
    )
    job = subprocess.Popen([sys.executable, "-c", stuck], stdin=-1, stdout=-1, text=True)
    assert job.stdin is not None
    assert job.stdout is not None
    job.stdin.write(json.dumps(cfg))
    job.stdin.close()
    until = time.monotonic() + 20
    while not (list(cache.glob(".*/train.tokens")) if cache.is_dir() else []):
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(job.pid, signal.SIGKILL)
    job.wait()
    job.stdout.close()
    assert len(texts(opened(cfg))) == 3000
    assert [path.name[0] != "." for path in entries(cache)] == [True]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="a read-only folder does not stop this user")
def test_a_cache_that_cannot_be_written(make, tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(DataError, match=r"(?s)cannot be kept there.*LVEXP_CACHE=DIR"):
        opened(make("a\n") | {"cache": str(folder)})


def test_a_cache_that_is_no_folder(make, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"(?s)cannot be kept there.*LVEXP_CACHE=DIR"):
        opened(make("a\n") | {"cache": str(tmp_path / "file")})


def test_the_shipped_corpus():
    corpus = opened(yaml.safe_load((CONF / "snips.yaml").read_text()))
    assert {split: len(found) for split, found in corpus.splits.items()} == {"train": 13084, "valid": 700, "test": 700}
    assert int(corpus.splits["train"].lengths.sum()) - 2 * 13084 == 117_700
    assert len(corpus.labels) == 7
    assert corpus.notes == []


@pytest.mark.skipif("LVEXP_DATA" not in os.environ, reason="the Penn Treebank is not shipped; LVEXP_DATA is not set")
def test_the_treebank_as_published():
    cfg = yaml.safe_load((CONF / "ptb.yaml").read_text())
    if not (Path(os.environ["LVEXP_DATA"]) / "ptb" / "train.txt").is_file():
        pytest.skip("LVEXP_DATA holds no ptb/")
    corpus = opened(cfg)
    train = corpus.splits["train"]
    assert len(train) == 42_068
    assert int(train.lengths.sum()) - len(train) == 887_521 + 42_068
    # 9,998 words, <unk> and <eos> are the 10,000 entries of the literature; <pad> and <bos> come on top.
    assert corpus.vocabulary.size == 10_002
    assert sum(int((train.row(number) == UNK).sum()) for number in range(len(train))) == 45_020
