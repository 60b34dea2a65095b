"""Files of lines: rewrites of test texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvexp.data import lines
from lvexp.errors import ConfigError, DataError


def test_a_rewrite_is_a_line_or_what_follows_its_last_tab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "human.txt").write_text("so good\nso bad\tso good\n3\tso bad\tso fine\n", encoding="utf-8")
    for name in ("~/human.txt", str(tmp_path / "human.txt")):
        assert lines.rewrites(name, 3) == ["so good", "so good", "so fine"]


@pytest.mark.parametrize(
    ("name", "content", "error", "said"),
    [
        ("two.txt", b"a\nb\n", ConfigError, "two.txt: has 2 lines, and the test set has 3 texts"),
        ("latin.txt", "Straße\n".encode("latin-1") * 3, DataError, "latin.txt: cannot be read: is not in UTF-8"),
        ("empty.txt", b"", DataError, "empty.txt: holds no lines"),
        ("rows.npy", b"", ConfigError, "rows.npy: holds feature vectors, not texts"),
    ],
)
def test_files_that_hold_no_rewrites(name: str, content: bytes, error: type[Exception], said: str, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error) as found:
        lines.rewrites(str(tmp_path / name), 3)
    assert str(found.value).startswith(f"evaluation.references={tmp_path / name}: ")
    assert said in str(found.value)
    assert "evaluation.references=null" in str(found.value).partition("\ntry  ")[2]
