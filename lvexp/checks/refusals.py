"""Refusals: configurations that cannot work are rejected before anything expensive starts. Free of torch.

Every option declares in its yaml what it needs from other options and what it is incompatible with
(:mod:`lvexp.checks.declarations`), so a user's own options are checked by the same rules as the shipped ones. Only what
declarations cannot express is coded by hand: here, what the folder of an earlier run must hold; in
:mod:`lvexp.checks.drawing`, whether an estimator fits every block of a latent variable, and how many values an
enumeration has.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lvexp.checks import conflicts, declarations, drawing, limits, parent, traits, values
from lvexp.checks.declarations import SEVERAL, Option, without
from lvexp.errors import ConfigError, Refusal


def check(plain: dict[str, Any], choices: Mapping[str, Any], menu: Path) -> None:
    """Raises :class:`ConfigError` or :class:`Refusal` for a configuration that cannot run.

    Args:
        plain: the configuration, resolved, without its ``hydra`` node.
        choices: group → option, as Hydra composed them.
        menu: the folder of the options, to know their types and to name alternatives.
    """
    for group, said in SEVERAL.items():
        if group in choices and choices[group] is None:
            raise ConfigError(f"{group}=null: is not a list of {said}\ntry  {without(group)}")
        nodes = plain.get(group) or {}
        known = [name for name, node in nodes.items() if isinstance(node, dict) and "_target_" in node]
        for name in nodes:
            if name not in known:
                raise _unchosen(group, name, nodes[name], known, menu)
    values.check(plain, choices, menu)
    options = list(declarations.chosen(plain, choices))
    traits.check(options, menu)
    conflicts.check(plain, options)
    drawing.check(options)
    _installed(options)
    _parents(plain, choices, options)
    _measured_with(plain["evaluation"])


def _installed(options: Sequence[Option]) -> None:
    """Checks that the packages of extras are there."""
    for option in options:
        for package, extra in (option.node.get("installed") or {}).items():
            if importlib.util.find_spec(package) is None:
                raise ConfigError(f"{option.typed}: {package} is not installed\ntry  pip install 'lvexp[{extra}]'")


def _unchosen(group: str, name: str, node: Any, known: Sequence[str], menu: Path) -> Refusal:
    """What is set of an option of a group with several is no option: it is not chosen, or a single value."""
    file = menu / group / f"{name}.yaml"
    numbers = [
        key for key, value in (values.yaml(file)[1][name] if file.is_file() else {}).items() if limits.is_number(value)
    ]
    advice = f"{group}=[{','.join([*known, name])}]"
    if node is None or node is False:
        advice = f"{group}=[{','.join(known)}]" if known else without(group)
    elif limits.is_number(node) and numbers:
        advice = f"{group}={name} {group}.{name}.{numbers[0]}={limits.typed(node)}"
    return Refusal(
        f"{group}.{name}={limits.typed(node)} is set, but {name} is not among the chosen {SEVERAL[group]}\n"
        f"try  {advice} | leave out {group}.{name}.…"
    )


def _measured_with(evaluation: Mapping[str, Any]) -> None:
    """Checks that the settings of an evaluation fit each other, and that what it needs from elsewhere is there."""
    words, tolerance = evaluation.get("iw_words"), evaluation.get("iw_tolerance")
    if words is not None and tolerance:
        raise ConfigError(
            f"evaluation.iw_words={words} evaluation.iw_tolerance={tolerance}: with a tolerance few draws are scored "
            "at once, so sampling words would save nothing\ntry  one of them"
        )
    references, model = evaluation.get("references"), evaluation.get("language_model")
    if references is not None and not Path(str(references)).expanduser().is_file():
        raise ConfigError(
            f"evaluation.references={references}: there is no such file\n"
            "try  leave it out | a file with a line for each test text"
        )
    if model is not None:
        parent.language_model("evaluation.language_model", str(model), "try  python -m lvexp model=rnnlm")


def _parents(plain: Mapping[str, Any], choices: Mapping[str, Any], options: Sequence[Option]) -> None:
    """Checks that every run that this one starts from is finished and fits."""
    for option in options:
        for key, sizes in parent.named(option.node):
            where, node = (f"{option.path}.{sizes}", option.node[sizes]) if sizes else ("encoder", plain["encoder"])
            if not sizes or option.node.get(key) is not None:
                parent.check(f"{option.path}.{key}", option.node.get(key), where, node)
    if not plain.get("evaluate"):  # whose vocabulary is in the checkpoint
        parent.network(plain, choices)
        parent.vocabulary(plain)


def resolved(config: DictConfig, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """A configuration as plain values, without the nodes in ``leave_out``.

    Raises:
        ConfigError: a group has no option, or an option has a malformed declaration.
    """
    nodes = {str(key): config[key] for key in config if key not in leave_out}
    plain: dict[str, Any] = {
        key: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for key, node in nodes.items()
    }
    for group in (*values.GROUPS, *values.AROUND, "evaluation", *SEVERAL):
        if group not in leave_out and not isinstance(plain.get(group), Mapping):
            raise ConfigError(f"{group}={limits.typed(plain.get(group))}: nothing is chosen\ntry  leave out {group}=…")
    declarations.check(plain, traits.TRAITS)
    return plain
