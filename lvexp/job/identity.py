"""What makes two runs the same: the run id, the group id, and the marks that a finished run leaves. Free of torch."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lvexp.checks import parent
from lvexp.checks.declarations import DECLARED
from lvexp.checks.refusals import resolved
from lvexp.data.settings import LATER, OF_A_RUN, UTF8, Place
from lvexp.data.source import fingerprint
from lvexp.errors import ConfigError

#: groups and keys that do not change what a run computes
VOLATILE = ("hydra", "logger", "paths", "force", "name", "objective", "evaluate", "resume", "finetune")
VOLATILE_TRAINER = (
    "accelerator",
    "devices",  # except their number, which sets the number of batches in a step
    "strategy",
    "profiler",
    "threads",
    "checkpoint_steps",
    "log_every_n_steps",
)
_VOLATILE_DATA = ("root", "files", "sources", "hf", "cache")  # the texts matter, not where they are
DONE, REFUSED = "DONE", "REFUSED"


def essence(config: DictConfig) -> dict[str, Any]:
    """The part of a configuration that determines the result, resolved, with the fingerprint of the texts."""
    plain = resolved(config, leave_out=VOLATILE)
    data = plain["data"]
    texts = fingerprint(Place.of(data))
    plain["data"] = {key: value for key, value in data.items() if key not in _VOLATILE_DATA} | {"texts": texts}
    if isinstance(columns := data.get("columns"), dict):
        # without these columns, a corpus is what it was before there were the keys
        later = [key for key in LATER if columns.get(key) in (None, [])]
        plain["data"]["columns"] = {key: value for key, value in columns.items() if key not in later}
    if not {"labels", "tags"} & {*(plain["model"].get("requires") or [])}:
        for key in ("labelled", "balance"):  # such a model never sees them
            plain["data"].pop(key, None)
    if data.get("transductive") is False:
        plain["data"].pop("transductive")
    if plain["trainer"].get("gradient_clip_algorithm") == "norm":
        plain["trainer"].pop("gradient_clip_algorithm")
    if data.get("encoding") == UTF8:
        plain["data"].pop("encoding")
    count = devices(plain["trainer"])
    plain["trainer"] = {key: value for key, value in plain["trainer"].items() if key not in VOLATILE_TRAINER}
    if count != 1:
        plain["trainer"]["devices"] = count
    if path := (plain.get("embeddings") or {}).get("path"):
        plain["embeddings"]["path"] = _content(path)
        plain["model"]["embeddings"] = plain["embeddings"]
    if path := plain["init"].get("path"):
        plain["init"]["path"] = _content(path)
    for group in ("instrument", "callbacks", "scheduler", "prior"):
        if not plain.get(group):  # such a run is what it was before there was this group
            plain.pop(group, None)
    plain["evaluation"] = _measured(plain["evaluation"])
    if config.get("finetune") is not None:  # the run counts, not where it lies
        plain["finetune"] = parent.run_id(config.finetune)
    if isinstance(words := plain["data"].get("vocabulary"), dict):
        unread = OF_A_RUN if words.get("run") else ("run",)
        kept = {key: value for key, value in words.items() if key not in unread}
        plain["data"]["vocabulary"] = kept | ({"run": parent.run_id(words["run"])} if words.get("run") else {})
    for option in [*(plain.get("regularizer") or {}).values(), plain["latent"]]:
        for key, sizes in parent.named(option or {}):
            if not sizes or option.get(key) is not None:
                option[key] = parent.run_id(option.get(key))
    return {key: arguments(value) if isinstance(value, dict) else value for key, value in plain.items()}


def _measured(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an evaluation, with the content of files and runs, not where they lie."""
    known = {"references": _content, "language_model": parent.run_id, "sampler": str, "noise": str, "iw_words": str}
    found = {key: value for key, value in evaluation.items() if key not in known or value is not None}
    return found | {key: read(str(found[key])) for key, read in known.items() if key in found}


def devices(trainer: Mapping[str, Any]) -> int | str:
    """Number of devices in ``trainer.devices``, each a process: a number, a list of them, or Lightning's "2", "0,1".
    "auto" and -1 mean all devices, which only torch could count: they are returned unchanged, except on a CPU, where
    they mean 1."""
    typed = trainer["devices"]
    if isinstance(typed, list | tuple):
        return len(typed)
    typed = str(typed).strip()
    if "," in typed:
        return len([number for number in typed.split(",") if number.strip()])
    if typed in ("auto", "-1"):
        return 1 if trainer["accelerator"] == "cpu" else "auto"
    return int(typed) if typed.isdecimal() else typed


@functools.cache
def _content(path: str) -> str:
    """A hash of a file's content, independent of its path; its name if it cannot be read."""
    path = os.path.expanduser(path)
    if not os.path.isfile(path):  # reading would wait for a pipe
        return path
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError:
        return path


