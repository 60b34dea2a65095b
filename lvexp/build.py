"""Builds objects from a configuration; the only module that imports and calls the classes it names."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from lvexp.anneal.base import AbstractAnneal
from lvexp.checks import parent, targets
from lvexp.checks.declarations import EMPTY, SEVERAL
from lvexp.checks.limits import typed
from lvexp.data.bag import Bag
from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.known import Known
from lvexp.data.module import TextData
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, LvexpError
from lvexp.estimators.base import AbstractEstimator
from lvexp.instruments.base import Instrument
from lvexp.instruments.evaluate import Make
from lvexp.job import checkpoints, preflight
from lvexp.job.identity import arguments
from lvexp.latents.base import AbstractLatent
from lvexp.models.base import LatentModel
from lvexp.networks.base import AbstractDecoder, AbstractEncoder
from lvexp.networks.bow import BowDecoder
from lvexp.networks.gaussian import GaussianDecoder
from lvexp.networks.init import AbstractInit, Default
from lvexp.networks.matcher import Matcher
from lvexp.priors.base import AbstractPrior
from lvexp.regularizers.base import Regularizer, equip
from lvexp.training.loggers.base import RunInfo, Tracker
from lvexp.training.module import Schedule, Training

#: group → base classes, one of which the named class must derive from
_KINDS: dict[str, tuple[type, ...]] = {
    "data": (TextData,),
    "encoder": (AbstractEncoder,),
    "decoder": (AbstractDecoder, BowDecoder, GaussianDecoder, Matcher),
    "latent": (AbstractLatent,),
    "prior": (AbstractPrior,),
    "estimator": (AbstractEstimator,),
    "anneal": (AbstractAnneal,),
    "regularizer": (Regularizer,),
    "instrument": (Instrument,),
    "logger": (Tracker,),
    "callbacks": (Callback,),
    "optimizer": (Optimizer,),
    "scheduler": (LRScheduler,),
    "init": (AbstractInit,),
    "model": (LatentModel,),
}
#: what a part of a model may be
_PARTS = (*_KINDS["encoder"], *_KINDS["decoder"], *_KINDS["estimator"])


#: arguments that are passed to a class only if its constructor has a parameter of that name
OFFERED = ("special", "states", "words", "memories", "reader", "inference", "new_encoder", "new_decoder")
OFFERED += ("sources", "attributes", "known")


def check(config: Mapping[str, Any]) -> None:
    """Raises :class:`ConfigError` if the user's own configuration names a class that cannot be used in its place."""
    trust = targets.named(config)
    for where, node in _nodes(config):
        _read(where, node, trust)


def check_training(config: Mapping[str, Any], trust: Collection[str]) -> None:
    """Raises :class:`ConfigError` where a saved configuration names what is not trusted for its training. A finished
    run needs nothing of that, but a file that was tampered with is refused whole."""
    for group in ("anneal", "optimizer", *(["scheduler"] if config.get("scheduler") else [])):
        _read(group, config[group], trust)


