"""From a configuration to objects: the only place where what it names is imported and called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from omegaconf import OmegaConf
from torch.optim import Optimizer

from lvexp.anneal.base import AbstractAnneal
from lvexp.checks import targets
from lvexp.checks.declarations import SEVERAL
from lvexp.checks.limits import typed
from lvexp.data.bag import Bag
from lvexp.data.module import TextData
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, LvexpError
from lvexp.estimators.base import AbstractEstimator
from lvexp.instruments.base import Instrument
from lvexp.instruments.evaluate import Make
from lvexp.job.identity import arguments
from lvexp.latents.base import AbstractLatent
from lvexp.models.base import LatentModel
from lvexp.networks.base import AbstractDecoder, AbstractEncoder
from lvexp.networks.bow import BowDecoder
from lvexp.networks.init import AbstractInit, Default
from lvexp.networks.matcher import Matcher
from lvexp.regularizers.base import Regularizer, equip
from lvexp.training.module import Training

#: group → what the class that it names must be
_KINDS: dict[str, tuple[type, ...]] = {
    "data": (TextData,),
    "encoder": (AbstractEncoder,),
    "decoder": (AbstractDecoder, BowDecoder, Matcher),
    "latent": (AbstractLatent,),
    "estimator": (AbstractEstimator,),
    "anneal": (AbstractAnneal,),
    "regularizer": (Regularizer,),
    "instrument": (Instrument,),
    "optimizer": (Optimizer,),
    "init": (AbstractInit,),
    "model": (LatentModel,),
}

#: what is given to a class only if its constructor asks for it by name
OFFERED = ("special", "states")


def check(config: Mapping[str, Any]) -> None:
    """Raises :class:`ConfigError` where a configuration of the user's own names what cannot be its class."""
    trust = targets.named(config)
    for where, node in _nodes(config):
        _read(where, node, trust)


def check_training(config: Mapping[str, Any], trust: Collection[str]) -> None:
    """Raises :class:`ConfigError` where a saved configuration names what is not trusted for its training. A finished
    run needs nothing of that, but a file that was tampered with is refused whole."""
    for group in ("anneal", "optimizer"):
        _read(group, config[group], trust)


