"""Every part of the menu, found by discovery, through one walk: shapes, gradients, saving, devices, repr."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from helpers import plain
from hydra import compose, initialize_config_dir
from test_menu import MENU, batch_of
from test_menu import built as build_model

from lvexp import build
from lvexp.checks import refusals
from lvexp.errors import ConfigError
from lvexp.job import identity
from lvexp.models.base import LatentModel
from lvexp.regularizers.base import Regularizer, regularizers

GROUPS = ("model", "encoder", "decoder", "latent", "estimator", "regularizer")
PARTS = [
    (group, path.stem)
    for group in GROUPS
    for path in sorted((MENU / group).glob("*.yaml"))
    if (group, path.stem) != ("regularizer", "none")
]
SIZES = ("latent.dim=4", *(f"{part}.{size}=8" for part in ("encoder", "decoder") for size in ("hidden", "embedding")))
MODELS = sorted(path.stem for path in (MENU / "model").glob("*.yaml"))
PAIRS = ("data=wikiqa",)
NEEDS_A_RUN = "lm_init"


@functools.cache
def composed(*overrides: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """A configuration as plain values, and its choices."""
    identity.register()
    with initialize_config_dir(str(MENU), version_base="1.3"):
        config = compose("config", overrides=list(overrides), return_hydra_config=True)
    return plain(config), dict(config.hydra.runtime.choices)


@functools.cache
def fitting(group: str, option: str) -> dict[str, Any]:
    """A configuration with the option that is accepted: that of the first model that goes with it."""
    with_option, _ = composed(f"{group}={option}", *SIZES)
    for samples, latent in ((1, ()), (1, ("latent=categorical",)), (2, ("latent=categorical",))):
        for model in [option] if group == "model" else MODELS:
            config, choices = composed(f"model={model}", *SIZES, *latent)
            if {"source", "tags"} & {*config["model"]["requires"]} == {"source"}:
                config, choices = composed(f"model={model}", *SIZES, *latent, *PAIRS)
            config, choices = copy.deepcopy(config), {**choices, group: option}
            config["model"]["samples"] = samples
            if group != "model":
                config[group] = copy.deepcopy(with_option[group])
                config["regularizer"] = config["regularizer"] if group == "regularizer" else {}
            try:
                refusals.check(config, choices, MENU)
            except ConfigError:
                continue
            return config
    raise AssertionError(f"{group}={option} goes with no model")


def built(group: str, option: str) -> LatentModel:
    torch.manual_seed(0)
    return build_model(fitting(group, option))


def own(model: LatentModel, group: str) -> torch.nn.Module:
    """The part of a model that an option of a group made."""
    if group == "regularizer":
        return regularizers(model)[0]
    return model if group == "model" else model.get_submodule(group)


def figures(model: LatentModel, config: dict[str, Any]) -> list[torch.Tensor]:
    torch.manual_seed(1)
    with torch.no_grad():
        terms = model.eval().terms(batch_of(config))
    return [terms.distortion, *([] if terms.rate is None else [terms.rate]), terms.params]


parts = pytest.mark.parametrize(
    ("group", "option"), [part for part in PARTS if part[1] != NEEDS_A_RUN], ids=lambda part: part
)


@parts
def test_shapes(group: str, option: str):
    model, batch = built(group, option), batch_of(fitting(group, option))
    texts, latent = len(batch), model.latent
    reading = model.read(batch)
    assert len(reading.features) == texts
    terms = model.terms(batch, model.samples, reading=reading)
    assert terms.distortion.shape == (texts,)
    assert terms.code.shape[1:] == (texts, latent.width)
    assert (terms.rate is None) == (not latent.has_prior)
    if terms.rate is not None:
        assert terms.rate.shape == (texts,)
        several = terms.q.sample(torch.Size((3,)))  # as the likelihood is estimated on a GPU
        assert several.shape == torch.stack([terms.q.sample() for _ in range(3)]).shape
        assert terms.q.log_prob(several).shape == (3, texts)
        assert latent.code(several).shape == (3, texts, latent.width)
    if terms.rate_per_dimension is not None:
        assert terms.rate_per_dimension.shape == (texts, latent.dim)
        torch.testing.assert_close(terms.rate_per_dimension.sum(-1), terms.rate)
    if latent.dim is not None:
        point = latent.point(terms.q)
        assert latent.code(point[None]).shape == (1, texts, latent.width)
        assert latent.between(point[0], point[1], 0.5).shape == point[0].shape
        means, marginals = latent.means(terms.q), latent.marginals(terms.q)
        assert (means is not None) == (latent.continuous and option not in ("iaf", "ladder"))
        assert (marginals is not None) == bool(latent.values)
        if marginals is not None:
            assert marginals.shape[1] == len(latent.values)


@parts
def test_every_parameter_of_the_part_gets_a_finite_gradient(group: str, option: str):
    model = built(group, option)
    training = build.training(fitting(group, option), model)
    training.configure_optimizers()
    part = own(model, group)
    with torch.no_grad():
        for parameter in model.parameters():  # what begins at 0 would keep its neighbours' gradients at 0
            parameter += 0.01 * torch.randn_like(parameter)
    trained = set()
    for _ in range(3):  # a plan may train one group at a time
        loss = training.training_step(batch_of(fitting(group, option)), 0)
        trained |= training.trained
        loss.backward()
        training.turn = None
    groups = model.groups()
    for name, parameter in part.named_parameters():
        at = next(group for group, those in groups.items() if any(parameter is one for one in those))
        if at not in trained or not parameter.requires_grad:
            continue
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@parts
def test_saved_and_loaded_it_says_the_same(group: str, option: str):
    model = built(group, option)
    again, config = build_model(fitting(group, option)), fitting(group, option)
    again.load_state_dict(model.state_dict())
    for one, other in zip(figures(model, config), figures(again, config), strict=True):
        assert torch.equal(one, other)


@parts
def test_all_its_tensors_move_to_another_device_and_back(group: str, option: str):
    model = built(group, option)
    away = copy.deepcopy(model).to("meta")
    for module in away.modules():
        left = [name for name, value in vars(module).items() if isinstance(value, torch.Tensor) and not value.is_meta]
        assert not left, f"{type(module).__name__}.{left} stays behind"
    assert all(tensor.is_meta for tensor in (*away.parameters(), *away.buffers()))
    kept = {name for module in [model] for name, _ in module.named_buffers()} - set(model.state_dict())
    back = away.to_empty(device="cpu")
    back.load_state_dict(model.state_dict())
    for name in kept:  # not in the file: made anew with the model
        back.get_buffer(name).copy_(model.get_buffer(name))
    config = fitting(group, option)
    for one, other in zip(figures(model, config), figures(back, config), strict=True):
        assert torch.equal(one, other)


@parts
def test_its_repr_names_it(group: str, option: str):
    part = own(built(group, option), group)
    assert type(part).__name__ in repr(part)
    assert (type(part).__doc__ or "").strip(), "a class says what it is"


def test_the_walk_meets_every_part():
    assert {group for group, _ in PARTS} == set(GROUPS)
    assert len(PARTS) >= 55


@pytest.mark.parametrize("option", sorted(name for group, name in PARTS if group == "regularizer"))
def test_a_regularizer_overrides_no_more_than_it_declares(option: str):
    """Its group and whether it refines are declared, since nobody looks at which methods a class overrides."""
    if option == NEEDS_A_RUN:
        return
    kind = type(own(built("regularizer", option), "regularizer"))
    overridden = {name for name in vars(Regularizer) if name in vars(kind)}
    assert kind.refines == ("refine" in overridden)
    assert (kind.group == "inference") == ("constrain" in overridden)
