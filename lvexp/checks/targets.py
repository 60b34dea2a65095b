"""The classes that a configuration may name: those of lvexp, PyTorch's optimisers and schedulers, Lightning's
callbacks, and those that the user trusts.

A ``_target_`` is imported and called, and a checkpoint may come from anybody. Therefore only names under :data:`OURS`,
and names that are trusted in full, are looked up. The result must be a class of the kind that its
place in the configuration requires; ``lvexp.run.shutil.rmtree`` is rejected.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from typing import Any

from lvexp.errors import ConfigError

TARGET, PARTIAL = "_target_", "_partial_"
#: prefixes of classes that are always trusted
OURS = ("lvexp.", "torch.optim.", "lightning.pytorch.callbacks.")


def named(node: Any) -> set[str]:
    """Every class that a configuration names, at any depth."""
    found, left = set(), [node]
    while left:
        inner = left.pop()
        if isinstance(inner, Mapping):
            found |= {str(inner[TARGET])} if TARGET in inner else set()
            left += inner.values()
        elif isinstance(inner, list):
            left += inner
    return found


def find(where: str, name: Any, kinds: tuple[type, ...], trust: Collection[str] = ()) -> type:
    """The class ``name``, which must be one of ``kinds`` or a subclass.

    Args:
        where: its path in the configuration, as it is typed.
        trust: full names of other classes that may be imported.

    Raises:
        ConfigError: the class may not be imported, does not exist, or is of another kind.
    """
    typed = f"{where}.{TARGET}={name}"
    known = str(name).startswith(OURS)
    if not known and name not in trust:
        raise ConfigError(
            f"{typed}: a class from elsewhere is imported only where you say so\n"
            f'try  lvexp.load(…, trust=["{name}"])  if you know where this file comes from'
        )
    module, _, attribute = str(name).rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            f"{typed}: there is no such class ({error})\n"
            f"try  package.module.Class, a class at the top of a module on PYTHONPATH"
        ) from error
    wanted = " or ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
    # a name that one of our modules merely imports is not ours
    strange = known and not str(getattr(found, "__module__", "")).startswith(OURS)
    if strange or not isinstance(found, type) or not issubclass(found, kinds):
        raise ConfigError(f"{typed}: that is no class for {where}\ntry  a class derived from {wanted}")
    return found


def arguments(where: str, node: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that a node gives to its class.

    Raises:
        ConfigError: it uses another keyword of Hydra (``_args_``, ``_recursive_``, …), or names a class in a value.
    """
    kept = {key: value for key, value in node.items() if key != TARGET}
    for key in kept:
        if key.startswith("_"):
            raise ConfigError(f"{where}.{key}: is not read here\ntry  leave it out, and give arguments by name")
    if deeper := named(kept):
        raise ConfigError(
            f"{where}: names {' and '.join(sorted(deeper))} within its values, where no class is made\n"
            f"try  a class of your own that makes it"
        )
    return kept
