"""Single values: each of the kind, in the range and among the words that its option allows. Free of torch.

A part of :mod:`lvexp.checks.refusals`. The kind is that of the default in the option's yaml, which is also what may be
null: a default of null. Ranges and words an option declares there itself, ``limits: {decay: ">= 0 < 1"}`` and
``one_of: {prior: [uniform, learned]}``; what holds of a name wherever it stands, or of what is no option, is in the
tables below (:mod:`lvexp.checks.limits`). No number is ever nan or infinite.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lvexp.checks.limits import KINDS, Test, complete, is_number, read, reads_null, typed
from lvexp.errors import ConfigError

#: groups of which one option is chosen
GROUPS = ("model", "encoder", "decoder", "latent", "estimator", "anneal", "init", "data")
#: groups that say how a run is carried out
AROUND = ("optimizer", "trainer", "logger", "paths")
#: what a yaml says of its option, to be told from what the option takes
DECLARED = ("requires", "provides", "owns", "ignores", "limits", "one_of")
MOST = 3.4e38  # the largest number of 32 bits


def check(plain: dict[str, Any], choices: Mapping[str, Any], menu: Path) -> None:
    """Raises :class:`ConfigError` for a value that its option does not allow; the arguments are those of
    :func:`lvexp.checks.refusals.check`."""
    known = dict(defaults(choices, list(plain.get("regularizer") or {}), menu))
    _types(plain, known)
    _values(plain, known)


def nodes(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every mapping within, with its path."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            inner = f"{path}.{key}" if path else str(key)
            yield inner, value
            yield from nodes(value, inner)


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value within that is no mapping, with its path."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def _numbers(value: Any) -> Iterator[Any]:
    """Every number of a value, whatever it is part of."""
    if isinstance(value, list | Mapping):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(inner)
    elif is_number(value):
        yield value


#: type of a default → the kind that a value must be of
_OF_DEFAULT: dict[type, Test] = {
    bool: KINDS["truth"],
    int: KINDS["whole"],
    float: KINDS["number"],
    str: (
        lambda value: value != "" and (isinstance(value, str) or is_number(value)),
        "a text",
    ),  # a number may be a name
    list: (lambda value: isinstance(value, list), "a list"),
}


def _types(plain: dict, known: Mapping[str, Any]) -> None:
    """A value must be there, finite, and of the kind its option's yaml holds: whole number, truth value, list, …"""
    for path, value in leaves(plain):
        for number in _numbers(value):
            if isinstance(number, float) and not abs(number) <= MOST:
                raise ConfigError(f"{path}={typed(value)}: must be finite, in 32 bits too{_advice(path, known)}")
            if isinstance(number, int) and abs(number) >= 2**63:
                raise ConfigError(
                    f"{path}={typed(value)}: must be below 2^63, the largest whole number of 64 bits"
                    f"{_advice(path, known)}"
                )
    for path, default in known.items():
        if (said := set(path.split(".")) & set(DECLARED)) and _at(plain, path) != default:
            raise ConfigError(
                f"{path}={typed(_at(plain, path))}: {said.pop()} is what the option says of itself, whatever is typed"
                f"\ntry  leave out {path}"
            )
    limits = dict(_limits(plain))
    for path, default in known.items():
        given: Any = plain
        parts = path.split(".")
        for depth, part in enumerate(parts):
            at = ".".join(parts[:depth])
            if given is None and at in limits and reads_null(limits[at]):
                break
            if not isinstance(given, Mapping):
                raise ConfigError(
                    f"{at}={typed(given)}: must be a mapping, {part} among its keys\n"
                    f"try  leave out {at} | {path}={typed(default)}  (the default)"
                )
            if part not in given:
                raise ConfigError(f"~{f'{at}.{part}' if at else part}: it is needed{_advice(path, known)}")
            given = given[part]
        else:
            _fits(path, given, default, limits, known)