def _nodes(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for group in _KINDS:
        if group not in SEVERAL:
            yield group, config[group]
    for group in SEVERAL:
        yield from ((f"{group}.{name}", node) for name, node in (config.get(group) or {}).items())


def _read(where: str, node: Mapping[str, Any], trust: Collection[str]) -> tuple[type, dict[str, Any]]:
    """The class that a node names, and its arguments. Blocks of a latent variable, which it makes itself once it knows
    their width, are what makes them; an estimator's parts are made."""
    group = where.partition(".")[0]
    found = targets.find(where, node.get(targets.TARGET), _KINDS[group], trust)
    given, parts = arguments(node), dict[str, Any]()
    if "${oc.env:" in str(given) and node[targets.TARGET] in trust:
        # kept as typed (lvexp.job.environment); one of ours needs nothing of it, and a stranger's file may read nothing
        known: Any = OmegaConf.to_container(OmegaConf.create(given), resolve=True)
        given = known
    if group in ("latent", "estimator"):
        for name in [name for name, value in given.items() if isinstance(value, Mapping) and targets.TARGET in value]:
            inner, block = f"{where}.{name}", given.pop(name)
            if group == "estimator":
                parts[name] = _make(inner, block, trust)
            else:
                # Hydra's word for the same, which says here what the code does anyway
                made, settings = _read(inner, {k: v for k, v in block.items() if k != targets.PARTIAL}, trust)
                parts[name] = functools.partial(made, **settings)
    if group == "optimizer":
        given.pop("decay", None)  # the trainer's
    return found, targets.arguments(where, given) | parts


def _make(where: str, node: Mapping[str, Any], trust: Collection[str], **given: Any) -> Any:
    found, settings = _read(where, node, trust)
    taken = inspect.signature(found).parameters
    given = {name: value for name, value in given.items() if name not in OFFERED or name in taken}
    try:
        return found(**{**settings, **given})
    except LvexpError:
        raise
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ConfigError(f"{where}: {error}\nthe choice was {node[targets.TARGET]}") from error


def _tried(optimizer: Callable[..., Any], node: Mapping[str, Any]) -> None:
    """Refuses settings that the optimiser itself refuses, which it would only say when training begins."""
    try:
        optimizer([torch.nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError, RuntimeError) as error:
        given = {key: value for key, value in arguments(node).items() if key[0] != "_" and key != "decay"}
        words = " ".join(f"optimizer.{key}={typed(value)}" for key, value in given.items())
        raise ConfigError(f"{words}: {error}\ntry  leave out what it speaks of") from error


def data(config: Mapping[str, Any]) -> TextData:
    """The data module of a resolved configuration of the user's own."""
    return _make("data", config["data"], targets.named(config["data"]))


def model(
    config: Mapping[str, Any], vocabulary: Vocabulary | Bag, *, trust: Collection[str] | None = None
) -> LatentModel:
    """The model of a resolved configuration with its regularizers, its parameters new.

    Args:
        trust: full names of classes from elsewhere that may be imported; None: all that are named, for a configuration
            of the user's own.

    Raises:
        ConfigError: a class cannot be used, see :func:`lvexp.checks.targets.find`, or rejects its arguments.
    """
    make, first = _maker(config, trust), _init(config, trust)
    encoder = first(make("encoder", config["encoder"], vocabulary=vocabulary.size, special=vocabulary.special))
    latent = first(make("latent", config["latent"], features=encoder.width))
    kind: Any = _read("model", config["model"], make.keywords["trust"])[0]
    built = make(
        "model",
        config["model"],
        encoder=encoder,
        decoder=_decoder(config, vocabulary, kind.code_width(latent, encoder), encoder.width, trust),
        vocabulary=vocabulary,
        latent=latent,
        estimator=make("estimator", config["estimator"]),
    )
    chosen = (config["regularizer"] or {}).items()
    equip(built, [make(f"regularizer.{name}", node) for name, node in chosen])
    return built


def training(
    config: Mapping[str, Any],
    model: LatentModel,
    steps_per_epoch: int = 1,
    *,
    trust: Collection[str] | None = None,
    kept: Mapping[str, Any] | None = None,
    labels: Sequence[str] = (),
) -> Training:
    """What trains a model that :func:`model` made of the same configuration.

    Args:
        trust: as :func:`model` takes it.
        kept: the configuration as it is to be written into checkpoints, if that is another one.
        labels: names of the classes, for checkpoints too.
    """
    make, encoder = _maker(config, trust), model.get_submodule("encoder")
    found, settings = _read("optimizer", config["optimizer"], make.keywords["trust"])
    optimizer = functools.partial(found, **settings)
    _tried(optimizer, config["optimizer"])
    sizes = model.vocabulary, model.code_width(model.latent, encoder), encoder.width
    built = Training(
        model,
        make("anneal", config["anneal"], steps_per_epoch=steps_per_epoch),
        optimizer,
        functools.partial(_decoder, config, *sizes, trust),
    )
    # all that `lvexp.load` needs, as plain values: the file then opens with weights_only=True
    hyper = {"config": dict(kept or config), "vocabulary": model.vocabulary.to_json(), "labels": list(labels)}
    built.save_hyperparameters(hyper, logger=False)
    return built


def instruments(config: Mapping[str, Any]) -> list[Make]:
    """The instruments of the user's own in a resolved configuration."""
    trust = targets.named(config)
    read = (_read(f"instrument.{name}", node, trust) for name, node in (config.get("instrument") or {}).items())
    return [functools.partial(found, **settings) for found, settings in read]


def _maker(config: Mapping[str, Any], trust: Collection[str] | None) -> functools.partial[Any]:
    return functools.partial(_make, trust=targets.named(config) if trust is None else trust)


def _init(config: Mapping[str, Any], trust: Collection[str] | None) -> AbstractInit:
    return _maker(config, trust)("init", config["init"]) if "init" in config else Default()  # a run of an older version


def _decoder(
    config: Mapping[str, Any], vocabulary: Vocabulary | Bag, code: int, states: int, trust: Collection[str] | None
) -> torch.nn.Module:
    given = {"vocabulary": vocabulary.size, "special": vocabulary.special, "code": code, "states": states}
    return _init(config, trust)(_maker(config, trust)("decoder", config["decoder"], **given))
