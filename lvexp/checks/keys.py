"""Keys: checks that every given key is read by its option. Free of torch.

A part of :mod:`lvexp.checks.refusals`. The arguments of a class are read from its source, without importing it. The
keys of a group without a class are those of its files; those of the trainer also include keys of Lightning that are
meaningful here.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib.util
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lvexp.checks.declarations import AROUND, CONDITIONAL, DECLARED, EMPTY, GROUPS, SEVERAL
from lvexp.checks.limits import typed
from lvexp.checks.targets import OURS
from lvexp.checks.values import yaml
from lvexp.errors import ConfigError

#: keys of Lightning's trainer in addition to those in conf/trainer/cpu.yaml
TRAINER = (
    *("num_nodes", "min_epochs", "min_steps", "max_time", "check_val_every_n_epoch", "deterministic", "benchmark"),
    *("detect_anomaly", "inference_mode", "sync_batchnorm"),
)
#: arguments that `build` passes to the classes, independent of the configuration
GIVEN = (
    *("vocabulary", "special", "features", "states", "code", "encoder", "decoder", "latent", "estimator", "anneal"),
    *("regularizers", "optimizer", "steps_per_epoch", "params", "new_encoder", "new_decoder", "sources"),
    *("info", "known", "attributes", "reader", "inference", "memories", "words"),
)
#: keys of a node in addition to the arguments of its class
_BESIDE = {"optimizer": ("decay",), "scheduler": ("interval", "horizon")}


def check(raw: Mapping[str, Any], choices: Mapping[str, Any], menu: Path) -> None:
    """Raises :class:`ConfigError` for a key that nothing reads.

    Args:
        raw: the configuration, unresolved, with its ``hydra`` node; a key that another value refers to counts as read.
        choices: group → option. menu: the folder of the options.
    """
    task = ((raw.get("hydra") or {}).get("overrides") or {}).get("task") or []
    asked = {str(word).lstrip("+~").partition("=")[0] for word in task}
    try:
        _check(raw, choices, menu)
    except _Unread as error:
        path, value, by, known = error.args
        raise _unread(path, value, by, known, path in asked or not task) from None


class _Unread(Exception):
    """A key that nothing reads: its path, its value, what does not read it, and the keys that this reads."""


def _check(raw: Mapping[str, Any], choices: Mapping[str, Any], menu: Path) -> None:
    config = yaml(menu / "config.yaml")[1]
    groups, referred = (*GROUPS, *AROUND, *SEVERAL, "hydra"), set(_referred(raw))
    for key, node in raw.items():
        if key in groups:
            continue
        if key not in config and key not in referred:
            raise _Unread(key, node, "nothing", [*config, *groups])
        if isinstance(node, Mapping) and isinstance(config.get(key), Mapping):
            _among(key, node, list(config[key]))
        elif isinstance(node, Mapping):  # a key of an option, such as the embeddings of a model
            file = menu / "model" / f"{choices.get('model')}.yaml"
            _among(key, node, list((yaml(file)[1].get(key) if file.exists() else None) or node))
    for group in (*GROUPS, "optimizer", "scheduler"):
        if group not in (*EMPTY, "scheduler") or raw.get(group):
            _class(group, raw.get(group) or {}, f"{group}={choices.get(group)}", menu / group, ())
    for group in SEVERAL:
        for name, node in (raw.get(group) or {}).items():
            _class(
                f"{group}.{name}", node if isinstance(node, Mapping) else {}, f"{group}={name}", menu / group, (name,)
            )
    _among("trainer", raw.get("trainer") or {}, [*yaml(menu / "trainer" / "cpu.yaml")[1], *TRAINER])
    _among("paths", raw.get("paths") or {}, [key for file in _files(menu / "paths") for key in yaml(file)[1]])


def _referred(node: Any) -> Iterator[str]:
    """Every name that occurs in a ``${…}``."""
    if isinstance(node, Mapping):
        for value in node.values():
            yield from _referred(value)
    elif isinstance(node, list):
        for value in node:
            yield from _referred(value)
    elif isinstance(node, str) and "${" in node:
        yield from re.findall(r"\w+", node[node.index("${") :])


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.yaml"))


def _class(path: str, node: Mapping[str, Any], option: str, folder: Path, inner: tuple[str, ...]) -> None:
    """Checks the keys of a node that becomes an object, and of the mappings in it. ``inner`` is the node's path within
    the files of ``folder``."""
    if path.partition(".")[0] in SEVERAL and "_target_" not in node:
        return  # not a chosen regularizer; `refusals` reports it
    target = typed(node.get("_target_"))
    ours = target.startswith(OURS)
    known = takes(target) if ours else None
    if not re.fullmatch(r"[^\W\d]\w*(\.\w+)+", target) or (ours and known is None):
        raise ConfigError(f"{path}._target_={target}: there is no such class\ntry  leave out {path}._target_")
    _of_its_own(path, node, known)
    if known is None:
        return  # a class of the user's own: errors appear when it is built
    free = {"_target_", *DECLARED, *(node.get("ignores") or ())}
    free |= {*_BESIDE.get(path, ())} | ({"_partial_"} if path.startswith("latent.") else set())
    given = {"data": ("known",), "prior": (*GIVEN, "dim")}.get(path, GIVEN)
    names = [name for name in known if name not in given]
    for key, value in node.items():
        if isinstance(value, Mapping) and "_target_" in value:
            _class(f"{path}.{key}", value, f"{path}.{key}", folder, (*inner, key))
        elif key not in free and key not in names:
            raise _Unread(f"{path}.{key}", value, option, names)
        elif isinstance(value, Mapping) and key not in DECLARED and (shown := list(_shown(folder, (*inner, key)))):
            _among(f"{path}.{key}", value, shown)
            if path == "optimizer":
                _all(f"{path}.{key}", value, shown)


def _of_its_own(path: str, node: Mapping[str, Any], known: tuple[str, ...] | None) -> None:
    """Checks that an option's declarations refer to keys that it has or that its class takes."""
    if known is None and path == "data":
        return  # declarations for all corpora may refer to keys that the user's own class does not take
    declared = [(kind, node.get(kind) or ()) for kind in ("ignores", "starts_from", "limits", "one_of")]
    declared += [(kind, condition) for kind in CONDITIONAL for condition in (node.get(kind) or {}).values()]
    declared += [("conflicts", conflict.get("if") or {}) for conflict in node.get("conflicts") or []]
    has = {*node, *(known or ()), *_BESIDE.get(path, ())}
    for kind, names in declared:
        for name in names:
            if name.partition(".")[0] not in has:
                raise ConfigError(f"{path}.{kind}: the option has no {name}\ntry  leave {name} out of its {kind}")


