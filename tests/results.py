"""Results of runs, made up."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

OPTIONS = {"model": "svae", "regularizer": ["free_bits"], "anneal": "constant", "data": "snips", "arm": None}
WORDS = {"vocabulary.kind": "words", "vocabulary.min_count": 2}


def result(group: str, seed: int, overrides: Sequence[str] = (), **test: Any) -> dict[str, Any]:
    """The result of a run with these figures; its options are those typed, or the usual ones."""
    typed = dict(word.split("=", 1) for word in overrides)
    options = {name: typed.get(name, usual) for name, usual in OPTIONS.items()}
    if isinstance(options["regularizer"], str):
        names = options["regularizer"].strip("[]").split(",")
        options["regularizer"] = [] if names == ["none"] else names
    return {
        "group_id": f"svae-{group}", "run_id": f"svae-{group}{seed}", "status": "done", "seed": seed,
        "seconds": 10.0 * seed, "overrides": [*overrides, f"seed={seed}"], "choices": options,
        "commit": "0123456789", "data": {"fingerprint": "f" * 32, "settings": WORDS}, "valid": {"nelbo": 2.0 * seed},
        "test": {"nll": None, "elbo": None, "distortion": None, "rate": None, "mi": None} | test,
    }  # fmt: skip


def write(folder: Path, results: Sequence[Mapping[str, Any]]) -> Path:
    """A folder with a run folder for each of them."""
    for one in results:
        run = folder / str(one["run_id"])
        run.mkdir(parents=True)
        (run / ".lvexp.json").write_text("{}")
        (run / "result.json").write_text(json.dumps(one))
    return folder


def scored(folder: Path, values: Mapping[str, Sequence[float]], figure: str = "nll", start: int = 0) -> None:
    """Figures of single texts, by run id."""
    for run, texts in values.items():
        rows = [json.dumps({"index": start + index, figure: value}) for index, value in enumerate(texts)]
        (folder / run / "scores.jsonl").write_text("\n".join(rows) + "\n")
