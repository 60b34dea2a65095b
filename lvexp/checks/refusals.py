"""Refusals: what cannot work is said before anything expensive starts. Free of torch.

Every option may declare traits in its yaml: ``provides`` (what it offers to the others), ``requires`` (what the
others must offer), ``owns`` (a slot that only one remedy may hold) and ``ignores`` (keys it has for the sake of sweeps
and does not use); ``limits`` and ``one_of`` are about its own values (:mod:`lvexp.checks.values`). What these cannot
say is in the short list :func:`_explicit`.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lvexp.checks import drawing, limits, parent, values
from lvexp.data.source import columns
from lvexp.errors import ConfigError, Refusal

#: trait → what an option says that lacks it, what one says that needs it
TRAITS = {
    "rate": ("has no prior, so no rate", "needs a rate"),
    "no_latent": ("is a latent variable", "has none"),
    "code": ("has no latent variable", "needs one"),
    "point": ("is not a point", "has a point for a posterior"),
    "rsample": ("has no reparameterised sample", "needs one"),
    "density": ("has no density", "needs one"),
    "discrete": ("is not discrete", "is for discrete variables"),
    "blocks": ("is a single block", "has an estimator for each block"),
    "classes": ("holds no variable that could be the class of a text", "needs one"),
    "per_dimension": ("has a rate that does not split over dimensions", "needs the rate of each dimension"),
    "gaussian": ("is not Gaussian", "needs a Gaussian posterior"),
    "standard_prior": ("has another prior than N(0, I)", "commits a rate against N(0, I)"),
    "features": ("reads nothing", "is inferred from what an encoder read"),
    "autoregressive": ("reads no words", "changes the words it reads"),
    "bag": ("reads no counts of words", "is inferred from counts of words"),
    "bag_decoder": ("scores texts word by word", "has documents that are counts of words"),
    "simplex": ("has no proportions for a code", "mixes topics in proportion"),
    "skippable": ("has no layers for z to join", "joins z to each layer"),
    "states": ("has no state for each word", "reads them"),
    "relevance": ("writes words", "needs to know how well an answer fits a question"),
    "pairs": ("reads single texts", "compares two"),
    "condition": ("has nothing to condition a prior on", "needs it"),
    "tokens": ("has no token sequences", "needs them"),
    "labels": ("has no labels", "needs a label for each text"),
    "source": ("has no source texts", "needs one for each text"),
    "counts": ("has no bags of words", "needs them"),
}
#: trait → the groups whose options may offer it, to name the one that does not
_GIVERS = dict.fromkeys(TRAITS, "latent") | {"features": "encoder", "autoregressive": "decoder"}
_GIVERS |= {"skippable": "decoder", "states": "encoder", "relevance": "decoder", "pairs": "model", "condition": "model"}
_GIVERS |= {"bag": "encoder", "bag_decoder": "decoder"}
_GIVERS |= dict.fromkeys(("tokens", "labels", "source", "counts"), "data")


def check(plain: dict[str, Any], choices: Mapping[str, Any], menu: Path) -> None:
    """Raises :class:`ConfigError` or :class:`Refusal` for a configuration that cannot run.

    Args:
        plain: the configuration, resolved, without its ``hydra`` node.
        choices: group → option, as Hydra composed them.
        menu: the folder of the options, to know their types and to name alternatives.
    """
    if choices.get("regularizer", "none") is None:
        raise ConfigError("regularizer=null: is not a list of remedies\ntry  regularizer=none")
    remedies = plain.get("regularizer") or {}
    for name, remedy in remedies.items():
        if not isinstance(remedy, dict) or "_target_" not in remedy:
            raise Refusal(
                f"regularizer.{name}={limits.typed(remedy)} is set, but {name} is not among the chosen remedies\n"
                f"try  regularizer=[{', '.join([*(k for k, v in remedies.items() if '_target_' in (v or {})), name])}]"
                f" | leave out regularizer.{name}.…"
            )
    values.check(plain, choices, menu)
    _traits(plain, choices, menu)
    drawing.check(plain, choices, TRAITS)
    _explicit(plain, choices)


def _declarations(plain: Mapping[str, Any]) -> None:
    """What an option says of itself must be of the form that is read here."""
    for path, node in values.nodes(plain):
        for key in values.DECLARED:
            said, table = node.get(key), key in ("limits", "one_of")
            good = isinstance(said, Mapping) if table else isinstance(said, list) and all(map(_is_text, said))
            if isinstance(said, Mapping):
                form = list if key == "one_of" else str
                good = all(isinstance(allowed, form) and allowed for allowed in said.values())
            unknown = [trait for trait in said if trait not in TRAITS] if good and key == "requires" and said else []
            if said is not None and (not good or unknown):
                wanted = "a list of names"
                if table:
                    wanted = "a mapping: key → list of words" if key == "one_of" else "a mapping: key → limit"
                why = f"there is no trait {unknown[0]}" if unknown else f"must be {wanted}"
                raise ConfigError(f"{path}.{key}={limits.typed(said)}: {why}\ntry  leave out {path}.{key}")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def resolved(config: DictConfig, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """A configuration as plain values, without some of its nodes.

    Raises:
        ConfigError: a group has no option, or an option says of itself what cannot be read.
    """
    nodes = {str(key): config[key] for key in config if key not in leave_out}
    plain: dict[str, Any] = {
        key: OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        for key, node in nodes.items()
    }
    for group in (*values.GROUPS, *values.AROUND, "evaluation", "regularizer"):
        if group not in leave_out and not isinstance(plain.get(group), Mapping):
            raise ConfigError(f"{group}={limits.typed(plain.get(group))}: nothing is chosen\ntry  leave out {group}=…")
    _declarations(plain)
    return plain


def _parts(plain: dict, choices: Mapping) -> Iterator[tuple[str, str, dict]]:
    """Every chosen option: its group, how it was typed, and its node."""
    for group in values.GROUPS:
        if isinstance(plain.get(group), dict):
            yield group, f"{group}={choices.get(group, '?')}", plain[group]
    for name, node in (plain.get("regularizer") or {}).items():
        yield "regularizer", f"regularizer={name}", node


def _requires(node: dict) -> list[str]:
    needs = list(node.get("requires") or [])
    # the floor of free bits is per dimension in two of its three forms
    return needs + (["per_dimension"] if node.get("per") in ("dimension", "batch") else [])


def _traits(plain: dict, choices: Mapping, menu: Path) -> None:
    parts = list(_parts(plain, choices))
    provided = {trait for group, _, node in parts if group != "data" for trait in node.get("provides") or []}
    given = columns(plain["data"])
    provided |= given
    for group, typed, node in parts:
        for trait in _requires(node):
            if trait not in provided:
                raise _refusal(group, typed, trait, parts, given, menu)
    owners: dict[str, str] = {}
    for _, typed, node in parts:
        for slot in node.get("owns") or []:
            if slot in owners:
                raise Refusal(
                    f"these choices do not go together\n  {owners[slot]}   sets the {slot}\n  {typed}   sets it too\n"
                    f"try  {owners[slot]} | {typed}"
                )
            owners[slot] = typed


@functools.cache
def _options(menu: Path, group: str) -> tuple[tuple[str, dict], ...]:
    found = []
    for file in sorted((menu / group).glob("*.yaml")):
        _, node = values.yaml(file)
        if group == "model":
            node = node.get("model", {})
        elif group == "regularizer":
            node = next(iter(node.values()), {})
        found.append((file.stem, node))
    return tuple(found)


def _refusal(
    group: str, typed: str, trait: str, parts: list[tuple[str, str, dict]], given: frozenset[str], menu: Path
) -> Refusal:
    """Names who lacks the trait, who needs it, and what to type instead. ``given``: what the corpus offers."""
    lack, need = TRAITS[trait]
    giver = _GIVERS[trait]
    lacking = next(spelt for other, spelt, _ in parts if other == giver)
    width = max(len(typed), len(lacking))
    lines = ["these choices do not go together", f"  {lacking:<{width}}   {lack}", f"  {typed:<{width}}   {need}"]

    def missing(option: dict, instead_of: str) -> set[str]:
        """Groups whose needs are not met once an option stands for what was typed."""
        chosen = [(other, node) for other, spelt, node in parts if spelt != instead_of] + [("", option)]
        offered = {offer for other, node in chosen if other != "data" for offer in node.get("provides") or []} | given
        return {other for other, node in chosen if not offered.issuperset(_requires(node))}

    others = [f"{group}={name}" for name, node in _options(menu, group) if trait not in _requires(node)]
    fitting = [f"{group}={name}" for name, node in _options(menu, group) if not missing(node, typed)]
    lines += ["try  " + " | ".join(fitting or others)] if others and group != "model" else []
    offers = [(name, node) for name, node in _options(menu, giver) if trait in (node.get("provides") or [])]
    if giver == "data":  # whether texts come as words or as counts is a value, not a choice
        givers = [f"data={name}" for name, _ in offers if f"data={name}" != lacking]
        givers = ["data.view=tokens", *givers] if trait == "tokens" else givers
        others_model = ""
    else:
        left = {name: missing(node, lacking) for name, node in offers}
        least = [name for name, groups in left.items() if not groups]
        givers = [f"{giver}={name}" for name in least or left]
        others_model = "" if least or giver == "model" else ", with another model"
    start = "or   " if len(lines) > 3 else "try  "
    lines += [start + " | ".join(givers) + others_model] if givers else []
    return Refusal("\n".join(lines))


def _explicit(plain: dict, choices: Mapping) -> None:
    """What traits cannot say, because it hangs on a value."""
    remedies = plain.get("regularizer") or {}
    latent, model = f"latent={choices.get('latent')}", f"model={choices.get('model')}"
    if plain["decoder"].get("mixture") == "words" and "simplex" not in (plain["latent"].get("provides") or []):
        raise Refusal(
            f"these choices do not go together\n  {latent}   has no proportions for a code\n"
            "  decoder.mixture=words   mixes topics in proportion\n"
            "try  latent=logistic_normal | latent=dirichlet | decoder.mixture=logits"
        )
    rated = "rate" in (plain["latent"].get("provides") or [])
    if not rated and plain["anneal"].get("beta", 1) != 1:
        raise Refusal(
            f"these choices do not go together\n  {latent}   has no rate\n"
            f"  anneal.beta={plain['anneal']['beta']}   weighs it\ntry  leave out anneal.beta | model=svae"
        )
    blind, seeing = None, None
    if plain["decoder"].get("inputless"):
        blind, seeing = "decoder.inputless=true", "decoder.inputless=false"
    elif plain["decoder"].get("window") == 0:
        blind, seeing = "decoder.window=0", "decoder.window=2"
    for hiding in ("word_dropout", "embedding_dropout"):
        if blind and hiding in remedies:
            raise Refusal(
                f"these choices do not go together\n  {blind}   reads no words\n"
                f"  regularizer={hiding}   hides some of them\ntry  {seeing} | regularizer=none"
            )
    if "control_kl" in remedies and plain["anneal"].get("beta", 1) != 1:
        raise Refusal(
            f"these choices do not go together\n  anneal.beta={plain['anneal']['beta']}   weighs the rate\n"
            "  regularizer=control_kl   sets that weight\ntry  leave out anneal.beta | regularizer=none"
        )
    if blind and model == "model=rnnlm":
        raise Refusal(
            "these choices do not go together\n  model=rnnlm   has only words to predict from\n"
            f"  {blind}   reads none\ntry  {seeing} | model=svae"
        )
    encoder, codeless = plain["encoder"].get("provides") or [], "no_latent" in (plain["latent"].get("provides") or [])
    reads = "states" in (plain["decoder"].get("requires") or [])
    if codeless and "features" in encoder and not reads:
        raise Refusal(
            f"these choices do not go together\n  {latent}   has nothing to infer\n"
            f"  encoder={choices.get('encoder')}   would read the text in vain\n"
            "try  model=rnnlm | encoder=none | latent=gaussian"
        )
    if not codeless and plain["decoder"].get("attention") is False:
        raise Refusal(
            f"these choices do not go together\n  {latent}   drives the attention\n"
            "  decoder.attention=false   leaves it out\ntry  decoder.attention=true | model=answer_lstm"
        )
    if plain["data"].get("balance") and "labels" not in (plain["model"].get("requires") or []):
        raise Refusal(
            f"these choices do not go together\n  {model}   looks at no label in training\n"
            f"  data.balance={plain['data']['balance']}   shows it some texts more often for theirs\n"
            "try  model=m2 | data.balance=0.0"
        )
    if (path := (plain.get("embeddings") or {}).get("path")) and not os.path.isfile(os.path.expanduser(path)):
        raise ConfigError(f"embeddings.path={path}: there is no such regular file\ntry  embeddings.path=null")
    if plain["trainer"]["precision"] == "16-mixed" and plain["optimizer"].get("fused"):
        raise Refusal(
            "these choices do not go together\n  trainer.precision=16-mixed   scales the gradients\n"
            "  optimizer.fused=true   clips before it takes the scale out\n"
            "try  trainer.precision=bf16-mixed | optimizer.fused=false"
        )
    if "semi_amortized" in remedies and choices.get("estimator") == "score":
        raise Refusal(
            "these choices do not go together\n  estimator=score   has draws without a derivative\n"
            "  regularizer=semi_amortized   differentiates through them\ntry  estimator=auto | estimator=pathwise"
        )
    if 0 < plain["trainer"]["max_epochs"] <= (remedies.get("pretrain") or {}).get("epochs", 0):
        epochs = remedies["pretrain"]["epochs"]
        raise Refusal(
            f"these choices do not go together\n  regularizer.pretrain.epochs={epochs}   come first\n"
            f"  trainer.max_epochs={plain['trainer']['max_epochs']}   leave none after them\n"
            f"try  trainer.max_epochs={3 * epochs} | regularizer.pretrain.epochs=1"
        )
    if "lm_init" in remedies:
        parent.check(remedies["lm_init"].get("run"), plain["encoder"], str(choices.get("encoder")))
    decoder = plain["decoder"]
    if decoder.get("tie") and decoder["embedding"] != decoder["hidden"]:
        raise Refusal(
            f"these choices do not go together\n  decoder.tie=true   makes one matrix of word vectors and output\n"
            f"  decoder.embedding={decoder['embedding']} decoder.hidden={decoder['hidden']}   are two widths\n"
            f"try  decoder.embedding={decoder['hidden']} | decoder.tie=false"
        )
