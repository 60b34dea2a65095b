"""Every kind of malformed input is counted with its line numbers, and none stops the run or goes unseen."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from lvexp.data.layout import Layout
from lvexp.data.problems import Problems
from lvexp.data.rows import LONGEST_LINE, rows
from lvexp.data.settings import DataSettings
from lvexp.errors import ConfigError, DataError


def layout(path: Path, cfg: dict) -> Layout:
    return Layout.of(path, DataSettings.of({"name": "text", **cfg}))


def read(path: Path, content: str | bytes, **cfg):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    problems = Problems(path)
    found = list(rows(path, layout(path, cfg), problems))
    return [(row.line, row.text, row.label) for row in found], problems.notes()


def test_plain_text(tmp_path):
    found, notes = read(tmp_path / "a.txt", "\n one  two \n\t\nthree\r\nfour")
    assert found == [(2, "one two", None), (4, "three", None), (5, "four", None)]
    assert notes == ["a.txt: 2 blank lines skipped (first at lines 1, 3)"]


def test_only_the_first_lines_are_named(tmp_path):
    _, notes = read(tmp_path / "a.txt", "x\n" + "\n" * 2000)
    assert notes == ["a.txt: 2,000 blank lines skipped (first at lines 2, 3, 4)"]


@pytest.mark.parametrize("space", ["\t", "\u00a0", "\u3000", "\x1c", "\x0b", "\u2028", "\x85"])
def test_white_space_of_any_kind_becomes_one_blank(tmp_path, space):
    assert read(tmp_path / "a.txt", f"a{space}b{space}")[0] == [(1, "a b", None)]


def test_invalid_utf8(tmp_path):
    found, notes = read(tmp_path / "a.txt", b"fine\n\xff\xfe\ncaf\xc3\xa9\n\xc3\n")
    assert found == [(1, "fine", None), (3, "café", None)]
    assert notes == ["a.txt: 2 lines of invalid UTF-8 skipped (first at lines 2, 4)"]


def test_byte_order_mark(tmp_path):
    assert read(tmp_path / "a.txt", b"\xef\xbb\xbfone\n")[0] == [(1, "one", None)]


@pytest.mark.parametrize("end", ["\nshort\n", ""])
def test_over_long_lines_are_not_held_in_memory(tmp_path, end):
    found, notes = read(tmp_path / "a.txt", "first\n" + "x " * LONGEST_LINE + end)
    assert found == [(1, "first", None), *([(3, "short", None)] if end else [])]
    assert notes == ["a.txt: 1 over-long lines (1 MiB or more) skipped (at line 2)"]


def test_tsv_by_number(tmp_path):
    text = 'greet\t"hi there\n\nbye\nleave\tsee\tyou\n\tno label\nleave\t \n'
    found, notes = read(tmp_path / "a.tsv", text, columns={"text": 1, "label": 0})
    assert found == [(1, '"hi there', "greet"), (5, "no label", None)]
    assert notes == [
        "a.tsv: 2 blank lines skipped (first at lines 2, 6)",
        "a.tsv: 2 lines without the 2 columns of the first line skipped (first at lines 3, 4)",
    ]


def test_csv_by_name_with_quotes_over_lines(tmp_path):
    text = 'id,text,kind\n1,"a, ""b""\nc",x\n2,d,\n3,e\n'
    found, notes = read(tmp_path / "a.csv", text, columns={"text": "text", "label": "kind"})
    assert found == [(2, 'a, "b" c', "x"), (4, "d", None)]
    assert notes == ["a.csv: 1 lines without the 3 columns of the first line skipped (at line 5)"]


def test_csv_with_a_quote_never_closed(tmp_path):
    text = "text\nfine\n" + '"open\n' + ("filler " * 20 + "\n") * 2000
    found, notes = read(tmp_path / "a.csv", text, columns={"text": "text"})
    assert found[0] == (2, "fine", None)
    assert any("broken CSV rows skipped (at line 3)" in note for note in notes)


def test_header_can_be_stated(tmp_path):
    path = tmp_path / "a.tsv"
    assert read(path, "x\ny\n", columns={"text": 0}, header=True)[0] == [(2, "y", None)]
    assert read(path, "x\ny\n", columns={"text": 0})[0] == [(1, "x", None), (2, "y", None)]
    with pytest.raises(ConfigError, match=r"data\.header=false"):
        read(path, "x\ny\n", columns={"text": "text"}, header=False)


def test_jsonl(tmp_path):
    lines = [
        '{"s": "one", "y": 3}',
        "",
        "{broken",
        '["list"]',
        '{"y": 1}',
        '{"s": "\\ud800"}',
        '{"s": "two", "y": null}',
    ]
    found, notes = read(tmp_path / "a.jsonl", "\n".join(lines), columns={"text": "s", "label": "y"})
    assert found == [(1, "one", "3"), (7, "two", None)]
    assert notes == [
        "a.jsonl: 1 blank lines skipped (at line 2)",
        "a.jsonl: 1 lines of broken JSON skipped (at line 3)",
        "a.jsonl: 1 lines of invalid UTF-8 skipped (at line 6)",
        "a.jsonl: 1 lines that are no JSON object skipped (at line 4)",
        "a.jsonl: 1 lines without text under 's' skipped (at line 5)",
    ]


def test_gzip(tmp_path):
    assert read(tmp_path / "a.tsv.gz", gzip.compress(b"x\ty\n"), columns={"text": 1})[0] == [(1, "y", None)]


@pytest.mark.parametrize("content", [b"not gzip", gzip.compress(b"word " * 999, mtime=0)[:-12]])
def test_broken_gzip(tmp_path, content):
    with pytest.raises(DataError, match=r"a\.txt\.gz: cannot be read"):
        read(tmp_path / "a.txt.gz", content)


@pytest.mark.parametrize(
    ("name", "content", "cfg", "says"),
    [
        ("a.tsv", "x\ty\n", {"columns": {"text": 2}}, "has no column 2: its first line has 2 columns"),
        ("a.csv", "id,body\n", {"columns": {"text": "text"}}, "has no column 'text'; its first line names id, body"),
        ("a.jsonl", '{"body": "x"}\n', {"columns": {"text": "text"}}, "its keys are body"),
    ],
)
def test_missing_columns(tmp_path, name, content, cfg, says):
    with pytest.raises(DataError, match=says):
        read(tmp_path / name, content, **cfg)


@pytest.mark.parametrize(
    ("name", "cfg", "says"),
    [
        ("a.dat", {}, "does not show in the file's name"),
        ("noending", {}, "does not show in the file's name"),
        ("a.txt", {"columns": {"text": "text", "label": "y"}}, "which has no columns"),
    ],
)
def test_layouts_that_cannot_be(tmp_path, name, cfg, says):
    with pytest.raises(ConfigError, match=says):
        layout(tmp_path / name, cfg)