def arguments(option: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an option: its yaml without declarations (:mod:`lvexp.checks.declarations`) and ignored keys."""
    left_out = {*DECLARED, *(option.get("ignores") or ())}
    kept = {str(key): value for key, value in option.items() if key not in left_out}
    return {key: arguments(value) if isinstance(value, Mapping) else value for key, value in kept.items()}


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:10]


def run_id(config: DictConfig, model: str) -> str:
    """A hash of everything that determines the result, preceded by the model's name for human readers.

    The same job has the same id, however its overrides are spelled.
    """
    return f"{model}-{_digest(essence(config))}"


def group_id(config: DictConfig, model: str) -> str:
    """The run id without the seed: runs that differ only in their seed share it, for mean ± sd."""
    kept = essence(config)
    seeded = {key: value for key, value in kept.items() if key != "seed"}
    seeded["data"] = {key: value for key, value in kept["data"].items() if key != "seed"}
    return f"{model}-{_digest(seeded)}"


def evaluation_id(config: DictConfig) -> str:
    """A hash of what a later evaluation of a finished run measures, and on which texts."""
    plain = resolved(config, leave_out=VOLATILE)
    place = Place.of(plain["data"])
    texts = [fingerprint(place), fingerprint(place, ("test",))]  # those of training need not be there
    evaluation = _measured(plain["evaluation"])
    return _digest({"evaluation": evaluation, "instrument": plain.get("instrument"), "texts": texts})


def register() -> None:
    """Registers resolvers with OmegaConf: ``${run_id:}``, for the name of the run folder, and ``${evaluation_id:}``,
    for that of a later evaluation; ``${within:outputs,name}``, a folder inside another; ``${share:0.5}``, a share of
    ``trainer.max_epochs``. ``${share:0.3,whole}`` is rounded, and at least 1. ``${source:de-en}`` and
    ``${target:de-en}`` are the two sides of a pair."""

    def resolve(_root_: DictConfig) -> str:
        try:
            return run_id(_root_, _root_.hydra.runtime.choices.model)
        except (AttributeError, KeyError, TypeError, ValueError):
            return "unreadable"  # a value of another type: the checks, which come next, name it

    def resolve_evaluation(_root_: DictConfig) -> str:
        try:
            return evaluation_id(_root_)
        except (AttributeError, KeyError, TypeError, ValueError):
            return "unreadable"

    def within(outputs: Any, name: Any) -> str:
        # before Hydra, which creates the folder before any of our checks
        if ".." in Path(str(name)).parts:
            raise ConfigError(f"name={name}: it leads out of {outputs}\ntry  name=NAME | paths.outputs=DIR")
        return f"{outputs}/{name}"

    def share(part: float, whole: str | None = None, *, _root_: DictConfig) -> float:
        epochs = _root_.trainer.max_epochs
        if epochs < 1:
            raise ConfigError(
                f"trainer.max_epochs={epochs}: this arm needs a share of them\ntry  trainer.max_epochs=15"
            )
        return max(1, round(part * epochs)) if whole else float(part * epochs)

    def side(number: int, pair: Any) -> str:
        found = str(pair).split("-")
        return found[number] if len(found) == 2 else str(pair)  # a value that is no pair: the checks name it

    OmegaConf.register_new_resolver("source", functools.partial(side, 0), replace=True)
    OmegaConf.register_new_resolver("target", functools.partial(side, 1), replace=True)
    OmegaConf.register_new_resolver("run_id", resolve, replace=True)
    OmegaConf.register_new_resolver("evaluation_id", resolve_evaluation, replace=True)
    OmegaConf.register_new_resolver("within", within, replace=True)
    OmegaConf.register_new_resolver("share", share, replace=True)


def code(config: Mapping[str, Any]) -> dict[str, str]:
    """Hashes of the code that determines a result: this package, and the file of each class of the user's own."""
    package = Path(__file__).parent
    found = {"lvexp": _hash(*sorted(package.rglob("*.py")))}
    for target in sorted(_targets(config)):
        if target.split(".")[0] not in ("lvexp", "torch", "lightning") and (file := _source(target)):
            found[target] = _hash(file)
    return found


def _targets(node: Any) -> set[str]:
    """The classes that a configuration names, at any depth."""
    if isinstance(node, Mapping):
        own = {node["_target_"]} if isinstance(node.get("_target_"), str) else set()
        return own.union(*map(_targets, node.values()))
    return set().union(*map(_targets, node)) if isinstance(node, list | tuple) else set()


def _source(target: str) -> Path | None:
    """The file that holds a class, named by its dotted path."""
    module = target
    while "." in module:
        module = module.rpartition(".")[0]
        with contextlib.suppress(Exception):  # it may name a class, or its import may fail
            if (spec := importlib.util.find_spec(module)) and spec.origin and Path(spec.origin).is_file():
                return Path(spec.origin)
    return None


def _hash(*files: Path) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


def version() -> str:
    """The version of the installed package; "unknown" if it runs from a checkout without being installed."""
    try:
        return importlib.metadata.version("lvexp")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def commit() -> str | None:
    """The code's git commit, with ``+`` if files differ from it; None outside a checkout."""
    try:
        here = Path(__file__).parent
        head = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--untracked-files=no"],
            cwd=here, capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip
        return head + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None
