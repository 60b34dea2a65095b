"""Single values: checks that each has the kind, the range or one of the words that its option allows. Free of torch.

A part of :mod:`lvexp.checks.refusals`. The kind is that of the default in the option's yaml; a key whose default is
null may be null or of any kind. An option declares ranges and words in its yaml, ``limits: {decay: ">= 0 < 1"}`` and
``one_of: {prior: [uniform, learned]}``, in the language of :mod:`lvexp.checks.limits`. Declarations for all corpora are
in ``conf/config.yaml``. The tables below are for keys without declarations: those of Lightning's trainer, those of the
evaluation, and a few others. No number may be nan or infinite.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lvexp.checks import nearest
from lvexp.checks.declarations import AROUND, DECLARED, GROUPS, SEVERAL
from lvexp.checks.limits import KINDS, Test, complete, is_number, read, reads_null, typed
from lvexp.errors import ConfigError

MOST = 3.4e38  # the largest number in 32 bits


def check(plain: dict[str, Any], choices: Mapping[str, Any], menu: Path) -> None:
    """Raises :class:`ConfigError` for a value that its option does not allow; the arguments are those of
    :func:`lvexp.checks.refusals.check`."""
    several = [(group, name) for group in SEVERAL for name in plain.get(group) or {}]
    known = dict(defaults(choices, several, menu))
    _types(plain, known)
    _values(plain, known)


def nodes(node: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every nested mapping, with its path, except for declarations."""
    for key, value in node.items():
        if isinstance(value, Mapping) and key not in DECLARED:
            inner = f"{path}.{key}" if path else str(key)
            yield inner, value
            yield from nodes(value, inner)


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every nested value that is not a mapping, with its path; a declaration counts as a single value."""
    if isinstance(node, Mapping) and path.rpartition(".")[2] not in DECLARED:
        for key, value in node.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node


def _numbers(value: Any) -> Iterator[Any]:
    """Every number in a value, at any depth."""
    if isinstance(value, list | Mapping):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _numbers(inner)
    elif is_number(value):
        yield value


#: type of a default → the kind that a value must have
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
    """Checks that every value is present, finite, and of the same kind as its default (whole number, list, …)."""
    for path, value in leaves(plain):
        for number in _numbers(value):
            if isinstance(number, float) and not abs(number) <= MOST:
                raise ConfigError(f"{path}={typed(value)}: must be finite, in 32 bits too{_advice(path, known)}")
            if isinstance(number, int) and abs(number) >= 2**63:
                raise ConfigError(
                    f"{path}={typed(value)}: must be below 2^63, the largest whole number of 64 bits"
                    f"{_advice(path, known)}"
                )
    limits = dict(_limits(plain))
    for path, default in known.items():
        if _declared(path):
            _unchanged(path, at(plain, path), default)
            continue
        given: Any = plain
        parts = path.split(".")
        for depth, part in enumerate(parts):
            above = ".".join(parts[:depth])
            if given is None and above in limits and reads_null(limits[above]):
                break
            if not isinstance(given, Mapping):
                meant = f"{path}={given} | " if isinstance(given, str) and isinstance(default, str | None) else ""
                raise ConfigError(
                    f"{above}={typed(given)}: must be a mapping, {part} among its keys\n"
                    f"try  {meant}leave out {above} | {path}={typed(default)}  (the default)"
                )
            if part not in given:
                raise ConfigError(f"~{f'{above}.{part}' if above else part}: it is needed{_advice(path, known)}")
            given = given[part]
        else:
            _fits(path, given, default, limits, known)


def _declared(path: str) -> bool:
    return path.rpartition(".")[2] in DECLARED


def _unchanged(path: str, given: Any, default: Any) -> None:
    """Raises if a declaration was overridden; a user's own corpus may add to the declarations for all corpora."""
    kept = isinstance(default, Mapping) and isinstance(given, Mapping)
    same = all(given.get(key) == value for key, value in default.items()) if kept else given == default
    if not same:
        raise ConfigError(
            f"{path}={typed(given)}: {path.rpartition('.')[2]} is a declaration of the option and cannot be changed"
            f"\ntry  leave out {path}"
        )


