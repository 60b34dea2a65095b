"""The data module in Lightning's own loop: what it saves, restores, limits and repeats."""

from __future__ import annotations

from pathlib import Path

import lightning as L
import pytest
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint

from lvexp.data.module import TextData
from lvexp.data.settings import DataSettings
from lvexp.data.source import columns
from tests.data.conftest import sentences

CONF = Path(__file__).parents[2] / "conf" / "data"


class Recorder(L.LightningModule):
    """Learns nothing of use; notes the rows of each batch it is given."""

    def __init__(self, stop: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.stop = stop
        self.seen: list[list[int]] = []
        self.validated: list[list[int]] = []

    def training_step(self, batch, _):
        self.seen.append(batch.index.tolist())
        if self.stop is not None and len(self.seen) > self.stop:
            raise KeyError("killed")
        return self.layer(batch.tokens[:, :1].float()).sum()

    def validation_step(self, batch, _):
        self.validated.append(batch.index.tolist())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 1e-9)


@pytest.fixture
def data(make):
    def build() -> TextData:
        return TextData(**make(sentences(60)), seed=5)

    return build


def rows(batches: list[list[int]]) -> list[int]:
    return sorted(row for batch in batches for row in batch)


def fit(model, data, folder, *, ckpt=None, every=None, **options) -> Recorder:
    saver = ModelCheckpoint(dirpath=folder, save_last=True, every_n_train_steps=every, save_top_k=1)
    trainer = L.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[saver],
        **{"max_epochs": 3, "num_sanity_val_steps": 2} | options,
    )
    trainer.fit(model, data, ckpt_path=ckpt, weights_only=True if ckpt else None)
    return model


@pytest.mark.filterwarnings(
    "ignore:.*does not have many workers.*", "ignore:.*Checkpoint directory.*", "ignore:.*LeafSpec.*"
)
class TestFit:
    @pytest.mark.parametrize(
        "options", [{}, {"limit_train_batches": 10}, {"limit_train_batches": 0.6}, {"max_steps": 99}]
    )
    @pytest.mark.parametrize("stop", [7, 10, 18])  # an epoch has 18 steps
    def test_killed_and_resumed(self, data, tmp_path, stop, options):
        options = {"max_epochs": 2, "every": stop} | options
        whole = fit(Recorder(), data(), tmp_path / "whole", **options).seen
        with pytest.raises(KeyError, match="killed"):
            fit(Recorder(stop), data(), tmp_path / "killed", **options)
        rest = fit(Recorder(), data(), tmp_path / "killed", ckpt=tmp_path / "killed" / "last.ckpt", **options).seen
        assert rest == whole[stop:]

    @pytest.mark.parametrize(
        ("part", "options"),
        [
            ({"max_epochs": 2}, {}),
            ({"max_epochs": 2}, {"limit_train_batches": 7}),
            ({"max_epochs": 2}, {"val_check_interval": 5}),
            ({"max_steps": 36}, {"max_steps": 54, "max_epochs": -1}),
            ({"max_steps": 40}, {"max_steps": 54, "max_epochs": -1}),
        ],
    )
    def test_continued_after_the_end(self, data, tmp_path, part, options):
        options = {"max_epochs": 3, "every": 2} | options
        whole = fit(Recorder(), data(), tmp_path / "whole", **options).seen
        first = fit(Recorder(), data(), tmp_path / "part", **options | part).seen
        rest = fit(Recorder(), data(), tmp_path / "part", ckpt=tmp_path / "part" / "last.ckpt", **options).seen
        assert first + rest == whole

    def test_epochs_differ_and_are_whole(self, data, tmp_path):
        model, steps = Recorder(), data().steps_per_epoch
        fit(model, data(), tmp_path)
        epochs = [model.seen[start : start + steps] for start in range(0, 3 * steps, steps)]
        for epoch in epochs:
            assert rows(epoch) == list(range(60))
        assert epochs[0] != epochs[1] != epochs[2]
        valid = len(data().val_dataloader())
        assert len(model.validated) == 2 + 3 * valid
        assert model.validated[2 : 2 + valid] == model.validated[2 + valid : 2 + 2 * valid]
        assert rows(model.validated[-valid:]) == list(range(60))

    def test_overfitting_sees_the_same_batches(self, data, tmp_path):
        seen = fit(Recorder(), data(), tmp_path, overfit_batches=3).seen
        assert seen[:3] == seen[3:6] == seen[6:]


@pytest.mark.parametrize("name", ["snips", "ptb", "text", "20news", "bbc", "sst", "yelp"])
def test_the_constructor_takes_the_keys_of_the_yaml(name):
    cfg = yaml.safe_load((CONF / f"{name}.yaml").read_text())
    assert cfg.pop("_target_") == "lvexp.data.module.TextData"
    assert cfg["seed"] == "${seed}"
    assert set(cfg.pop("provides")) == columns(DataSettings.of(cfg))
    TextData(**cfg | {"seed": 1})


def test_unknown_settings_are_refused(make):
    with pytest.raises(TypeError, match="batchsize"):
        TextData(**make("a\n"), batchsize=3)


def test_what_it_offers(make):
    data = TextData(**make("x\ta b\ny\tc\n", suffix=".tsv", columns={"text": 1, "label": 0}))
    assert data.labels == ["x", "y"]
    assert data.vocabulary.decode(data.vocabulary.encode(["a b"])[0]) == "a b"
    assert data.steps_per_epoch == 2
    batch = next(iter(data.test_dataloader()))
    assert data.transfer_batch_to_device(batch, torch.device("meta"), 0).tokens.device.type == "meta"