def _shown(folder: Path, path: tuple[str, ...]) -> Iterator[str]:
    """All keys that options of the group have in the mapping at ``path``."""
    for file in _files(folder):
        node: Any = yaml(file)[1]
        for part in path:
            node = node.get(part) if isinstance(node, Mapping) else None
        if isinstance(node, Mapping):
            yield from map(str, node)


def _among(path: str, node: Mapping[str, Any], known: list[str]) -> None:
    for key, value in node.items():
        if key not in known and key not in DECLARED:
            raise _Unread(f"{path}.{key}", value, path, known)


def _all(path: str, node: Mapping[str, Any], wanted: list[str]) -> None:
    for key in wanted:
        if key not in node:
            raise ConfigError(
                f"{path}.{key}: is missing from {path}={typed(node)}\ntry  optimizer=sgd, which has it all"
            )


def _unread(path: str, value: Any, by: str, known: list[str], asked: bool) -> ConfigError:
    """The message about a key, which was typed (``asked``) or is set by a preset."""
    *outer, last = path.split(".")
    names = sorted({name for name in known if name not in DECLARED and not name.startswith("_")})
    near = [".".join([*outer, name]) for name in difflib.get_close_matches(last, names, 1, 0.7)]
    reads = f"{by} reads {', '.join(names) or 'no keys'}" if outer else "nothing reads it"
    advice = " | ".join([*(f"{name}=…" for name in near), f"leave out {path}" if asked else f"~{path}"])
    return ConfigError(f"{path}={typed(value)}: there is no such key; {reads}\ntry  {advice}")


@functools.cache
def takes(target: str) -> tuple[str, ...] | None:
    """Arguments of the constructor of the class ``target``, read from its source; None if the source does not show
    them.

    Arguments that it passes on to its base class count (``**parts``); blocks with arbitrary names do not.
    """
    module, _, name = target.rpartition(".")
    found = _source(module)
    if found is None:
        return None
    imported: dict[str, str] = {}
    for node in ast.walk(found):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            imported |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    classes = {node.name: node for node in found.body if isinstance(node, ast.ClassDef)}
    if name not in classes:
        return takes(imported[name]) if name in imported else None
    above = [base.id for base in classes[name].bases if isinstance(base, ast.Name)]
    bases = [takes(imported.get(base, f"{module}.{base}")) for base in above]
    for node in classes[name].body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            names = tuple(arg.arg for arg in (*node.args.args[1:], *node.args.kwonlyargs))
            return (*names, *(name for base in bases for name in base or ())) if node.args.kwarg else names
    return next((base for base in bases if base is not None), ())


@functools.cache
def _source(module: str) -> ast.Module | None:
    top, *rest = module.split(".")
    spec = importlib.util.find_spec(top)  # of the package itself; asking for a module in it would import the package
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], *rest)
    file = next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
    return ast.parse(file.read_text(encoding="utf-8")) if file else None