def _fits(path: str, value: Any, default: Any, limits: Mapping[str, str], known: Mapping[str, Any]) -> None:
    """Raises if a value has another kind than its default, unless its limit determines the kind."""
    if default is None or (path in limits and complete(limits[path])):
        return
    fits, wanted = _OF_DEFAULT[type(default)]
    if str(default).startswith("${"):
        fits, wanted = (lambda value: value is not None), "a value"
    if not fits(value):
        raise ConfigError(f"{path}={typed(value)}: must be {wanted}{_advice(path, known)}")


def _advice(path: str, known: Mapping[str, Any]) -> str:
    return f"\ntry  {path}={typed(known[path])}  (the default)" if path in known else f"\ntry  leave out {path}"


def defaults(choices: Mapping, several: Iterable[tuple[str, str]], menu: Path) -> Iterator[tuple[str, Any]]:
    """Path and value of everything in the files of the chosen options; if a path occurs twice, the last one counts.
    What a model sets of another option only counts if that has such a key."""
    files = [(group, menu / group / f"{choices.get(group)}.yaml") for group in (*GROUPS[1:], *AROUND)]
    files += [(group, menu / group / f"{name}.yaml") for group, name in several]
    for choice, option in choices.items():  # blocks: latent@latent.c
        group, _, package = str(choice).partition("@")
        files += [(package, menu / group / f"{option}.yaml")] if package else []
    files += [("", menu / "config.yaml"), ("model", menu / "model" / f"{choices.get('model')}.yaml")]
    for group, file in files:
        if not file.exists():
            continue  # an option of the user's own, from --config-dir
        whole, node = yaml(file)
        for path, value in leaves(node):
            if whole and not _has(path, choices, menu):
                continue
            if not path.startswith(("defaults", "hydra")):
                yield path if whole or not group else f"{group}.{path}", value


def _has(path: str, choices: Mapping, menu: Path) -> bool:
    """Whether the chosen option has the key, if the path is one of an option."""
    group, _, key = path.partition(".")
    file = menu / group / f"{choices.get(group)}.yaml"
    return group not in GROUPS[1:] or not file.exists() or key.partition(".")[0] in yaml(file)[1]


@functools.cache
def yaml(file: Path) -> tuple[bool, dict[str, Any]]:
    """The content of a file of the menu, unresolved, including the files of its folder that it is based on; and whether
    it applies to the whole configuration."""
    node = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    assert isinstance(node, dict)
    bases = [base for base in node.get("defaults") or [] if isinstance(base, str) and base != "_self_"]
    inherited = {key: value for base in bases for key, value in yaml(file.with_name(f"{base}.yaml"))[1].items()}
    whole = file.read_text(encoding="utf-8").startswith("# @package _global_")
    return whole, inherited | {str(key): value for key, value in node.items()}