def _nodes(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for group in _KINDS:
        if group not in SEVERAL and (group not in (*EMPTY, "scheduler") or config.get(group)):
            yield group, config[group]
    for group in SEVERAL:
        yield from ((f"{group}.{name}", node) for name, node in (config.get(group) or {}).items())


def _read(where: str, node: Mapping[str, Any], trust: Collection[str]) -> tuple[type, dict[str, Any]]:
    """The class that a node names, and its arguments. The parts of a latent variable and of a model are passed as
    factories, because these build them themselves once they know their sizes; those of an estimator are built here."""
    group = where.partition(".")[0]
    kinds = _PARTS if where.startswith("model.") else _KINDS[group]
    found = targets.find(where, node.get(targets.TARGET), kinds, trust)
    given, parts = arguments(node), dict[str, Any]()
    if "${oc.env:" in str(given) and node[targets.TARGET] in trust:
        # ${oc.env:…} is kept as typed (lvexp.job.environment) and resolved only here: our own classes need no
        # environment variables, and a file from somebody else must not read any
        known: Any = OmegaConf.to_container(OmegaConf.create(given), resolve=True)
        given = known
    if group in ("latent", "estimator", "model"):
        for name in [name for name, value in given.items() if isinstance(value, Mapping) and targets.TARGET in value]:
            inner, block = f"{where}.{name}", given.pop(name)
            if group == "estimator":
                parts[name] = _make(inner, block, trust)
            else:
                # Hydra's keyword for a factory is redundant here
                made, settings = _read(inner, {k: v for k, v in block.items() if k != targets.PARTIAL}, trust)
                parts[name] = functools.partial(made, **settings)
    if group == "optimizer":
        given.pop("decay", None)  # for the trainer
    if group == "scheduler":
        given = {key: value for key, value in given.items() if key not in ("interval", "horizon")}
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
    """Rejects settings that the optimiser rejects; otherwise the error would appear only when training begins."""
    try:
        optimizer([torch.nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError, RuntimeError) as error:
        given = {key: value for key, value in arguments(node).items() if key[0] != "_" and key != "decay"}
        words = " ".join(f"optimizer.{key}={typed(value)}" for key, value in given.items())
        raise ConfigError(f"{words}: {error}\ntry  leave out the settings that it names") from error


def data(config: Mapping[str, Any], known: Known | None = None) -> TextData:
    """The data module of a resolved configuration, which must be the user's own; ``known`` is what a finished run
    knows already, by default the run that ``data.vocabulary.run`` names."""
    run = parent.vocabulary_of(config["data"])
    if known is None and (file := parent.tokenizer(run)) is not None:
        known = Known(f"data.vocabulary.run={run}", Vocabulary.of_file(file))
    elif known is None and run is not None:
        # classes are parameters of a model that looks at labels
        labels = config.get("finetune") is not None and "labels" in (config["model"].get("requires") or ())
        known = checkpoints.known(run, f"data.vocabulary.run={run}", labels)
    made = _make("data", config["data"], targets.named(config["data"]), known=known)
    if made.known is not known:
        raise ConfigError(
            f"data={config['data']['name']}: this class of yours cannot use the vocabulary of a finished run\n"
            "try  an argument known, to be passed on to lvexp.data.module.TextData"
        )
    return made


def model(
    config: Mapping[str, Any],
    vocabulary: Vocabulary | Bag | Features,
    sources: Vocabulary | Features | None = None,
    attributes: Mapping[str, Sequence[str]] | None = None,
    *,
    trust: Collection[str] | None = None,
) -> LatentModel:
    """The model of a resolved configuration, with its regularizers and newly initialised parameters.

    Args:
        vocabulary: of the texts. sources: of their sources, if it is another one; the encoder reads sources then.
        attributes: attribute of the texts → names of its classes.
        trust: full names of other classes that may be imported; None for all that are named, if the configuration is
            the user's own.

    Raises:
        ConfigError: a class cannot be used (see :func:`lvexp.checks.targets.find`), or rejects its arguments.
    """
    make, first = _maker(config, trust), _init(config, trust)

    read = sources or vocabulary

    def new_encoder(of: Vocabulary | Bag | Features = vocabulary) -> AbstractEncoder:
        return first(make("encoder", config["encoder"], vocabulary=of.size, special=of.special))

    def new_decoder(code: int) -> torch.nn.Module:
        # one that attends would have no source to look at
        attends = {key: "none" for key in ("attention", "attends") if key in config["decoder"]}
        plain = {**config, "decoder": {**config["decoder"], **attends}}
        return _decoder(plain, read, code, encoder.width, (), trust)

    encoder = new_encoder(read)
    of_texts = {"words": vocabulary.size, "special": vocabulary.special}
    latent = first(make("latent", config["latent"], features=encoder.width, **of_texts))
    if config.get("prior"):
        latent.give(
            make("prior", config["prior"], dim=latent.dim, reader=encoder, inference=latent, special=vocabulary.special)
        )
    kind: Any = _read("model", config["model"], make.keywords["trust"])[0]
    built = make(
        "model",
        config["model"],
        encoder=encoder,
        decoder=_decoder(config, vocabulary, kind.code_width(latent, encoder), encoder.width, kind.remembers, trust),
        vocabulary=vocabulary,
        latent=latent,
        estimator=make("estimator", config["estimator"]),
        new_encoder=new_encoder,
        new_decoder=new_decoder,
        sources=sources,
        attributes=attributes or {},
    )
    built.attribute_names = attributes or {}
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
) -> Training:
    """The training module for a model that :func:`model` built from the same configuration.

    Args:
        trust: as in :func:`model`.
        kept: the configuration to be written into checkpoints, if it is a different one.
    """
    make, encoder = _maker(config, trust), model.get_submodule("encoder")
    found, settings = _read("optimizer", config["optimizer"], make.keywords["trust"])
    optimizer = functools.partial(found, **settings)
    _tried(optimizer, config["optimizer"])
    schedule = _schedule(config, optimizer, steps_per_epoch, make.keywords["trust"])
    sizes = model.vocabulary, model.code_width(model.latent, encoder), encoder.width, model.remembers
    built = Training(
        model,
        make("anneal", config["anneal"], steps_per_epoch=steps_per_epoch),
        optimizer,
        functools.partial(_decoder, config, *sizes, trust),
        schedule,
    )
    # all that `lvexp.load` needs, as plain values, so that the file can be loaded with weights_only=True
    hyper = {"config": dict(kept or config), "vocabulary": model.vocabulary.to_json()}
    hyper["attributes"] = {name: list(names) for name, names in model.attribute_names.items()}
    if model.sources is not model.vocabulary:
        hyper["sources"] = model.sources.to_json()
    built.save_hyperparameters(hyper, logger=False)
    return built


def _schedule(
    config: Mapping[str, Any], optimizer: Callable[..., Any], steps_per_epoch: int, trust: Collection[str]
) -> Schedule | None:
    """The schedule of the learning rate, tried once: what its class rejects would appear only when training begins."""
    if not (node := config.get("scheduler")):  # none is chosen, or the run is of an older version
        return None
    found, settings = _read("scheduler", node, trust)
    stalls = issubclass(found, ReduceLROnPlateau)
    interval = node.get("interval", "validation" if stalls else "step")
    words = ("validation",) if stalls else ("step", "epoch")
    if interval not in words:
        raise ConfigError(
            f"scheduler.interval={interval}: {found.__name__} moves with each {' or '.join(words)}\n"
            f"try  scheduler.interval={words[0]}"
        )
    if (horizon := node.get("horizon")) and settings.get(horizon) is None:
        steps, epochs = preflight.lengths(config["trainer"], steps_per_epoch)
        settings[horizon] = steps if interval == "step" else epochs
    built = Schedule(functools.partial(found, **settings), interval)
    try:
        built.make(optimizer([torch.nn.Parameter(torch.zeros(1))]))
    except (TypeError, ValueError, RuntimeError) as error:
        shown = (f"scheduler.{key}={typed(value)}" for key, value in settings.items())
        raise ConfigError(f"{' '.join(shown)}: {error}\ntry  leave out the settings that it names") from error
    return built


def callbacks(config: Mapping[str, Any]) -> list[Callback]:
    """The chosen Lightning callbacks of a resolved configuration."""
    trust = targets.named(config)
    return [_make(f"callbacks.{name}", node, trust) for name, node in (config.get("callbacks") or {}).items()]


def instruments(config: Mapping[str, Any]) -> list[Make]:
    """The user's own instruments in a resolved configuration."""
    trust = targets.named(config)
    read = (_read(f"instrument.{name}", node, trust) for name, node in (config.get("instrument") or {}).items())
    return [functools.partial(found, **settings) for found, settings in read]


def loggers(config: Mapping[str, Any]) -> list[Callable[[RunInfo], Tracker]]:
    """The chosen loggers in a resolved configuration, to be made once it is known what to tell them.

    Raises:
        ConfigError: one needs a package that is not installed.
    """
    trust, makes = targets.named(config), []
    for name, node in config["logger"].items():
        found, settings = _read(f"logger.{name}", node, trust)
        assert issubclass(found, Tracker)
        found.check()
        makes.append(functools.partial(found, **settings))
    return makes


def _maker(config: Mapping[str, Any], trust: Collection[str] | None) -> functools.partial[Any]:
    return functools.partial(_make, trust=targets.named(config) if trust is None else trust)


def _init(config: Mapping[str, Any], trust: Collection[str] | None) -> AbstractInit:
    return _maker(config, trust)("init", config["init"]) if "init" in config else Default()  # a run of an older version


def prepare(config: Mapping[str, Any], model: LatentModel, texts: Iterable[Batch]) -> None:
    """Sets parameters that are read from elsewhere, a file (``init=vectors``) or the ``texts`` of training
    (``init=frequencies``), once before training."""
    if isinstance(model.vocabulary, Vocabulary):
        words = model.vocabulary.tokens(range(model.vocabulary.size))
        _init(config, None).prepare(model, words, texts)


def _decoder(
    config: Mapping[str, Any],
    vocabulary: Vocabulary | Bag | Features,
    code: int,
    states: int,
    memories: Sequence[str],
    trust: Collection[str] | None,
) -> torch.nn.Module:
    given = {
        "vocabulary": vocabulary.size, "special": vocabulary.special, "code": code, "states": states,
        "memories": memories,
    }  # fmt: skip
    return _init(config, trust)(_maker(config, trust)("decoder", config["decoder"], **given))
