"""Whether an estimator can draw a latent variable, said before torch is loaded; block by block where there are blocks.

A part of :mod:`lvexp.checks.refusals`: what its traits cannot say, because it hangs on values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lvexp.errors import Refusal

_Traits = Mapping[str, tuple[str, str]]
_APART = "these choices do not go together"


def check(plain: Mapping[str, Any], choices: Mapping[str, Any], traits: _Traits) -> None:
    """Raises :class:`Refusal` where the estimator does not fit the latent variable.

    Args:
        plain: the configuration. choices: group → option.
        traits: trait → what lacks it says, what needs it says.
    """
    estimator, latent, samples = plain["estimator"], plain["latent"], plain["model"].get("samples", 1)
    typed = f"estimator={choices.get('estimator')}"
    drawn = f"latent={choices.get('latent')}"
    if "blocks" not in (estimator.get("requires") or []):
        _passes("", estimator, latent, typed, drawn)
        _several(estimator, samples, typed)
        return
    there, given = (
        {name: node for name, node in part.items() if isinstance(node, Mapping)} for part in (latent, estimator)
    )
    if there.keys() != given.keys():
        raise Refusal(
            f"{_APART}\n  {drawn}   has the blocks {', '.join(there)}\n"
            f"  {typed}   has estimators for {', '.join(given)}\ntry  estimator=auto"
        )
    for name, node in there.items():
        typed, drawn = (f"{group}.{name}={_option(choices, group, name)}" for group in ("estimator", "latent"))
        for trait in given[name].get("requires") or []:
            if trait not in (node.get("provides") or []):
                lack, need = traits[trait]
                raise Refusal(f"{_APART}\n  {drawn}   {lack}\n  {typed}   {need}\ntry  estimator@estimator.{name}=auto")
        _passes(f".{name}", given[name], node, typed, drawn)
        if given[name].get("baseline") == "leave_one_out":
            raise Refusal(
                f"{_APART}\n  estimator.{name}.baseline=leave_one_out   looks at the other draws\n"
                "  estimator=blocks   combines each draw with several of the other blocks\n"
                f"try  estimator.{name}.baseline=input | estimator.{name}.baseline=mean"
            )
        _several(given[name], samples, typed)


def _option(choices: Mapping[str, Any], group: str, name: str) -> Any:
    return choices.get(f"{group}@{group}.{name}", "?")


def _passes(at: str, estimator: Mapping[str, Any], latent: Mapping[str, Any], typed: str, drawn: str) -> None:
    """An enumeration costs a decoder pass for each value of z."""
    if "limit" not in estimator:
        return
    variables = 1 if "dim" in (latent.get("ignores") or []) else latent["dim"]
    values = latent.get("categories", 2)
    passes, limit = values**variables, estimator["limit"]
    if passes > limit:
        smaller = f"a smaller latent{at}.{'dim' if variables > 1 else 'categories'}"
        sampled = f"estimator{'@estimator' + at if at else ''}=score"
        raise Refusal(
            f"{_APART}\n  {drawn}   has {values}^{variables} = {passes:,} values\n"
            f"  {typed}   takes a decoder pass for each, and estimator{at}.limit={limit}\n"
            f"try  {sampled} | {smaller} | estimator{at}.limit={passes}"
        )


def _several(estimator: Mapping[str, Any], samples: int, typed: str) -> None:
    """What sets draws of one text against each other needs two of them."""
    alone = estimator.get("baseline") == "leave_one_out"
    if samples < 2 and (alone or "alpha" in estimator):
        typed = f"{typed} baseline=leave_one_out" if alone else typed
        raise Refusal(
            f"{_APART}\n  {typed}   sets the draws of a text against each other\n"
            f"  model.samples={samples}   draws one\ntry  model.samples=4 | estimator=score estimator.baseline=mean"
        )