#: path → limit, for keys without declarations
_LIMITS = {
    "seed": "whole >= 0 < 4294967296",
    "objective": "text or list of text or null",
    "evaluate": "text or number or null",
    "resume": "text or number or null",
    "finetune": "text or number or null",
    "paths.outputs": "text or number",
    "evaluation.iw_samples": ">= 1",
    "evaluation.iw_tolerance": ">= 0",
    "evaluation.iw_words": "whole >= 2 or null",
    "evaluation.mi_sentences": ">= 1",
    "evaluation.mi_batch": ">= 1",
    "evaluation.active_threshold": ">= 0",
    "evaluation.bleu_sentences": ">= 1",
    "evaluation.samples": ">= 2",
    "evaluation.reconstructions": ">= 0",
    "evaluation.interpolations": ">= 0",
    "evaluation.interpolation_steps": ">= 2",
    "evaluation.max_decode": ">= 1",
    "evaluation.seed": "whole >= 0 < 4294967296",
    "evaluation.references": "text or number or null",
    "evaluation.language_model": "text or number or null",
    "evaluation.sampler": "mixture or flow or null",
    "evaluation.noise": "list of number >= 0 or null",
    "trainer.devices": "whole >= 1 or -1",
    "trainer.num_nodes": "whole >= 1 or -1",
    "trainer.max_epochs": "whole >= 1 or -1",
    "trainer.max_steps": "whole >= 1 or -1",
    "trainer.min_epochs": "whole >= 0 or null",
    "trainer.min_steps": "whole >= 0 or null",
    "trainer.max_time": "text or null",
    "trainer.gradient_clip_val": "number >= 0 or null",
    "trainer.gradient_clip_algorithm": "norm or value",
    "trainer.accumulate_grad_batches": ">= 1",
    "trainer.limit_train_batches": "share > 0 <= 1 or whole >= 1",
    "trainer.limit_val_batches": "share > 0 <= 1 or whole >= 1",
    "trainer.val_check_interval": "share > 0 <= 1 or whole >= 1",
    "trainer.check_val_every_n_epoch": "whole >= 1",
    "trainer.log_every_n_steps": ">= 1",
    "trainer.overfit_batches": "share >= 0 <= 1 or whole >= 0",
    "trainer.profiler": "text or null",
    "trainer.deterministic": "truth or warn",
    "trainer.benchmark": "truth",
    "trainer.detect_anomaly": "truth",
    "trainer.inference_mode": "truth",
    "trainer.sync_batchnorm": "truth",
    "trainer.patience": ">= 0",
    "trainer.checkpoint_steps": ">= 1",
    "trainer.threads": "whole >= 1 or null",
}
#: path → words, for keys without declarations
_ONE_OF = {
    "trainer.accelerator": ("cpu", "gpu", "cuda", "mps", "tpu", "auto"),
    "trainer.gradient_clip_algorithm": ("norm", "value"),
    "trainer.precision": (
        *("32-true", "32", "16-mixed", "bf16-mixed", "16-true", "bf16-true", "64-true", "64", "transformer-engine"),
        "auto",
    ),
    "trainer.profiler": ("null", "simple", "advanced", "pytorch"),
}  # fmt: skip
_ABSENT = object()


def _limits(plain: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Path and limit of every value with a limit, even if the value is absent."""
    yield from _LIMITS.items()
    # a mapping that is referred to elsewhere (model.embeddings) is named by its shorter path
    for path, node in sorted(nodes(plain), key=lambda found: found[0].count(".")):
        yield from ((f"{path}.{key}", limit) for key, limit in (node.get("limits") or {}).items())


def _words(plain: Mapping[str, Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """Path and words of every value that must be one of several words, even if the value is absent."""
    yield from _ONE_OF.items()
    for path, node in nodes(plain):
        yield from ((f"{path}.{key}", words) for key, words in (node.get("one_of") or {}).items())


def at(plain: Mapping[str, Any], path: str, absent: Any = None) -> Any:
    """The value at a path; ``absent`` if there is none."""
    found: Any = plain
    for part in path.split("."):
        if not isinstance(found, Mapping) or part not in found:
            return absent
        found = found[part]
    return found


def words(plain: Mapping[str, Any]) -> set[str]:
    """The paths of values that must be one of several words."""
    return set(dict(_words(plain)))


def _values(plain: dict, known: Mapping[str, Any]) -> None:
    unused = {f"{path}.{key}" for path, node in nodes(plain) for key in node.get("ignores") or []}
    for path, allowed in _words(plain):
        value = at(plain, path, _ABSENT)
        if value is not _ABSENT and path not in unused:
            _one_of(path, value, allowed)
    for path, limit in dict(_limits(plain)).items():
        value = at(plain, path, _ABSENT)
        if value is _ABSENT or path in unused or (isinstance(value, Mapping) and not complete(limit)):
            continue
        fits, wanted = read(limit)
        several = isinstance(value, list) and not complete(limit)
        if not all(map(fits, value)) if several else not fits(value):
            advice = _advice(path, known)
            if isinstance(value, float) and value.is_integer() and fits(int(value)):  # 1e3
                advice = f"\ntry  {path}={int(value)}"
            raise ConfigError(f"{path}={typed(value)}: must be {wanted}{advice}")
    trainer = plain["trainer"]
    if trainer["max_epochs"] == -1 and trainer["max_steps"] == -1:
        raise ConfigError(
            "trainer.max_epochs=-1 with trainer.max_steps=-1: training would never end\ntry  trainer.max_epochs=20"
        )


def _one_of(path: str, value: Any, allowed: Sequence[Any]) -> None:
    words = [typed(word) for word in allowed]
    if typed(value) not in words:
        near = nearest.value(path, typed(value), words)
        raise ConfigError(f"{path}={typed(value)}: it is one of {', '.join(words)}\ntry  {path}={near}")
