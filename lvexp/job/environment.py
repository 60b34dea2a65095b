"""Values from the environment are not written to files: a run writes ``${oc.env:NAME}`` instead of the value.

Some of them may be a key or a password. Numbers and booleans are settings of the experiment and are written, and so are
words that select among alternatives (``encoder.cell``): :func:`lvexp.load` needs them to rebuild the model. Free of
torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.resolvers import oc

from lvexp.checks import values
from lvexp.checks.refusals import resolved

_UNSET = "_an_environment_variable_that_is_not_set_"


def typed(overrides: Sequence[str]) -> list[str]:
    """The overrides as typed. Hydra holds them in a node of its own; reading them one by one would resolve them."""
    raw: Any = OmegaConf.to_container(cast(ListConfig, overrides), resolve=False)
    return [str(override) for override in raw]


def withheld(config: DictConfig) -> dict[str, Any]:
    """A configuration as plain values, like :func:`lvexp.checks.refusals.resolved`, except for texts from the
    environment, directly or through other keys: these stay as they were typed, unresolved."""
    plain = resolved(config)
    if not _reads(OmegaConf.to_container(config, resolve=False)):
        return plain
    OmegaConf.register_new_resolver("oc.env", _call, replace=True)
    try:
        shown = _leaves(config)
    finally:
        OmegaConf.register_new_resolver("oc.env", oc.env, replace=True)
    return _merged(plain, shown, values.words(plain))


def _reads(raw: Any) -> bool:
    if isinstance(raw, dict | list):
        return any(map(_reads, raw.values() if isinstance(raw, dict) else raw))
    return "oc.env" in str(raw)


def _call(key: str, default: Any = _UNSET) -> str:
    """A resolver that returns its own call as text."""
    return "${oc.env:" + (key if default == _UNSET else f"{key},{default}") + "}"


def _leaves(node: Any) -> Any:
    """A node as plain values; a value whose interpolation cannot use such a text stays as it was typed."""
    raw: Any = OmegaConf.to_container(node, resolve=False)
    if isinstance(node, DictConfig):
        return {str(key): _leaf(node, key, raw[key]) for key in node}
    return [_leaf(node, at, value) for at, value in enumerate(raw)]


def _leaf(node: Any, key: Any, raw: Any) -> Any:
    try:
        value = node[key]
    except Exception:  # resolvers raise any error for a text of the wrong kind
        return raw
    return _leaves(value) if OmegaConf.is_config(value) else value


def _merged(plain: Any, shown: Any, words: set[str], path: str = "") -> Any:
    if isinstance(plain, dict) and isinstance(shown, dict):
        return {key: _merged(plain[key], shown[key], words, f"{path}.{key}".lstrip(".")) for key in plain}
    if isinstance(plain, list) and isinstance(shown, list) and len(plain) == len(shown):
        return [_merged(value, other, words, path) for value, other in zip(plain, shown, strict=True)]
    return shown if _reads(shown) and isinstance(plain, str) and path not in words else plain
