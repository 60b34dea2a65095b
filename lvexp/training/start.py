"""A new model that starts from the parameters of a finished run (``finetune``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lvexp.errors import ConfigError
from lvexp.models.base import LatentModel
from lvexp.shapes import Tensor

_REMEDIES = "regularizers."


def start(model: LatentModel, names: Sequence[str], saved: Mapping[str, Any], typed: str) -> None:
    """Gives a model the parameters in a checkpoint.

    A remedy that both runs have keeps its layers, under its name; what it adjusts during training (a multiplier, an
    integral) starts anew, as do remedies that the finished run had not. So does the estimator's baseline, unless its
    shapes agree.

    Args:
        model: newly built. names: of its remedies, in the order in which they act.
        saved: the checkpoint. typed: what names the run, for messages.

    Raises:
        ConfigError: the networks have other parameters.
    """
    before = list(saved["hyper_parameters"]["config"].get("regularizer") or {})
    there = {_named(name, before): value for name, value in saved["state_dict"].items()}
    own = model.state_dict()
    mine = {_named(name, names): name for name in own}
    adjusted = {
        f"{_REMEDIES}{at}.{name}"
        for at, remedy in enumerate(model.regularizers)
        for name, _ in remedy.named_buffers(recurse=False)
    }
    found: dict[str, Tensor] = {}
    for name, place in mine.items():
        fits = name in there and there[name].shape == own[place].shape
        if name.startswith((_REMEDIES, "estimator.")):
            if fits and place not in adjusted:
                found[place] = there[name]
        elif fits:
            found[place] = there[name]
        else:
            raise _other(name, before, typed, name in there)
    for name in there.keys() - mine.keys():
        if not name.startswith((_REMEDIES, "estimator.")):
            raise _other(name, before, typed, True)
    model.load_state_dict(found, strict=False)


def _named(name: str, remedies: Sequence[str]) -> str:
    """The name of a parameter with that of its remedy in place of the number."""
    if not name.startswith(_REMEDIES):
        return name
    at, _, rest = name.removeprefix(_REMEDIES).partition(".")
    return f"{_REMEDIES}{remedies[int(at)]}.{rest}"


def _other(name: str, remedies: Sequence[str], typed: str, there: bool) -> ConfigError:
    had = f"regularizer=[{','.join(remedies)}]" if remedies else "regularizer=none"
    if name == "decoder.output.bias":
        had = "init=frequencies" if there else "init=default, or any but frequencies"
    return ConfigError(
        f"{typed}: that run and this one do not both have a {name} of the same shape\ntry  {had}, as it had"
    )
