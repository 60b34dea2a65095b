"""A finished run taken up again: evaluated anew (``evaluate=RUN``), trained on (``resume=RUN``), or the start of
another one (``finetune=RUN``). Free of torch.

All repeat the choices of the run, which its ``.hydra`` folder has, followed by what was typed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lvexp.checks import parent
from lvexp.checks.limits import typed as typed_as
from lvexp.data.settings import UTF8
from lvexp.errors import ConfigError, RunError
from lvexp.job.identity import DONE, VOLATILE, VOLATILE_TRAINER
from lvexp.report.result import EVALUATIONS, RESULT

WAYS = ("evaluate", "resume", "finetune")
#: what an evaluation may choose: groups, and keys of other groups
_GROUPS = ("evaluation", "instrument", "trainer", "paths", "hydra", "logger", "force", "name", "evaluate")
_KEYS = ("data.files.test", "data.sources.test", "data.files.judge", "data.root", "data.cache", "data.eval_batch_size")
_KEYS += ("data.format", "data.header", "data.columns.text", "data.columns.label", "data.columns.source")
_KEYS += ("data.columns.tags", "data.encoding")
#: what a run that is trained on may choose
_LIMITS = ("max_epochs", "max_steps", "max_time", "patience")
_CHOOSABLE = (*VOLATILE, "evaluation", "instrument")
_VOCABULARY = "data.vocabulary.run"


def words(typed: Sequence[str]) -> list[str]:
    """The words of the command line: those of the run that one of them names, and those typed.

    Raises:
        RunError: the folder holds no finished run. ConfigError: a word asks for another model.
    """
    asked = {way: word for word in typed for way in WAYS if _key(word) == way and not word.endswith(("=null", "="))}
    if not asked:
        return list(typed)
    if len(asked) > 1:
        raise ConfigError(f"{' '.join(asked.values())}: asks for {len(asked)} things at once\ntry  one of them")
    ((way, word),) = asked.items()
    folder = Path(word.partition("=")[2].strip("'\"")).expanduser()
    known = _typed_then(folder, word)
    if way == "resume":  # all of it: a run that another one started from is trained on as such
        return [*known, *typed]
    known = [part for part in known if _key(part) not in ("finetune", _VOCABULARY)]
    if way == "finetune":
        keys = {_key(other) for other in filter(_is_override, typed)}
        known = [part for part in known if not any(_key(part).startswith((f"{key}.", f"{key}@")) for key in keys)]
        if "data" in keys:  # another corpus, read in the same way
            known += [f"++data.{key}={_quoted(value)}" for key, value in parent.reading(folder).items()]
        known.append(f"++{_VOCABULARY}={word.partition('=')[2]}")
    if way == "evaluate":
        for other in filter(_is_override, typed):
            key = _key(other)
            if key.split(".")[0].split("@")[0] not in _GROUPS and key not in _KEYS:
                raise ConfigError(
                    f"{word} {other}: the run is trained already, and this would change its model or its training\n"
                    f"try  evaluation.…, {', '.join(f'{name}=…' for name in _KEYS[:2])} | leave out {word}"
                )
        place = folder.resolve() / EVALUATIONS
        known += [f"hydra.run.dir='{place}/${{evaluation_id:}}'", f"hydra.sweep.dir='{place}'"]
        known.append("hydra.sweep.subdir=${evaluation_id:}")
        typed = [_here(other) for other in typed]
    return [*known, *typed]


def _typed_then(folder: Path, word: str) -> list[str]:
    """What was typed for a finished run."""
    if not (folder / DONE).exists():
        why = "this run has not ended" if (folder / ".hydra").is_dir() else "there is no finished run"
        again = "" if "resume" not in word else " | an interrupted job continues when its own words are typed again"
        raise RunError(f"{word}: {why}\ntry  {_key(word)}=DIR, the folder that a run printed as its own{again}")
    try:
        found = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "overrides.yaml"), resolve=False)
    except Exception as error:  # yaml raises errors of several classes for a damaged file
        raise RunError(
            f"{word}: its .hydra/overrides.yaml is missing or damaged\ntry  another copy of the run"
        ) from error
    kept = [str(part) for part in (found if isinstance(found, list) else [])]
    again = ("evaluate", "resume", "force")
    return [part for part in kept if _key(part) not in again and not _key(part).startswith("hydra")]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+~")


def _here(word: str) -> str:
    """A file of test texts in the current directory, wherever the run's own texts are; any other word as it is."""
    key, _, value = word.partition("=")
    file = Path(value.strip("'\"")).expanduser()
    return f"{key}='{file.resolve()}'" if key in _KEYS[:2] and value and file.is_file() else word


def _quoted(value: Any) -> str:
    return typed_as(value) if not isinstance(value, str) else "'" + value.replace("'", r"\'") + "'"


def _is_override(word: str) -> bool:
    return "=" in word and not word.startswith("-")


def check_continued(word: str, folder: Path, was: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Rejects a configuration that a finished run cannot be trained on with.

    Args:
        word: what was typed. folder: of the finished run.
        was: the configuration in its checkpoint. now: that of the longer run, in the same form.

    Raises:
        ConfigError: more than the length of training differs, or the run has ended at that length already.
    """
    differing = sorted(_differing(_kept(was), _kept(now)))
    if differing:
        raise ConfigError(
            f"{word}: the run was trained with another {', '.join(differing[:5])}\n"
            "try  the same choices, and only trainer.max_epochs, max_steps or patience of its own"
        )
    result = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    limits, before = now["trainer"], was["trainer"]
    ended = f"{result.get('epochs')} epochs, {result.get('steps')} steps"
    if all(limits.get(name) == before.get(name) for name in _LIMITS):
        raise ConfigError(f"{word}: the run has ended after {ended}\ntry  trainer.max_epochs=N, more than that")
    epochs, steps = limits["max_epochs"], limits["max_steps"]
    if 0 <= epochs <= int(result.get("epochs") or 0) or 0 <= steps <= int(result.get("steps") or 0):
        raise ConfigError(
            f"{word} trainer.max_epochs={epochs} trainer.max_steps={steps}: the run has had {ended}\n"
            "try  trainer.max_epochs=N, more than that"
        )
    stopped = before["max_epochs"] > int(result.get("epochs") or 0) and before["max_steps"] < 0
    if stopped and limits["patience"] == before["patience"]:
        raise ConfigError(
            f"{word}: its validations had stopped improving, so it ended by itself after {ended}\n"
            "try  trainer.patience=N, more than before; 0 never stops"
        )


def _kept(config: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a configuration that must be the same."""
    kept = {key: value for key, value in config.items() if key not in _CHOOSABLE}
    kept["trainer"] = {
        key: value for key, value in config["trainer"].items() if key not in (*_LIMITS, *VOLATILE_TRAINER)
    }
    kept["data"] = {
        key: value for key, value in config["data"].items() if key not in ("root", "cache", "files", "sources", "hf")
    }
    if kept["data"].get("encoding") == UTF8:  # as before there was the key
        del kept["data"]["encoding"]
    return kept


def _differing(was: Any, now: Any, path: str = "") -> Iterable[str]:
    if isinstance(was, Mapping) and isinstance(now, Mapping):
        for key in {*was, *now}:
            yield from _differing(was.get(key), now.get(key), f"{path}.{key}" if path else str(key))
    elif was != now:
        yield path
