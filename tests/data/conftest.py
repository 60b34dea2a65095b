from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from lvexp.data.corpus import Corpus, open_corpus
from lvexp.data.settings import DataSettings

# How long an example takes says more about the machine than about the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

CFG: dict[str, Any] = {
    "name": "text",
    "root": None,
    "files": {"train": None, "valid": None, "test": None},
    "format": "auto",
    "header": None,
    "columns": {"text": "text", "label": None},
    "split": {"valid": 0.2, "test": 0.2, "seed": 0},
    "lowercase": False,
    "vocabulary": {"kind": "words", "max_size": 1000, "min_count": 1},
    "max_length": 200,
    "long": "drop",
    "batch_size": 4,
    "eval_batch_size": 4,
    "cache": None,
}
Make = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("LVEXP_CACHE", str(folder))
    return folder


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Writes files and returns the settings of a corpus of them: ``make("a b\\n", suffix=".txt", **settings)``.

    Validation and test are the file of train unless given; ``cut=True`` leaves them to be cut from it.
    """

    def build(
        train: str | bytes,
        valid: str | bytes | None = None,
        test: str | bytes | None = None,
        *,
        suffix: str = ".txt",
        cut: bool = False,
        **settings: Any,
    ) -> dict[str, Any]:
        cfg = copy.deepcopy(CFG) | {"root": str(tmp_path)}
        for split, content in {"train": train, "valid": valid, "test": test}.items():
            if content is None and split != "train":
                cfg["files"][split] = None if cut else f"train{suffix}"
                continue
            assert content is not None
            (tmp_path / f"{split}{suffix}").write_bytes(content.encode() if isinstance(content, str) else content)
            cfg["files"][split] = f"{split}{suffix}"
        for key, value in settings.items():
            cfg[key] = cfg[key] | value if isinstance(value, dict) else value
        return cfg

    return build


def sentences(count: int, longest: int = 9) -> str:
    """``count`` different sentences of 1 to ``longest`` words, deterministic."""
    lines = (
        " ".join([f"n{number}", *(f"w{number * step % 17}" for step in range(1, number * 7 % longest + 1))])
        for number in range(count)
    )
    return "\n".join(lines) + "\n"


def opened(data: dict[str, Any]) -> Corpus:
    """The corpus of a plain configuration."""
    return open_corpus(DataSettings.of(data))
