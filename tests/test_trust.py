"""Nothing that a checkpoint names is imported or called, but for our own classes and those the user vouches for."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import SMALL, Compose, plain

import lvexp
from lvexp import build
from lvexp.checks import targets
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, RunError

WORDS = Vocabulary.train(["a b c"] * 3, kind="words", max_size=10, min_count=1, lowercase=False)
Config = dict[str, Any]


@pytest.fixture(scope="module")
def made() -> Config:
    """A configuration and its model, made once."""
    return {}


@pytest.fixture
def config(made: Config, composed: Compose) -> Config:
    if not made:
        made["config"] = plain(composed(*SMALL))
        made["state"] = build.model(made["config"], WORDS).state_dict()
    return copy.deepcopy(made["config"])


@pytest.fixture
def saved(config: Config, made: Config, tmp_path: Path) -> Callable[..., Path]:
    """Writes a checkpoint as a run does, of a configuration that somebody has then changed."""

    def save(change: Callable[[Config], Any]) -> Path:
        tampered = copy.deepcopy(config)
        change(tampered)
        file = tmp_path / "best.ckpt"
        kept = {"config": tampered, "vocabulary": WORDS.to_json()}
        torch.save({"hyper_parameters": kept, "state_dict": made["state"]}, file)
        return file

    return save


def put(path: str, value: Any) -> Callable[[Config], Any]:
    """Sets a value deep within a configuration."""

    def change(config: Config) -> None:
        *parents, last = path.split(".")
        for name in parents:
            config = config.setdefault(name, {})
        config[last] = value

    return change


def writes(file: Path) -> dict[str, Any]:
    return {"_target_": "pathlib.Path.write_text", "_args_": [{"_target_": "pathlib.Path", "_args_": [str(file)]}, "x"]}


EVIL = {
    "a function instead of a class": put("estimator", {"_target_": "os.system", "command": "touch {file}"}),
    "a method": put("anneal", writes(Path("{file}"))),
    "within a value": put("model.samples", writes(Path("{file}"))),
    "in a list within a value": put("encoder.hidden", [[writes(Path("{file}"))]]),
    "beside the optimiser's rate": put("optimizer.lr", writes(Path("{file}"))),
    "as a remedy": put("regularizer.bad", writes(Path("{file}"))),
    "within a block": put("latent.z", {"_target_": "subprocess.Popen", "args": ["touch", "{file}"]}),
    "what one of our modules imports": put("estimator._target_", "lvexp.run.shutil.rmtree"),
    "a function of ours": put("estimator._target_", "lvexp.report.result.write_result"),
    "a class of ours for another place": put("estimator._target_", "lvexp.models.sentence.SentenceModel"),
    "a class that one of our modules imports": put("estimator._target_", "lvexp.run.Path"),
    "what torch.optim imports": put("optimizer._target_", "torch.optim.optimizer.torch.hub.load"),
    "a scheduler for an optimiser": put("optimizer._target_", "torch.optim.lr_scheduler.StepLR"),
    "no name at all": put("anneal._target_", ["os.system"]),
    "no dot": put("anneal._target_", "lvexp."),
}


def filled(value: Any, file: Path) -> Any:
    if isinstance(value, dict):
        return {key: filled(inner, file) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled(inner, file) for inner in value]
    return value.replace("{file}", str(file)) if isinstance(value, str) else value


@pytest.mark.parametrize("name", EVIL)
def test_what_a_checkpoint_names_is_not_run(name: str, saved, config: Config, tmp_path: Path):
    mark = tmp_path / "mark"

    def change(config: Config) -> None:
        EVIL[name](config)
        config.update(filled(config, mark))

    with pytest.raises(RunError, match="try  ") as caught:
        lvexp.load(saved(change))
    assert not mark.exists()
    assert str(tmp_path / "best.ckpt") in str(caught.value)


@pytest.mark.parametrize("word", ["_args_", "_recursive_", "_convert_", "_partial_"])
@pytest.mark.parametrize("group", ["encoder", "model", "optimizer"])
def test_words_of_hydra_are_not_honoured(word: str, group: str, saved):
    with pytest.raises(RunError, match=rf"{group}\.{word}"):
        lvexp.load(saved(put(f"{group}.{word}", True)))


def test_an_interpolation_in_a_checkpoint_reads_no_environment(saved, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LVEXP_SECRET", "known only here")
    run = lvexp.load(
        saved(
            put(
                "regularizer.lm_init",
                {"_target_": "lvexp.regularizers.lm_init.LmInit", "run": "${oc.env:LVEXP_SECRET}"},
            )
        )
    )
    assert run.model.regularizers[-1].run == "${oc.env:LVEXP_SECRET}"


MINE = """
from lvexp.regularizers.base import Regularizer
from torch.nn import Linear

