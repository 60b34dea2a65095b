"""Single values: each of the kind, in the range and among the words that its option allows. Free of torch.

A part of :mod:`lvexp.compat`. The kind is that of the default in the option's yaml. Ranges and words an option declares
there itself, ``limits: {decay: ">= 0 < 1"}`` and ``one_of: {prior: [uniform, learned]}``; what holds of a name wherever
it stands, or of what is no option, is in the tables below.
"""

from __future__ import annotations

import difflib
import functools
import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lvexp.errors import ConfigError

#: groups of which one option is chosen
GROUPS = ("model", "encoder", "decoder", "latent", "estimator", "anneal", "data")
_SIGNS = {
    ">": (operator.gt, "above"), ">=": (operator.ge, "at least"),
    "<": (operator.lt, "below"), "<=": (operator.le, "at most"),
}  # fmt: skip


def check(plain: dict[str, Any], choices: Mapping[str, Any], menu: Path) -> None:
    """Raises :class:`ConfigError` for a value that its option does not allow; arguments as in :func:`compat.check`."""
    _types(plain, choices, menu)
    _values(plain)


def _nodes(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping within, with its path."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            inner = f"{path}.{key}" if path else str(key)
            yield inner, value
            yield from _nodes(value, inner)


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def _types(plain: dict, choices: Mapping, menu: Path) -> None:
    """A value must be of the kind its option's yaml holds: whole number, number, truth value or text."""
    for path, default in _defaults(choices, list(plain.get("regularizer") or {}), menu):
        given: Any = plain
        for part in path.split("."):
            given = given.get(part) if isinstance(given, Mapping) else None
        if given is None or default is None or isinstance(default, list) or str(default).startswith("${"):
            continue
        kind, fits = {
            bool: ("true or false", isinstance(given, bool)),
            int: ("a whole number", isinstance(given, int) and not isinstance(given, bool)),
            float: ("a number", isinstance(given, int | float) and not isinstance(given, bool)),
            str: ("a text", isinstance(given, str | int | float)),  # a number may be a name: columns.text=1
        }[type(default)]
        if not fits:
            raise ConfigError(f"{path}={given!s}: must be {kind}\ntry  {path}={default!s}  (the default)")


def _defaults(choices: Mapping, remedies: list[str], menu: Path) -> Iterator[tuple[str, Any]]:
    files = [(group, menu / group / f"{choices.get(group)}.yaml") for group in (*GROUPS, "optimizer", "trainer")]
    files += [("regularizer", menu / "regularizer" / f"{name}.yaml") for name in remedies]
    for choice, option in choices.items():  # blocks: latent@latent.c
        group, _, package = str(choice).partition("@")
        files += [(package, menu / group / f"{option}.yaml")] if package else []
    files += [("", menu / "config.yaml")]
    for group, file in files:
        if not file.exists():
            continue  # an option of the user's own, from --config-dir
        whole, node = yaml(file)
        for path, value in _leaves(node):
            if not path.startswith(("defaults", "hydra")):
                yield path if whole or not group else f"{group}.{path}", value


@functools.cache
def yaml(file: Path) -> tuple[bool, dict[str, Any]]:
    """What a file of the menu holds, unresolved, and whether it speaks of the whole configuration."""
    node = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(node, dict)
    return file.read_text().startswith("# @package _global_"), {str(key): value for key, value in node.items()}


#: last part of a name → (test, what it must be)
_RANGES: list[tuple[re.Pattern[str], Any, str]] = [
    (
        re.compile(
            r"(^|\.)(dim|hidden|embedding|layers|batch_size|eval_batch_size|iw_samples|samples|mi_sentences|mi_batch"
            r"|bleu_sentences|max_decode|max_length|max_size|min_count|log_every_n_steps|accumulate_grad_batches"
            r"|checkpoint_steps|threads|kernel|bottleneck|dilations)$"
        ),
        lambda v: v >= 1,
        "at least 1",
    ),
    (re.compile(r"\.(dropout\w*)$"), lambda v: 0 <= v < 1, "at least 0 and below 1"),
    (re.compile(r"^data\.labelled$"), lambda v: v >= 0, "at least 0"),
    (re.compile(r"^data\.balance$"), lambda v: 0 <= v < 1, "at least 0 and below 1"),
    (re.compile(r"\.keep$"), lambda v: 0 <= v <= 1, "between 0 and 1"),
    (
        re.compile(r"\.(nats|iw_tolerance|beta|start|end|warmup|patience|weight|weight_decay|momentum)$"),
        lambda v: v >= 0,
        "at least 0",
    ),
    (re.compile(r"^decoder\.window$"), lambda v: v >= 0, "at least 0"),
    (re.compile(r"\.(lr|factor|gamma)$|\.delta\.nats$"), lambda v: v > 0, "above 0"),
    (
        re.compile(r"^regularizer\.(aggressive|pretrain|semi_amortized)\.(epochs|inner|check|between|steps)$"),
        lambda v: v >= 1,
        "at least 1",
    ),
    (re.compile(r"^anneal\.(period|steepness)$|_kl\.ki$"), lambda v: v > 0, "above 0"),
    (re.compile(r"^anneal\.cycles$"), lambda v: v >= 1, "at least 1"),
    (re.compile(r"^anneal\.ratio$"), lambda v: 0 < v <= 1, "above 0 and at most 1"),
    (re.compile(r"\.share$"), lambda v: 0 <= v < 1, "at least 0 and below 1"),
    (re.compile(r"\.(control_kl\.(kp|lowest|highest)|mdr\.damping)$"), lambda v: v >= 0, "at least 0"),
    (re.compile(r"^trainer\.max_(epochs|steps)$"), lambda v: v >= 1 or v == -1, "at least 1, or -1 for no limit"),
    (re.compile(r"\.limit_\w+_batches$"), lambda v: v > 0, "above 0: a share up to 1.0, or a whole number of batches"),
    (re.compile(r"^seed$"), lambda v: 0 <= v < 2**32, "between 0 and 2^32 - 1"),
]
_ONE_OF = {
    "anneal.unit": ("steps", "epochs"),
    "anneal.shape": ("linear", "cosine", "sigmoid"),
    "regularizer.target_kl.unit": ("steps", "epochs"),
    "decoder.entry": ("initial", "every_step", "both"),
    "encoder.cell": ("lstm", "gru"),
    "decoder.cell": ("lstm", "gru"),
    "data.view": ("tokens", "counts"),
    "decoder.size": ("small", "medium", "large"),
    "regularizer.free_bits.per": ("dimension", "example", "batch"),
    "regularizer.pretrain.reset": ("decoder", "none"),
    "regularizer.semi_amortized.through": ("exact", "finite_difference", "none"),
    "regularizer.mmd.kernel": ("imq", "rbf"),
    "trainer.accelerator": ("cpu", "gpu", "cuda", "mps", "tpu", "auto"),
    "trainer.precision": (
        "32-true", "32", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "64", "transformer-engine",
    ),
    "trainer.profiler": ("None", "simple", "advanced", "pytorch"),
    "logger.kind": ("csv", "wandb"),
}  # fmt: skip


def _values(plain: dict) -> None:
    unused = {f"{group}.{key}" for group in GROUPS for key in (plain.get(group) or {}).get("ignores") or []}
    for path, value in _leaves(plain):
        if path in unused:
            continue
        if path in _ONE_OF:
            _one_of(path, value, _ONE_OF[path])
        for pattern, fits, wanted in _RANGES:
            if pattern.search(path):
                _within(path, value, fits, wanted)
    for path, node in _nodes(plain):
        for key, allowed in (node.get("one_of") or {}).items():
            _one_of(f"{path}.{key}", node[key], allowed)
        for key, limit in (node.get("limits") or {}).items():
            if f"{path}.{key}" not in unused:
                _within(f"{path}.{key}", node[key], *_read(limit))
    trainer = plain["trainer"]
    if trainer["max_epochs"] == -1 and trainer["max_steps"] == -1:
        raise ConfigError(
            "trainer.max_epochs=-1 with trainer.max_steps=-1: training would never end\ntry  trainer.max_epochs=20"
        )


def _one_of(path: str, value: Any, allowed: Sequence[str]) -> None:
    if str(value) not in allowed:
        near = difflib.get_close_matches(str(value), allowed, 1, 0)
        raise ConfigError(f"{path}={value}: it is one of {', '.join(allowed)}\ntry  {path}={near[0]}")


def _read(limit: str) -> tuple[Callable[[Any], bool], str]:
    """``>= 0 < 1`` as a test, and in words."""
    signs, bounds = limit.split()[::2], [float(bound) for bound in limit.split()[1::2]]
    rules = [(*_SIGNS[sign], bound) for sign, bound in zip(signs, bounds, strict=True)]
    wanted = " and ".join(f"{word} {bound:g}" for _, word, bound in rules)
    return lambda value: all(compare(value, bound) for compare, _, bound in rules), wanted


def _within(path: str, value: Any, fits: Callable[[Any], bool], wanted: str) -> None:
    numbers = value if isinstance(value, list) else [value]
    numeric = all(isinstance(number, int | float) and not isinstance(number, bool) for number in numbers)
    if numeric and not all(map(fits, numbers)):
        raise ConfigError(f"{path}={value}: must be {wanted}")