def _fits(path: str, value: Any, default: Any, limits: Mapping[str, str], known: Mapping[str, Any]) -> None:
    """Raises for a value of another kind than the default's, unless its limit says what kind it is of."""
    if default is None or (path in limits and complete(limits[path])):
        return
    fits, wanted = _OF_DEFAULT[type(default)]
    if str(default).startswith("${"):
        fits, wanted = (lambda value: value is not None), "a value"
    if not fits(value):
        raise ConfigError(f"{path}={typed(value)}: must be {wanted}{_advice(path, known)}")


def _advice(path: str, known: Mapping[str, Any]) -> str:
    return f"\ntry  {path}={typed(known[path])}  (the default)" if path in known else f"\ntry  leave out {path}"


def defaults(choices: Mapping, remedies: list[str], menu: Path) -> Iterator[tuple[str, Any]]:
    """Path and value of all that the chosen options' files hold; of the same path, the last prevails."""
    files = [(group, menu / group / f"{choices.get(group)}.yaml") for group in (*GROUPS[1:], *AROUND)]
    files += [("regularizer", menu / "regularizer" / f"{name}.yaml") for name in remedies]
    for choice, option in choices.items():  # blocks: latent@latent.c
        group, _, package = str(choice).partition("@")
        files += [(package, menu / group / f"{option}.yaml")] if package else []
    files += [("", menu / "config.yaml"), ("model", menu / "model" / f"{choices.get('model')}.yaml")]
    for group, file in files:
        if not file.exists():
            continue  # an option of the user's own, from --config-dir
        whole, node = yaml(file)
        for path, value in leaves(node):
            if not path.startswith(("defaults", "hydra")):
                yield path if whole or not group else f"{group}.{path}", value


@functools.cache
def yaml(file: Path) -> tuple[bool, dict[str, Any]]:
    """What a file of the menu holds, unresolved, with what it starts from in its own folder; and whether it speaks of
    the whole configuration."""
    node = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(node, dict)
    bases = [base for base in node.get("defaults") or [] if isinstance(base, str) and base != "_self_"]
    inherited = {key: value for base in bases for key, value in yaml(file.with_name(f"{base}.yaml"))[1].items()}
    whole = file.read_text(encoding="utf-8").startswith("# @package _global_")
    return whole, inherited | {str(key): value for key, value in node.items()}


#: last part of a name, or all of it → limit
_RANGES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), limit)
    for pattern, limit in (
        (
            r"(^|\.)(dim|hidden|embedding|layers|batch_size|eval_batch_size|iw_samples|samples|mi_sentences|mi_batch"
            r"|bleu_sentences|max_decode|max_length|max_size|min_count|log_every_n_steps|accumulate_grad_batches"
            r"|checkpoint_steps|bottleneck)$",
            ">= 1",
        ),
        (r"^decoder\.kernel$", ">= 1"),
        (r"\.(dropout\w*)$", ">= 0 < 1"),
        (r"\.keep$", ">= 0 <= 1"),
        (r"\.share$", ">= 0 < 1"),
        (r"\.(nats|iw_tolerance|beta|start|end|warmup|patience|weight|weight_decay)$", ">= 0"),
        (r"\.(lr|factor|gamma)$|\.delta\.nats$", "> 0"),
        (r"\.momentum$", ">= 0 < 1"),
        (r"(^|\.)seed$", "whole >= 0 < 4294967296"),
        (r"^evaluation\.(samples|interpolation_steps)$", ">= 2"),
        (r"^evaluation\.(reconstructions|interpolations|active_threshold)$", ">= 0"),
        (r"^optimizer\.decay\.factor$", "> 0 < 1"),
        (r"^optimizer\.decay\.patience$", ">= 1"),
        (r"^optimizer\.decay\.(start_epoch|limit)$", ">= 0"),
        (r"^optimizer\.decay$", "mapping or null"),
        (r"^objective$", "text or null"),
        (r"^data\.(root|cache|files\.(train|valid|test)|counts\.words)$", "text or null"),
        (r"^data\.(folder|variant|answered)$", "text or number or null"),
        (r"^data\.counts\.pattern$", "text"),
        (r"^data\.header$", "truth or null"),
        (r"^data\.columns\.text$", "text or whole >= 0"),
        (r"^data\.columns\.(label|split|source|group)$", "text or whole >= 0 or null"),
        (r"^data\.counts\.(min_df|max_df)$", "share >= 0 <= 1 or whole >= 1"),
        (r"^data\.counts\.stop_words$", "english or list of text or null"),
        (r"^data\.split\.(valid|test)$", "> 0 < 1"),
        (r"^data\.labelled$", ">= 0"),
        (r"^data\.balance$", ">= 0 < 1"),
        (r"^paths\.outputs$", "text or number"),
        (r"^embeddings\.path$", "text or null"),
        (r"^trainer\.max_(epochs|steps)$", "whole >= 1 or -1"),
        (r"^trainer\.(devices|num_nodes)$", "whole >= 1 or -1"),
        (r"^trainer\.(limit_(train|val)_batches|val_check_interval)$", "share > 0 <= 1 or whole >= 1"),
        (r"^trainer\.overfit_batches$", "share >= 0 <= 1 or whole >= 0"),
        (r"^trainer\.gradient_clip_val$", "number >= 0 or null"),
        (r"^trainer\.profiler$", "text or null"),
        (r"^trainer\.threads$", "whole >= 1 or null"),
        (r"^trainer\.min_(epochs|steps)$", "whole >= 0 or null"),
        (r"^trainer\.max_time$", "text or null"),
        (r"^trainer\.check_val_every_n_epoch$", "whole >= 1"),
        (r"^trainer\.deterministic$", "truth or warn"),
        (r"^trainer\.(benchmark|detect_anomaly|inference_mode|sync_batchnorm)$", "truth"),
    )
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
    "trainer.profiler": ("null", "simple", "advanced", "pytorch"),
    "logger.kind": ("csv", "wandb"),
}  # fmt: skip


