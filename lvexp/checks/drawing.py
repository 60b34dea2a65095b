"""Checks whether an estimator can draw a latent variable, for each block if there are blocks. Free of torch.

A part of :mod:`lvexp.checks.refusals`: declarations cannot express it, because it depends on values of both options.
"""

from __future__ import annotations

from collections.abc import Sequence

from lvexp.checks.declarations import Option, apart, traits
from lvexp.checks.traits import TRAITS


def check(options: Sequence[Option]) -> None:
    """Raises :class:`lvexp.errors.Refusal` if the estimator does not fit the latent variable.

    Args:
        options: all chosen options, including blocks.
    """
    estimator, latent = (
        next(option for option in options if option.group == group and not option.block)
        for group in ("estimator", "latent")
    )
    if "blocks" not in traits(estimator.node, "requires"):
        _passes(estimator, latent)
        return
    given, there = (
        {option.path.partition(".")[2]: option for option in options if option.block and option.group == group}
        for group in ("estimator", "latent")
    )
    if there.keys() != given.keys():
        raise apart(
            (latent.typed, f"has the blocks {', '.join(there)}"),
            (estimator.typed, f"has estimators for {', '.join(given)}"),
            ["estimator=auto"],
        )
    for name, block in there.items():
        for trait in traits(given[name].node, "requires"):
            if trait not in traits(block.node, "provides"):
                lack, need = TRAITS[trait]
                raise apart((block.typed, lack), (given[name].typed, need), [f"estimator@estimator.{name}=auto"])
        _passes(given[name], block)


def _passes(estimator: Option, latent: Option) -> None:
    """Checks the ``limit`` of an enumeration, which costs one decoder pass for each value of z."""
    if "limit" not in estimator.node:
        return
    passes, shown = _count(latent)
    limit = estimator.node["limit"]
    if passes > limit:
        several = latent.node.get("dim", 0) > 1 and "dim" not in (latent.node.get("ignores") or [])
        smaller = f"a smaller {latent.path}.{'dim' if several else 'categories'}"
        sampled = f"estimator{f'@{estimator.path}' if estimator.block else ''}=score"
        raise apart(
            (latent.typed, f"has {shown} = {passes:,} values"),
            (estimator.typed, f"takes a decoder pass for each, and {estimator.path}.limit={limit}"),
            [f"{sampled} | {smaller} | {estimator.path}.limit={passes}"],
        )


def _count(latent: Option) -> tuple[int, str]:
    """The number of values of a latent variable, and how it comes about."""
    node = latent.node
    variables = 1 if "dim" in (node.get("ignores") or []) else node["dim"]
    if "answers" in node:  # a question and an answer in each round
        questions, answers = node["questions"], node["answers"]
        return (questions * answers) ** variables, f"({questions}·{answers})^{variables}"
    values = node.get("categories", 2)
    if node.get("fixed", True):
        return values**variables, f"{values}^{variables}"
    lengths = range(node["least"], variables + 1)  # a sequence may end early
    return sum(values**length for length in lengths), " + ".join(f"{values}^{length}" for length in lengths)
