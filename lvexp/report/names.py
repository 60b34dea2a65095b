"""Short names of groups of runs: what sets them apart, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

#: keys that say where a run is computed, where its files are or what it is called, and those of the corpus's files
_QUIET = (
    *("seed", "data.seed", "name", "force", "objective", "paths", "logger", "hydra", "regularizer.lm_init.run"),
    *("trainer.threads", "trainer.accelerator", "trainer.devices", "trainer.strategy", "trainer.profiler"),
    *("trainer.checkpoint_steps", "trainer.log_every_n_steps"),
    *("data.root", "data.files", "data.sources", "data.hf", "data.cache"),
)


def names(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Group id → name, for a result of each group.

    A name consists of the overrides that not all groups share. If it would be part of another one's, such as
    ``model=svae`` of ``model=svae regularizer=none``, the options that the group has instead are added. Groups that
    were typed alike are told apart by their commit or, if that is the same, by their id.
    """
    typed = {group: _typed(result) for group, result in groups.items()}
    keys = {key for words in typed.values() for key in words}
    apart = {key for key in keys if len({_value(groups[group], typed[group], key) for group in groups}) > 1}
    own = {
        group: {key: _value(groups[group], words, key) for key in words if key in apart}
        for group, words in typed.items()
    }
    having: dict[tuple[str, str | None], list[dict[str, str | None]]] = {}
    for mine in own.values():
        for item in mine.items():
            having.setdefault(item, []).append(mine)
    found: dict[str, str] = {}
    for group, mine in own.items():
        told = dict(mine)
        # of another name, a part of it is: so is its rarest word
        for theirs in min((having[item] for item in mine.items()), key=len, default=own.values()):
            if mine.items() < theirs.items():
                instead = {key: _value(groups[group], typed[group], key) for key in theirs if key not in told}
                told |= {key: value for key, value in instead.items() if value is not None}
        words = [_word(key, str(value)) for key, value in told.items()]
        found[group] = " ".join(words) or str(groups[group]["choices"]["model"])
    return _unique(found, groups)


def _typed(result: Mapping[str, Any]) -> dict[str, str]:
    """The overrides of a run that say what it computes: key → value."""
    pairs = (word.lstrip("+").partition("=") for word in result["overrides"])
    return {key: value for key, _, value in pairs if not _quiet(key)}


def _quiet(key: str) -> bool:
    return any(key == quiet or key.startswith((f"{quiet}.", f"{quiet}/")) for quiet in _QUIET)


def _value(result: Mapping[str, Any], typed: Mapping[str, str], key: str) -> str | None:
    """The option that a run has of a group, whether typed or not; the typed value of another key."""
    option = result["choices"].get(key)
    if isinstance(option, Sequence) and not isinstance(option, str):
        return ",".join(option) or "none"
    return typed.get(key) if option is None else str(option)


def _word(key: str, value: str) -> str:
    if key == "arm":
        return value
    short = value.rstrip("/").rpartition("/")[2] if "/" in value else value
    return f"{key.removeprefix('regularizer.')}={short}" if value or not key.startswith("~") else key


def _unique(found: Mapping[str, str], groups: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    alike = {name for name, count in Counter(found.values()).items() if count > 1}
    commits = {group: (groups[group].get("commit") or "")[:7] for group in groups}
    dated = Counter((name, commits[group]) for group, name in found.items())

    def told(group: str, name: str) -> str:
        if name not in alike:
            return name
        if commits[group] and dated[name, commits[group]] == 1:
            return f"{name} @{commits[group]}"
        return f"{name} ({group.rpartition('-')[2]})"

    return {group: told(group, name) for group, name in found.items()}
