"""An encoder that starts from a language model: what is taken over, what is refused, what names the run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers import Compose, checked, finished_run, plain, vocabulary

from lvexp import build
from lvexp.errors import ConfigError
from lvexp.job import identity
from lvexp.regularizers.base import regularizers

SIZES = ("encoder.hidden=8", "encoder.embedding=6", "decoder.hidden=8", "decoder.embedding=6", "latent.dim=3")


@pytest.fixture
def language_model(composed: Compose, tmp_path: Path) -> Path:
    return finished_run(tmp_path / "lm", plain(composed("model=rnnlm", *SIZES)))


def typed(folder: Path, *more: str) -> list[str]:
    return ["regularizer=lm_init", f"regularizer.lm_init.run={folder}", *SIZES, *more]


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_word_vectors_and_recurrent_layers_are_the_language_models(cell: str, composed: Compose, tmp_path: Path):
    kind = [f"encoder={cell}", f"decoder={cell}", "encoder.norm=false"]
    folder = finished_run(tmp_path / "lm", plain(composed("model=rnnlm", f"decoder={cell}", *SIZES)))
    config = composed(*typed(folder, *kind))
    checked(config)
    model = build.model(plain(config), vocabulary())
    (remedy,) = regularizers(model)
    remedy.prepare(model)
    theirs = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    own = model.encoder.state_dict()
    assert len(own) == 5
    assert all(torch.equal(value, theirs[f"decoder.{name}"]) for name, value in own.items())


def test_a_layer_norm_which_no_language_model_has_starts_as_it_is(language_model: Path, composed: Compose):
    config = composed(*typed(language_model, "encoder.norm=true"))
    checked(config)
    model = build.model(plain(config), vocabulary())
    (remedy,) = regularizers(model)
    remedy.prepare(model)
    own = model.encoder.state_dict()
    theirs = torch.load(language_model / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    assert torch.equal(own["embedding.weight"], theirs["decoder.embedding.weight"])
    assert torch.equal(own["norm.weight"], torch.ones(8))


def test_a_finished_run_needs_the_language_model_no_more(language_model: Path, composed: Compose):
    config = plain(composed(*typed(language_model)))
    (language_model / "checkpoints" / "best.ckpt").unlink()
    build.model(config, vocabulary())


def test_another_vocabulary_is_refused(language_model: Path, composed: Compose):
    model = build.model(plain(composed(*typed(language_model))), vocabulary("a b d"))
    with pytest.raises(ConfigError, match=r"(?s)lm_init\.run=.*another vocabulary.*data=snips"):
        regularizers(model)[0].prepare(model)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("encoder.hidden=9", ["encoder.hidden=9", "try  encoder.hidden=8"]),
        ("encoder=gru", ["encoder.cell=gru", "try  encoder.cell=lstm"]),
        ("encoder.layers=2", ["encoder.layers=2", "encoder.layers=1"]),
        ("regularizer.lm_init.run=null", ["no language model", "model=rnnlm", "decoder.hidden=8"]),
        ("regularizer.lm_init.run=/nowhere", ["lm_init.run=/nowhere", "no such folder"]),
        ("model=rnnlm", ["encoder=none", "regularizer=lm_init", "encoder=lstm"]),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_loads(
    more: str, named: list[str], language_model: Path, composed: Compose
):
    with pytest.raises(ConfigError) as caught:
        checked(composed(*typed(language_model, more)))
    for words in named:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("lost", "named"),
    [("DONE", "has not ended"), (".hydra/config.yaml", "config.yaml"), ("checkpoints/best.ckpt", "best.ckpt")],
)
def test_a_folder_that_is_not_whole_is_refused(lost: str, named: str, language_model: Path, composed: Compose):
    (language_model / lost).unlink()
    with pytest.raises(ConfigError, match=named):
        checked(composed(*typed(language_model)))


def test_a_run_of_another_model_is_refused(composed: Compose, tmp_path: Path):
    folder = finished_run(tmp_path / "svae", plain(composed("model=svae", *SIZES)))
    with pytest.raises(ConfigError, match="not of a language model"):
        checked(composed(*typed(folder)))


def test_the_language_models_id_counts_and_not_its_folder(composed: Compose, tmp_path: Path):
    config = plain(composed("model=rnnlm", *SIZES))
    runs = {"one": "rnnlm-1", "two": "rnnlm-1", "three": "rnnlm-2"}
    ids = [
        identity.run_id(composed(*typed(finished_run(tmp_path / folder, config, run))), "svae")
        for folder, run in runs.items()
    ]
    assert ids[0] == ids[1]
    assert ids[0] != ids[2]
