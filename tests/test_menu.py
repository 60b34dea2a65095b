"""Every option composes, builds and takes a step; every combination does, or is refused."""

from __future__ import annotations

import dataclasses
import itertools
import random
from pathlib import Path

import pytest
import torch
from helpers import Compose, checked, plain
from hydra.utils import get_class

from lvexp import build
from lvexp.__main__ import MENU
from lvexp.checks import refusals, values
from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import Refusal
from lvexp.models.base import LatentModel

GROUPS = (
    "model",
    "encoder",
    "decoder",
    "latent",
    "prior",
    "estimator",
    "anneal",
    "regularizer",
    "optimizer",
    "scheduler",
    "callbacks",
)
OPTIONS = {group: sorted(path.stem for path in (MENU / group).glob("*.yaml")) for group in GROUPS}


def of_size(number: int) -> Vocabulary:
    """A vocabulary of so many types, ``a`` to ``f`` among them."""
    words = ["a", "b", "c", "d", "e", "f", *(f"w{at}" for at in range(number - 10))]
    return Vocabulary.train([" ".join(words)], kind="words", max_size=100, min_count=1, lowercase=False)


WORDS = of_size(10)
BATCH = dataclasses.replace(  # each model takes what it needs
    Batch.of(WORDS.encode(["a b c", "d e f", "f e d", "c c c"]), WORDS.encode(["a", "b c d", "d f", "c"])),
    labels=torch.tensor([1, 0, 0, 1]),
)
BATCH.vectors = torch.randn(4, 1, 2, generator=torch.Generator().manual_seed(0))
BATCH.counts = torch.nn.functional.one_hot(BATCH.tokens, WORDS.size).sum(1).float()


TAGS = {"case": ["none", "nom", "dat"], "num": ["none", "pl"]}
TAGGED = dataclasses.replace(BATCH, attributes=torch.tensor([[1, 0], [2, 1], [-1, -1], [0, 0]]), labels=None)


def built(config: dict) -> LatentModel:
    if "vectors" in config["model"]["requires"]:
        return build.model(config, Features(1, 2))
    words = of_size(sum(blocks)) if (blocks := config["encoder"].get("blocks")) else WORDS
    return build.model(config, words, attributes=TAGS if "tags" in config["model"]["requires"] else None)


def batch_of(config: dict) -> Batch:
    """The texts with the classes that a model looks at."""
    if "tags" in config["model"]["requires"]:
        return TAGGED
    several = config["data"].get("columns", {}).get("attributes")
    return dataclasses.replace(BATCH, attributes=BATCH.labels[:, None]) if several else BATCH  # pyright: ignore


def step(config: dict) -> tuple[float, float]:
    """One step as the trainer takes it; the loss and how far the parameters moved."""
    torch.manual_seed(0)
    model = built(config)
    training = build.training(config, model, steps_per_epoch=3)
    optimizer = training.configure_optimizers()
    optimizer = optimizer["optimizer"] if isinstance(optimizer, dict) else optimizer
    before = [parameter.detach().clone() for parameter in model.parameters()]
    loss = training.training_step(batch_of(config), 0)
    loss.backward()
    loss = loss.detach()
    optimizer.step()
    moved = sum((new.detach() - old).abs().sum().item() for new, old in zip(model.parameters(), before, strict=True))
    return loss.item(), moved


@pytest.mark.parametrize(("group", "option"), [(g, o) for g in GROUPS for o in OPTIONS[g]])
def test_an_option_composes_builds_and_takes_a_step_or_is_refused(group: str, option: str, composed: Compose):
    config = composed(f"{group}={option}", "latent.dim=4")
    try:
        checked(config)
    except Refusal:
        return  # with the other defaults; the product below has it with all others
    loss, moved = step(plain(config))
    assert 0 < loss < 1000
    assert moved > 0


REMEDIES = [name for name in OPTIONS["regularizer"] if name != "none"]


@pytest.mark.parametrize("preset", sorted(path.stem for path in (MENU / "experiment").glob("*.yaml")))
def test_a_preset_is_accepted_as_it_stands_and_takes_a_step(preset: str, composed: Compose):
    config = composed(f"experiment={preset}")
    checked(config)
    assert config.name == preset
    loss, moved = step(plain(config))
    assert 0 < loss < 1000
    assert moved > 0


ARMS = sorted(path.stem for path in (MENU / "arm").glob("*.yaml"))


@pytest.mark.parametrize("arm", ARMS)
def test_an_arm_is_accepted_in_each_comparison_and_takes_a_step(arm: str, composed: Compose):
    for comparison in ("remedies", "remedies_ptb", "ptb"):
        config = composed(f"experiment={comparison}", f"arm={arm}")
        if arm == "lm_init":
            with pytest.raises(Refusal, match="no language model to start from is named"):
                checked(config)
            continue
        checked(config)
        assert config.name == comparison
        if comparison == "remedies":
            loss, moved = step(plain(config))
            assert 0 < loss < 1000
            assert moved > 0


def test_a_comparison_names_arms_that_exist_and_that_of_all_remedies_has_every_remedy(composed: Compose):
    for comparison in ("remedies", "remedies_ptb", "ptb"):
        named = composed(f"experiment={comparison}").hydra.sweeper.params.arm.split(",")
        assert set(named) <= set(ARMS)
        assert len(set(named)) == len(named)
        if comparison == "remedies":
            assert set(ARMS) - set(named) == {"lm_init"}, "which needs a run to start from"
    assert set(REMEDIES) <= {*ARMS}