class Mine(Regularizer):
    pass

def function():
    raise SystemExit("it ran")
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "package_of_mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("package_of_mine", None)


def test_a_class_of_the_users_own_is_imported_where_it_is_trusted(mine: None, saved):
    name = "package_of_mine.Mine"
    file = saved(put("regularizer.mine", {"_target_": name}))
    with pytest.raises(RunError, match=r'trust=\["package_of_mine.Mine"\]'):
        lvexp.load(file)
    assert "package_of_mine" not in sys.modules, "refused before it is imported"
    assert type(lvexp.load(file, trust=[name]).model.regularizers[-1]).__name__ == "Mine"


@pytest.mark.parametrize("name", ["function", "Linear", "Missing"])
def test_what_is_trusted_must_be_a_class_of_the_kind_wanted(name: str, mine: None, saved):
    target = f"package_of_mine.{name}"
    with pytest.raises(RunError, match=rf"{target}: .*class"):
        lvexp.load(saved(put("regularizer.mine", {"_target_": target})), trust=[target])


def test_the_command_line_may_name_classes_of_the_users_own(mine: None, config: Config):
    config["regularizer"] = {"mine": {"_target_": "package_of_mine.Mine"}}
    build.check(config)
    assert type(build.model(config, WORDS).regularizers[0]).__name__ == "Mine"


@pytest.mark.parametrize(
    "target", ["os.system", "torch.nn.Identity", "lvexp.run.shutil.rmtree", "package_of_mine.function", "missing.Class"]
)
def test_but_no_function_and_no_class_of_another_kind(target: str, mine: None, config: Config):
    config["regularizer"] = {"mine": {"_target_": target}}
    with pytest.raises(ConfigError, match=r"regularizer\.mine\._target_=.*class") as caught:
        build.check(config)
    assert "try  " in str(caught.value)


def test_nor_a_class_within_a_value(config: Config):
    config["regularizer"] = {
        "bag_of_words": {"_target_": "lvexp.regularizers.bag_of_words.BagOfWords", "weight": {"_target_": "os.getpid"}}
    }
    with pytest.raises(ConfigError, match=r"names os\.getpid within its values"):
        build.check(config)


def test_every_class_named_at_any_depth_is_found():
    assert targets.named({"_target_": "a.B", "c": [{"d": {"_target_": "e.F"}}], "g": 1}) == {"a.B", "e.F"}


def test_blocks_of_a_mixed_latent_load_again(composed: Compose, tmp_path: Path):
    config = plain(composed(*SMALL, "latent=mixed", "latent.z.dim=2", "estimator=blocks"))
    model = build.model(config, WORDS)
    kept = {"config": config, "vocabulary": WORDS.to_json()}
    torch.save({"hyper_parameters": kept, "state_dict": model.state_dict()}, tmp_path / "best.ckpt")
    again = lvexp.load(tmp_path / "best.ckpt").model
    assert {name: type(part) for name, part in again.named_modules()} == {
        name: type(part) for name, part in model.named_modules()
    }
