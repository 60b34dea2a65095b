"""A run that starts from the parameters of a finished one: what is taken over, what is refused, what names the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from helpers import Command, Compose, checked, finished_run, plain, vocabulary

import lvexp as package
from lvexp import build
from lvexp.errors import ConfigError
from lvexp.job import checkpoints, identity
from lvexp.models.base import LatentModel
from lvexp.training.start import start

SIZES = ("encoder.hidden=8", "encoder.embedding=6", "decoder.hidden=8", "decoder.embedding=6", "latent.dim=3")
CHOICES = {"model": "svae", "encoder": "lstm", "decoder": "lstm", "latent": "gaussian", "anneal": "constant"}


@pytest.fixture
def parent(composed: Compose, tmp_path: Path) -> Path:
    return finished_run(tmp_path / "parent", plain(composed(*SIZES)), "svae-0123456789", **CHOICES)


def typed(folder: Path, *more: str) -> list[str]:
    return [f"finetune={folder}", f"data.vocabulary.run={folder}", *SIZES, *more]


def started(folder: Path, *names: str, composed: Compose, like: str = "") -> LatentModel:
    """A new model with these remedies, after it was given the parameters of the run."""
    torch.manual_seed(1)
    remedies = f"regularizer=[{','.join(names)}]" if names else "regularizer=none"
    model = build.model(plain(composed(*typed(folder, remedies, *filter(None, [like])))), vocabulary())
    start(model, names, checkpoints.read(folder / "checkpoints" / "best.ckpt", ""), "finetune=parent")
    return model


def test_every_parameter_is_that_of_the_run(parent: Path, composed: Compose):
    checked(composed(*typed(parent)))
    own = started(parent, composed=composed).state_dict()
    theirs = torch.load(parent / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert own.keys() == theirs.keys()
    assert len(own) > 10
    assert all(torch.equal(value, theirs[name]) for name, value in own.items())


def test_a_remedy_keeps_its_layers_and_what_it_adjusts_starts_anew(composed: Compose, tmp_path: Path):
    config = plain(composed(*SIZES, "regularizer=[mdr,bag_of_words]"))
    folder = finished_run(tmp_path / "run", config, "svae-1", **CHOICES)
    saved = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    (multiplier,) = [name for name in saved["state_dict"] if name.endswith("multiplier")]
    saved["state_dict"][multiplier].fill_(7.0)
    torch.save(saved, folder / "checkpoints" / "best.ckpt")
    head = [name for name in saved["state_dict"] if name.startswith("regularizers.1.")]
    assert len(head) == 4
    model = started(folder, "bag_of_words", "mdr", composed=composed)
    own = model.state_dict()
    for name in head:
        assert torch.equal(own[name.replace("regularizers.1.", "regularizers.0.")], saved["state_dict"][name])
    assert own["regularizers.1.multiplier"] != 7.0
    without = started(folder, composed=composed).state_dict()
    assert not any(name.startswith("regularizers.") for name in without)


def test_a_remedy_that_widens_the_decoder_must_be_in_both_or_in_neither(parent: Path, composed: Compose):
    with pytest.raises(ConfigError, match=r"(?s)decoder\.\S+ of the same shape.*try  regularizer=\[free_bits\]"):
        started(parent, "skip", composed=composed)


def test_a_bias_must_be_in_both_or_in_neither(parent: Path, composed: Compose, tmp_path: Path):
    with pytest.raises(ConfigError, match=r"(?s)decoder\.output\.bias of the same.*try  init=default, or any but"):
        started(parent, composed=composed, like="init=frequencies")
    config = plain(composed(*SIZES, "init=frequencies"))
    other = finished_run(tmp_path / "other", config, "svae-2", **CHOICES)
    assert started(other, composed=composed, like="init=frequencies").get_submodule("decoder.output").bias is not None
    with pytest.raises(ConfigError, match=r"(?s)decoder\.output\.bias of the same.*try  init=frequencies, as it had"):
        started(other, composed=composed)


def test_another_estimator_may_be_typed(parent: Path, composed: Compose):
    config = composed(*typed(parent, "estimator=score", "estimator.baseline=input"))
    checked(config)
    assert started(parent, composed=composed, like="estimator=score").estimator is not None


def test_what_only_training_uses_may_differ(parent: Path, composed: Compose):
    checked(composed(*typed(parent, "decoder.dropout_in=0.1", "model.samples=2", "optimizer=sgd", "anneal=linear")))


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("decoder.hidden=9", ["decoder.hidden=9: the run", "try  decoder.hidden=8"]),
        ("encoder=gru", ["encoder.cell=gru", "encoder.cell=lstm"]),
        ("latent=categorical", ["latent=categorical", "has latent=gaussian"]),
        ("latent.dim=4", ["latent.dim=4", "latent.dim=3"]),
        ("model=rnnlm", ["encoder=none", "has encoder=lstm"]),
        ("model=nvdm", ["model=nvdm", "has model=svae"]),
        ("model=nvdm finetune=null", ["data.view=counts", "data.view=tokens"]),
        ("data=20news", ["data=20news", "needs"]),
        ("data.vocabulary.kind=bpe", ["data.vocabulary.kind=bpe", "try  data.vocabulary.kind=words"]),
        ("data.lowercase=true", ["data.lowercase=true", "has data.lowercase=false"]),
        ("data.vocabulary.run=null", ["data.vocabulary.run=null: its word vectors"]),
        ("data.vocabulary.run=/nowhere", ["data.vocabulary.run=/nowhere: its word vectors"]),
        ("data.vocabulary.run=/nowhere finetune=null", ["data.vocabulary.run=/nowhere", "no such folder"]),
        ("finetune=/nowhere", ["finetune=/nowhere", "no such folder"]),
        ("regularizer=pretrain", ["finetune=", "regularizer.pretrain.reset=none"]),
        ("regularizer=lm_init", ["regularizer=lm_init", "finetune="]),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_loads(
    more: str, named: list[str], parent: Path, composed: Compose
):
    with pytest.raises(ConfigError) as caught:
        checked(composed(*typed(parent, *more.split())))
    for words in named:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("lost", "named"),
    [("DONE", "has not ended"), (".hydra/config.yaml", "config.yaml"), ("checkpoints/best.ckpt", "best.ckpt")],
)
def test_a_folder_that_is_not_whole_is_refused(lost: str, named: str, parent: Path, composed: Compose):
    (parent / lost).unlink()
    with pytest.raises(ConfigError, match=named):
        checked(composed(*typed(parent)))


def test_the_parents_id_counts_and_not_its_folder(composed: Compose, tmp_path: Path):
    config = plain(composed(*SIZES))
    runs = {"one": "svae-1", "two": "svae-1", "three": "svae-2"}
    folders = [finished_run(tmp_path / name, config, run, **CHOICES) for name, run in runs.items()]
    ids = [identity.run_id(composed(*typed(folder)), "svae") for folder in folders]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]
    (alone,) = {
        identity.run_id(composed(*SIZES, f"data.vocabulary.run={folder}", f"data.vocabulary.max_size={size}"), "svae")
        for folder, size in zip(folders[:2], (100, 200), strict=True)
    }
    assert alone not in ids
    assert alone != identity.run_id(composed(*SIZES), "svae")


def test_the_command_line_says_in_one_sentence_what_is_wrong(parent: Path, lvexp: Command):
    (parent / ".hydra" / "overrides.yaml").write_text(json.dumps(list(SIZES)))
    for words, said in (
        ([f"finetune={parent}/nowhere", "data=ptb"], f"lvexp: finetune={parent}/nowhere: there is no finished run"),
        ([f"finetune={parent}", "decoder.hidden=9"], "lvexp: decoder.hidden=9: the run in "),
        ([f"finetune={parent}", "model=nvdm", "data=text"], "lvexp: model=nvdm: the run in "),
    ):
        done = lvexp(*words)
        assert done.returncode == 2
        assert done.stderr.startswith(said)
        assert "\ntry  " in done.stderr


def test_a_run_is_trained_on_other_texts_and_needs_the_first_no_more(
    small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    others = ["trainer.max_epochs=1", "trainer.limit_train_batches=2", "paths.outputs=outputs"]
    first = package.train(*small, *others, "regularizer=[bag_of_words]")
    assert first.folder is not None
    (tmp_path / "other.txt").write_text("".join(f"the {animal} and the cup\n" for animal in ["cat", "newt"] * 40))
    data = ["data=text", *(f"data.files.{split}=other.txt" for split in ("train", "valid", "test"))]
    second = package.train(f"finetune={first.folder}", *data, "optimizer.lr=1e-12", "seed=2")
    assert second.folder is not None
    assert second.folder != first.folder
    assert second.vocabulary.to_json() == first.vocabulary.to_json()
    assert "train: 10.0% of the words are not in the run's vocabulary" in second.result["data"]["notes"]
    theirs = first.model.state_dict()
    for name, value in second.model.state_dict().items():
        assert torch.allclose(value, theirs[name], atol=1e-6), f"{name}: a learning rate near 0 moves nothing"
    score = second.score(["the cat"])

    longer = package.train(f"resume={second.folder}", "trainer.max_epochs=2")
    assert longer.result["epochs"] == 2
    assert longer.config["finetune"] == str(first.folder)

    first.folder.rename(tmp_path / "gone")
    assert package.load(second.folder).score(["the cat"]) == score
    again = package.train(f"evaluate={second.folder}", "evaluation.iw_samples=3")
    assert again.result["test"]["distortion"] == second.result["test"]["distortion"]
    assert json.loads((again.folder / "result.json").read_text())["evaluates"] == str(second.folder.resolve())