def test_a_share_of_the_epochs_needs_a_number_of_epochs(composed: Compose):
    config = composed("experiment=remedies", "arm=li2019", "trainer.max_epochs=10")
    assert config.anneal.warmup == 5.0
    assert config.regularizer.pretrain.epochs == 3
    endless = composed("arm=linear", "trainer.max_epochs=-1", "trainer.max_steps=10")
    with pytest.raises(Exception, match="needs a share of them"):
        plain(endless)


def subsets(names: list[str]) -> list[tuple[str, ...]]:
    """None, one, and every pair: refusals speak of two remedies at most, and all subsets would be too many."""
    return [chosen for size in range(3) for chosen in itertools.combinations(names, size)]


SMALL = ("latent.dim=4", "encoder.hidden=8", "decoder.hidden=8", "encoder.embedding=8", "decoder.embedding=8")
_COMPOSED: dict[tuple[str, ...], dict] = {}


def node(composed: Compose, *choices: str) -> dict:
    """A composed configuration with small networks, the same one for all tests."""
    if choices not in _COMPOSED:
        _COMPOSED[choices] = plain(composed(*choices, *SMALL))
    return _COMPOSED[choices]


#: models whose class the other models share: what any two options do to each other shows with these
FIRST_OF_THEIR_KIND = ("svae", "nvdm", "nasm")


@pytest.mark.parametrize("share", [0.01, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", OPTIONS["model"])
def test_the_product_of_all_options_takes_a_finite_step_or_is_refused(
    model: str, share: float, composed: Compose, monkeypatch: pytest.MonkeyPatch
):
    """The whole product, or a share of it that is always the same."""
    for single in ("_types", "_values"):  # of each option by itself, which the test above has checked
        monkeypatch.setattr(values, single, lambda *_: None)
    groups = ("encoder", "decoder", "latent", "prior", "estimator", "anneal")
    everything = node(composed, f"regularizer=[{','.join(REMEDIES)}]", "regularizer.semi_amortized.steps=2")
    # each option is composed once, and the product put together from their nodes: composing is what takes time
    own = node(composed, f"model={model}")
    pairs = {"source", "tags"} & {*own["model"]["requires"]} == {"source"}
    data = node(composed, "data=wikiqa")["data"] if pairs else own["data"]
    nodes = {(g, o): node(composed, f"{g}={o}")[g] for g in groups for o in OPTIONS[g]}
    networks = list(itertools.product(*(OPTIONS[group] for group in groups[:-1])))
    default = composed(f"model={model}").hydra.runtime.choices
    some = {tuple(default[group] for group in groups[:-1])}  # so that something can run
    some |= set(random.Random(model).sample(networks, round(share * len(networks))))
    taken, met, refused, advised = set(), set(), 0, 0
    # what is refused without a regularizer and with beta = 1: nothing added makes it good
    hopeless: set[tuple[str, ...]] = set()
    plainest = sorted(OPTIONS["anneal"], key=lambda name: name != "constant")
    for chosen, anneal, remedies in itertools.product(sorted(some), plainest, subsets(REMEDIES)):
        if chosen in hopeless:
            continue
        choices = dict(zip(groups, (*chosen, anneal), strict=True))
        if {choices["encoder"], choices["decoder"]} == {"gru", "lstm"}:
            continue  # the two kinds of cell meet nowhere: each with itself is enough
        common = choices["decoder"] == "lstm" and choices["estimator"] == "auto"
        if len(remedies) > 1 and not (common and choices["anneal"] == "linear" and model in FIRST_OF_THEIR_KIND):
            continue  # what two regularizers do to each other depends on none of these
        if remedies and choices["anneal"] != "constant" and not common:
            continue  # nor does what a schedule and a regularizer do to each other
        pairs = set(itertools.combinations([*choices.items(), *remedies], 2 if model in FIRST_OF_THEIR_KIND else 1))
        if model not in FIRST_OF_THEIR_KIND and pairs <= met:
            continue
        config = everything | {group: nodes[group, option] for group, option in choices.items()}
        config |= {"model": own["model"], "data": data}
        config["regularizer"] = {name: everything["regularizer"][name] for name in remedies}
        try:
            refusals.check(config, {**choices, "model": model}, MENU)
        except Refusal as error:
            refused += 1
            advised += "try" in str(error)
            if choices["anneal"] == "constant" and not remedies:
                hopeless.add(chosen)
            continue
        taken.add((choices["anneal"], *remedies))
        if pairs <= met:
            continue  # every two of these have taken a step together before, or each has with this model
        met |= pairs
        loss, moved = step(config)
        assert 0 < loss < 1000, (choices, remedies)
        assert moved > 0, (choices, remedies)
    assert 0 < refused == advised, "a refusal says what to type instead"
    assert taken, "the model runs in some combination"
    if model == "svae" and share == 1:
        assert ("linear", "free_bits", "word_dropout") in taken


@pytest.mark.parametrize("file", sorted(MENU.rglob("*.yaml")), ids=lambda file: str(file.relative_to(MENU)))
def test_every_target_exists(file: Path):
    targets = [
        line.split(":")[1].strip() for line in file.read_text().splitlines() if line.strip().startswith("_target_:")
    ]
    for target in targets:
        assert get_class(target).__doc__


def test_every_remedy_has_a_file_of_the_same_name():
    folder = Path(build.__file__).parent / "regularizers"
    files = {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
    assert files == set(OPTIONS["regularizer"]) - {"none"}
