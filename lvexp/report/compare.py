"""Finished runs to compare: where they are found, and which of them belong into one table."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lvexp.data.settings import DataSettings
from lvexp.errors import LvexpError, RunError
from lvexp.report.names import names
from lvexp.report.result import EVALUATIONS, MARK, RESULT

Result = Mapping[str, Any]
#: the parts of a result that are kept
KEPT = (
    *("run_id", "group_id", "seed", "commit", "overrides", "choices", "verdict"),
    *("seconds", "steps", "epochs", "tokens_per_second", "test", "valid", "data"),
)
_PLACES = ("paths.", "data.root=", "data.cache=", "hydra.", "evaluation.language_model=", "evaluation.references=")
#: folders of a run that hold no other run: later evaluations are of this one
_PARTS = {EVALUATIONS, "checkpoints", "figures", "wandb", "tensorboard", ".hydra"}
#: what a comparison cannot do without
_NEEDED = {"run_id": str, "group_id": str, "overrides": list, "choices": dict, "test": dict}
_TRY = "try  the folder of a sweep, outputs/<name>"


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed, and the name that sets them apart from the others of their table."""

    name: str
    runs: tuple[Result, ...]

    @property
    def id(self) -> str:
        return self.runs[0]["group_id"]


@dataclass(frozen=True)
class Table:
    """Groups on the same texts in the same tokens, whose likelihoods can be compared."""

    corpus: str
    groups: tuple[Group, ...]

    @property
    def unit(self) -> str:
        """What one x of the corpus is called."""
        return str(self.groups[0].runs[0]["test"].get("unit") or "text")


def finished(*sources: Path, note: Callable[[str], object] = lambda text: None) -> list[Result]:
    """The results of run folders, of all runs below other folders, and of kept ``.jsonl`` files; each run once. Where
    it comes from a run folder, a result has its ``folder`` and its corpus's settings as well.

    Args:
        note: is told of runs that are left out: diverged, failed or unfinished ones.

    Raises:
        RunError: a source cannot be read, or there are no finished runs.
    """
    found: dict[str, Result] = {}
    left: dict[str, list[str]] = {}
    for source in sources:
        for result in _kept(source) if source.is_file() else _below(source, left):
            if result.get("status") == "failed":
                left.setdefault("diverged", []).append(result["run_id"])
                continue
            kept = found.get(result["run_id"], {})
            if kept and kept["test"] != result["test"]:
                note(f"{result['run_id']}: found twice, with different figures; those of {source} are used")
                kept = {}
            found[result["run_id"]] = {**{key: kept[key] for key in ("folder", "data") if key in kept}, **result}
    told = ", ".join(map(str, sources))
    for what, ids in left.items():
        note(f"{told}: left out, {what}: {', '.join(ids[:5])}{f' and {len(ids) - 5} more' if len(ids) > 5 else ''}")
    if not found:
        raise RunError(f"{told}: no finished runs found\n{_TRY}")
    return list(found.values())


def _kept(source: Path) -> list[Result]:
    """The results in a file: one a line, or ``result.json`` itself."""
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{source}: cannot be read\n{_TRY}, or a .jsonl file of kept results") from error
    parts = [text] if source.suffix == ".json" else [line for line in text.splitlines() if line.strip()]
    return [_result(part, f"{source}:{number}") for number, part in enumerate(parts, 1)]


def _below(source: Path, left: dict[str, list[str]]) -> Iterable[Result]:
    if not source.is_dir():
        raise RunError(f"{source}: there is no such file or folder\n{_TRY}")
    for place, inside, files in os.walk(source):
        folder = Path(place)
        if RESULT in files:
            yield read(folder)
        elif MARK in files:
            what = "failed" if "error.txt" in files else "unfinished"
            left.setdefault(what, []).append(folder.name)
        inside[:] = sorted({*inside} - _PARTS if MARK in files or RESULT in files else inside)


def read(folder: Path) -> Result:
    """The result of a finished run, with its ``folder`` and its corpus's settings.

    Raises:
        RunError: it is damaged.
    """
    path = folder / RESULT
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read\n{_TRY}") from error
    result = _result(text, str(path))
    data = dict(result.get("data") or {})
    if (settings := _settings(folder / ".hydra" / "config.yaml")) is not None:
        data["settings"] = settings
    return {**result, "folder": str(folder), **({"data": data} if data else {})}