def _limits(plain: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Path and limit of every value that has one; what an option declares comes last, and so prevails."""
    for path in (*dict(leaves(plain)), *dict(nodes(plain))):
        yield from ((path, limit) for pattern, limit in _RANGES if pattern.search(path))
    for path, node in nodes(plain):
        declared = node.get("limits")
        if isinstance(declared, Mapping):
            yield from ((f"{path}.{key}", str(limit)) for key, limit in declared.items())


def _at(plain: Mapping[str, Any], path: str) -> Any:
    found: Any = plain
    for part in path.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def words(plain: dict) -> set[str]:
    """The paths of values that are one of a list of words."""
    declared = {f"{path}.{key}" for path, node in nodes(plain) for key in node.get("one_of") or ()}
    return {*_ONE_OF, *declared}


def _values(plain: dict, known: Mapping[str, Any]) -> None:
    unused = {f"{group}.{key}" for group in GROUPS for key in (plain.get(group) or {}).get("ignores") or []}
    for path, value in leaves(plain):
        if path in _ONE_OF and path not in unused:
            _one_of(path, value, _ONE_OF[path])
    for path, node in nodes(plain):
        for key, allowed in (node.get("one_of") or {}).items():
            _one_of(f"{path}.{key}", node.get(key), allowed)
    for path, limit in dict(_limits(plain)).items():
        value = _at(plain, path)
        if path in unused or (isinstance(value, Mapping) and not complete(limit)):
            continue
        fits, wanted = read(limit)
        several = isinstance(value, list) and not complete(limit)
        if not all(map(fits, value)) if several else not fits(value):
            raise ConfigError(f"{path}={typed(value)}: must be {wanted}{_advice(path, known)}")
    trainer = plain["trainer"]
    if trainer["max_epochs"] == -1 and trainer["max_steps"] == -1:
        raise ConfigError(
            "trainer.max_epochs=-1 with trainer.max_steps=-1: training would never end\ntry  trainer.max_epochs=20"
        )


def _one_of(path: str, value: Any, allowed: Sequence[Any]) -> None:
    words = [typed(word) for word in allowed]
    if typed(value) not in words:
        near = difflib.get_close_matches(typed(value), words, 1, 0)
        raise ConfigError(f"{path}={typed(value)}: it is one of {', '.join(words)}\ntry  {path}={near[0]}")
