"""From a configuration to objects: the only caller of ``instantiate``."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from lvexp.errors import ConfigError, LvexpError
from lvexp.identity import arguments

if TYPE_CHECKING:
    from lvexp.data.bag import Bag
    from lvexp.data.module import TextData
    from lvexp.data.vocabulary import Vocabulary
    from lvexp.models.base import LatentModel


def _make(where: str, node: Mapping[str, Any], **given: Any) -> Any:
    try:
        return instantiate(arguments(node), **given, _convert_="all")
    except InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, LvexpError):
            raise cause from None
        if isinstance(cause, TypeError | ValueError | RuntimeError | AssertionError):
            raise ConfigError(f"{where}: {cause}\nthe choice was {node.get('_target_')}") from error
        raise


def _tried(optimizer: Callable[..., Any], node: Mapping[str, Any]) -> None:
    """Refuses settings that the optimiser itself refuses, which it would only say when training begins."""
    import torch

    try:
        optimizer([torch.nn.Parameter(torch.zeros(1))])
    except (TypeError, ValueError, RuntimeError) as error:
        typed = " ".join(f"optimizer.{key}={value}" for key, value in arguments(node).items() if key[0] != "_")
        raise ConfigError(f"{typed}: {error}\ntry  leave out what it speaks of") from error


def data(config: Mapping[str, Any]) -> TextData:
    """The data module of a resolved configuration."""
    return _make("data", config["data"])


def model(config: Mapping[str, Any], vocabulary: Vocabulary | Bag, steps_per_epoch: int = 1) -> LatentModel:
    """The model of a resolved configuration, its parameters new."""
    encoder = _make("encoder", config["encoder"], vocabulary=vocabulary.size)
    latent = _make("latent", config["latent"], features=encoder.width)
    # one that reads the encoder's states must know their width
    states = {"states": encoder.width} if "states" in (config["decoder"].get("requires") or ()) else {}
    sizes = {"vocabulary": vocabulary.size, "code": latent.width, **states}
    decoder = functools.partial(_make, "decoder", config["decoder"], **sizes)
    optimizer = _make("optimizer", {**config["optimizer"], "_partial_": True, "ignores": ["decay"]})
    _tried(optimizer, config["optimizer"])
    built = _make(
        "model",
        {**config["model"], "_recursive_": False},
        encoder=encoder,
        decoder=decoder(),
        vocabulary=vocabulary,
        latent=latent,
        estimator=_make("estimator", config["estimator"]),
        anneal=_make("anneal", config["anneal"], steps_per_epoch=steps_per_epoch),
        regularizers=[_make(f"regularizer.{name}", node) for name, node in (config["regularizer"] or {}).items()],
        optimizer=optimizer,
    )
    built.renew = decoder
    # all that `lvexp.load` needs, as plain values: the file then opens with weights_only=True
    built.save_hyperparameters({"config": dict(config), "vocabulary": vocabulary.to_json()}, logger=False)
    return built