def _result(text: str, where: str) -> Result:
    try:
        result = json.loads(text)
    except ValueError as error:
        raise RunError(f"{where}: is not JSON: {error}\ntry  without it, or run it again with force=true") from error
    wrong = [
        key for key, kind in _NEEDED.items() if not isinstance(result, dict) or not isinstance(result.get(key), kind)
    ]
    if wrong:
        raise RunError(f"{where}: is no result of lvexp, it has no {', '.join(wrong)}\n{_TRY}")
    return result


def _settings(file: Path) -> Result | None:
    """What the run's configuration says of its texts and tokens, as JSON has it; None where that is not known."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    # the part on data alone: most runs of a sweep share it, and reading a whole configuration takes 50 ms
    part = re.search(r"^data:\n(?:(?: .*)?\n)+", text, re.MULTILINE)
    return _compared(part[0] if part else text)


@functools.lru_cache(maxsize=64)
def _compared(text: str) -> Result | None:
    try:
        plain = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        return json.loads(json.dumps(DataSettings.of(plain["data"]).compared()))  # type: ignore[index, call-overload]
    except (OmegaConfBaseException, YAMLError, LvexpError, KeyError, TypeError, ValueError):
        return None


def lines(results: Iterable[Result]) -> str:
    """Results as lines of a ``.jsonl`` file, with only the parts that a comparison uses, and without the overrides that
    say where a machine has its files."""
    kept = [{key: result[key] for key in KEPT if key in result} for result in results]
    for result in kept:
        result["overrides"] = [word for word in result["overrides"] if not word.lstrip("+").startswith(_PLACES)]
    return "".join(json.dumps(result) + "\n" for result in kept)


def tables(results: Iterable[Result]) -> list[Table]:
    """Results by the texts and tokens that they are about, and in each table by everything but the seed."""
    corpora: dict[str, list[Result]] = {}
    for result in results:
        corpora.setdefault(json.dumps(_corpus(result), sort_keys=True), []).append(result)
    titles = _titles([runs[0] for runs in corpora.values()])
    return [Table(title, _groups(runs)) for title, runs in zip(titles, corpora.values(), strict=True)]


def _groups(results: Sequence[Result]) -> tuple[Group, ...]:
    by_id: dict[str, list[Result]] = {}
    for result in results:
        by_id.setdefault(result["group_id"], []).append(result)
    named = names({group: runs[0] for group, runs in by_id.items()})
    return tuple(Group(named[group], tuple(runs)) for group, runs in by_id.items())


def _corpus(result: Result) -> dict[str, Any]:
    """The texts and their tokens. Where the settings are not recorded, what was typed of them."""
    data = result.get("data") or {}
    if data.get("settings") is not None:
        return {"fingerprint": data.get("fingerprint"), **data["settings"]}
    typed = [word.lstrip("+").partition("=") for word in result["overrides"]]
    about = ("data.vocabulary", "data.columns", "data.split", "data.counts", "data.files", "data.max_length")
    return {
        "name": _name(result), "experiment": result["choices"].get("experiment"),
        "fingerprint": data.get("fingerprint"),
        **{key.removeprefix("data."): value for key, _, value in typed if key.startswith(about)},
    }  # fmt: skip


def _name(result: Result) -> str:
    return str(result["choices"].get("data") or "corpus")


def _titles(firsts: Sequence[Result]) -> list[str]:
    """A title for each corpus: its name, and what sets it apart from others of that name."""
    titles = []
    for result in firsts:
        mine = _corpus(result)
        others = [_corpus(other) for other in firsts if other is not result and _name(other) == _name(result)]
        others = [other for other in others if ("name" in other) == ("name" in mine)]
        apart = [key for key in mine if any(other.get(key) != mine[key] for other in others)]
        words = [f"texts {str(mine[key])[:8]}" if key == "fingerprint" else f"{key}={mine[key]}" for key in apart]
        words += ["settings not recorded"] if "name" in mine and len(firsts) > 1 else []
        titles.append(_name(result) + (f" ({', '.join(words)})" if words else ""))
    return titles
