"""Traits: what one option needs, another must offer; what one owns, no other may own. Free of torch.

A part of :mod:`lvexp.checks.refusals`; :mod:`lvexp.checks.declarations` describes how an option declares its traits.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lvexp.checks.declarations import AROUND, SEVERAL, Option, apart, condition, holds, traits
from lvexp.checks.limits import typed
from lvexp.checks.values import yaml
from lvexp.errors import Refusal

#: trait → message about an option that lacks it, message about an option that needs it
TRAITS = {
    "rate": ("has no prior, so no rate", "needs a rate"),
    "no_latent": ("is a latent variable", "has none"),
    "code": ("has no latent variable", "needs one"),
    "point": ("is not a point", "has a point for a posterior"),
    "rsample": ("has no reparameterised sample", "needs one"),
    "density": ("has no density", "needs one"),
    "message": ("is no sequence of symbols", "has one sent"),
    "discrete": ("is not discrete", "is for discrete variables"),
    "blocks": ("is a single block", "has an estimator for each block"),
    "classes": ("holds no variable that could be the class of a text", "needs one"),
    "per_dimension": ("has a rate that does not split over dimensions", "needs the rate of each dimension"),
    "gaussian": ("is not Gaussian", "needs a Gaussian posterior"),
    "rate_control": ("leaves the rate as it is", "needs its weight or its floor changed"),
    "standard_prior": ("has another prior than N(0, I)", "commits a rate against N(0, I)"),
    "simplex": ("has no proportions for a code", "mixes topics in proportion"),
    "own_prior": ("has the prior that belongs to it", "replaces a Gaussian's"),
    "plain_posterior": ("infers z from more than an encoder's features", "infers it for texts of its own"),
    "word_vectors": ("has no word vectors", "has it read vectors in their place"),
    "features": ("reads nothing", "is inferred from what an encoder read"),
    "bag": ("reads no counts of words", "is inferred from counts of words"),
    "states": ("has no state for each word", "reads them"),
    "apart": ("reads the vectors of a source together", "has the object hidden from the one who knows the task"),
    "recurrent": ("has no recurrent layer", "fills one"),
    "autoregressive": ("reads no words", "changes the words it reads"),
    "relaxable": ("reads single words only", "has it read mixtures of words"),
    "bag_decoder": ("scores texts word by word", "has documents that are counts of words"),
    "vector_decoder": ("scores texts", "has data that are feature vectors"),
    "skippable": ("has no layers for z to join", "joins z to each layer"),
    "relevance": ("writes words", "needs to know how well an answer fits a question"),
    "reads_states": ("reads no states of an encoder", "needs a decoder that does"),
    "pairs": ("reads single texts", "compares two"),
    "source_memory": ("has no source to attend to", "attends to one"),
    "tag_memory": ("has no tags to attend to", "attends to them"),
    "condition": ("has nothing to condition a prior on", "needs it"),
    "game": ("has nobody to talk to", "is what two say to each other"),
    "excerpt": ("is no text made of words of another", "has one that stands for it"),
    "excerpts": ("reads no text in words of another", "is made of words of the text that it stands for"),
    "supervised": ("looks at no label in training", "shows it some texts more often for theirs"),
    "differentiable": ("has draws without a derivative", "differentiates through them"),
    "blockwise": ("draws the latent variable as a whole", "needs it drawn block by block"),
    "tokens": ("has no token sequences", "needs them"),
    "labels": ("has no labels", "needs a label for each text"),
    "source": ("has no source texts", "needs one for each text"),
    "source_texts": ("has no texts for sources", "needs sources that are texts"),
    "joint": ("has a vocabulary of its own for the sources", "reads both with one vocabulary"),
    "tags": ("has no tags", "needs the tags of each text"),
    "counts": ("has no bags of words", "needs them"),
    "vectors": ("has texts", "is for feature vectors"),
}
#: trait → the group whose options may offer it, used to name the option that does not
_GIVERS = dict.fromkeys(TRAITS, "latent")
_GIVERS |= dict.fromkeys(("features", "bag", "states", "apart", "recurrent", "word_vectors"), "encoder")
_GIVERS |= dict.fromkeys(
    ("autoregressive", "relaxable", "bag_decoder", "vector_decoder", "skippable", "relevance", "reads_states"),
    "decoder",
)
_GIVERS |= dict.fromkeys(
    ("pairs", "condition", "supervised", "source_memory", "tag_memory", "game", "excerpts", "plain_posterior"), "model"
)
_GIVERS |= dict.fromkeys(("differentiable", "blockwise"), "estimator")
_GIVERS |= dict.fromkeys(("tokens", "labels", "source", "source_texts", "joint", "tags", "counts", "vectors"), "data")

#: trait of a corpus → the key whose value gives it, if the corpus has that key, and what to type
_OF_VALUES = {
    "tokens": ("view", "data.view=tokens"),
    "source": ("sources", "data.sources.train=FILE"),
    "source_texts": ("sources", "data.sources.train=FILE"),
    "joint": ("vocabulary", "data.vocabulary.joint=true"),
    "tags": ("columns", "data.columns.tags=COLUMN"),
}


def check(options: Sequence[Option], menu: Path) -> None:
    """Raises :class:`lvexp.errors.Refusal` for a required trait that no option offers, or a slot that two options own.

    Args:
        options: the chosen options. menu: the folder of all options, to name alternatives.
    """
    options = [option for option in options if not option.block and option.group not in AROUND]
    offered = {trait for option in options for trait in option.offers}
    withheld = {trait: option for option in options for trait in traits(option.node, "withholds")}
    for option in options:
        for trait in traits(option.node, "requires"):
            if trait not in offered:
                raise _unmet(option, trait, options, menu)
            if trait in withheld:
                raise _withheld(withheld[trait], option, trait, menu)
    owners: dict[str, Option] = {}
    for option in options:
        for slot in traits(option.node, "owns"):
            if slot in owners:
                raise _owned(owners[slot], option, slot, menu)
            owners[slot] = option


def _unmet(option: Option, trait: str, options: Sequence[Option], menu: Path) -> Refusal:
    """Names the option that lacks the trait, the option that needs it, and what to type instead."""
    giver = _GIVERS[trait]
    lacking = next(other for other in options if other.group == giver)
    lack, need = TRAITS[trait]
    need = (option.node.get("because") or {}).get(trait, need)
    needed_if, offered_if = condition(option.node, "requires", trait), condition(lacking.node, "provides", trait)

    def unmet(node: Mapping[str, Any], instead_of: Option) -> set[tuple[str, str]]:
        """The unmet requirements, with their groups, if an option with values ``node`` replaces a chosen option."""
        others = [other for other in options if other is not instead_of]
        there = {offer for other in others for offer in other.offers} | {*traits(node, "provides")}
        there |= instead_of.offers if instead_of.group == "data" else set()
        asking = [(other.group, other.node) for other in others] + [("", node)]
        return {(group, need) for group, node in asking for need in traits(node, "requires") if need not in there}

    advice = []
    if needed_if:
        advice.append(" | ".join(_mended(option, needed_if, False, menu)))
    elif option.group != "model":
        free = {name: node for name, node in _options(menu, option.group) if trait not in traits(node, "requires")}
        fitting = [name for name, node in _options(menu, option.group) if not unmet(node, option)]
        advice.append(" | ".join(f"{option.group}={name}" for name in fitting or free))
    offers = {name: node for name, node in _options(menu, giver) if trait in traits(node, "provides")}
    offers.pop(lacking.name, None)
    other_model = ""
    if giver == "data":
        key, word = _OF_VALUES.get(trait, ("", ""))
        givers = [*([word] if key in lacking.node else []), *(f"data={name}" for name in offers)]
    else:
        left = {name: unmet(node, lacking) for name, node in offers.items()}
        fewest = min(map(len, left.values()), default=0)
        least = [name for name, needs in left.items() if len(needs) == (fewest if giver == "model" else 0)]
        givers = [f"{giver}={name}" for name in least or left]
        other_model = "" if least or giver == "model" else ", with another model"
    if offered_if:
        advice.insert(0, " | ".join(_mended(lacking, offered_if, True, menu)))
    else:
        advice.append(" | ".join(givers) + other_model if givers else "")
    return apart((lacking.spelled(offered_if), lack), (option.spelled(needed_if), need), list(filter(None, advice)))


def _withheld(by: Option, option: Option, trait: str, menu: Path) -> Refusal:
    """Names the option that withholds a trait, the option that needs it, and what to type instead."""
    lack, need = TRAITS[trait]
    need = (option.node.get("because") or {}).get(trait, need)
    needed_if = condition(option.node, "requires", trait)
    other = " | ".join(_mended(option, needed_if, False, menu)) if needed_if else f"leave out {option.typed}"
    giving = [f"{by.group}={n}" for n, node in _options(menu, by.group) if trait not in traits(node, "withholds")]
    return apart(
        (by.typed, lack), (option.spelled(needed_if), need), [other, *([" | ".join(giving)] if giving else [])]
    )


def _owned(first: Option, second: Option, slot: str, menu: Path) -> Refusal:
    """Names two options that own the same slot, and what to type to resolve it."""
    under = [condition(option.node, "owns", slot) for option in (first, second)]
    names = [option.spelled(owned_if) for option, owned_if in zip((first, second), under, strict=True)]
    advice = names
    if any(under):
        pairs = zip((first, second), under, names, strict=True)
        advice = [
            " | ".join(_mended(option, owned_if, False, menu)) if owned_if else f"leave out {name}"
            for option, owned_if, name in pairs
        ]
    return apart((names[0], f"sets the {slot}"), (names[1], "sets it too"), [" | ".join(advice)])


def _mended(option: Option, said: Mapping[str, Any], wanted: bool, menu: Path) -> list[str]:
    """What to type so that a condition on an option's values holds or, if ``wanted`` is false, no longer holds."""
    known = dict(_options(menu, option.group)).get(option.name, {})
    mended = []
    for key, limit in said.items():
        value = option.node.get(key)
        candidates = [known[key]] if key in known else []
        candidates += (option.node.get("one_of") or {}).get(key, [])
        candidates += [not value] if isinstance(value, bool) else []
        fits = [candidate for candidate in candidates if holds({key: limit}, {key: candidate}) is wanted]
        other = f"leave out {option.path}.{key}" if known and key not in known else f"another {option.path}.{key}"
        if holds({key: limit}, option.node) is not wanted:
            mended.append(f"{option.path}.{key}={typed(fits[0])}" if fits else other)
    return [" ".join(mended)] if wanted else mended


@functools.cache
def _options(menu: Path, group: str) -> tuple[tuple[str, dict[str, Any]], ...]:
    """Name and values of every option of a group, as in its file."""
    found = []
    for file in sorted((menu / group).glob("*.yaml")):
        _, node = yaml(file)
        if group == "model":
            node = node.get("model", {})
        elif group in SEVERAL:
            node = next(iter(node.values()), {})
        found.append((file.stem, node))
    return tuple(found)
