from __future__ import annotations

import io
import math
import re
import time
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from rich.console import Console

from lvexp.data.batch import Batch
from lvexp.training.progress import Progress

BATCHES, TEXTS = 5, 2
TOKENS = 3  # w1 w2 <eos>


class Model(L.LightningModule):
    """Measures what a training of a model of texts measures; its validation costs ``slow`` seconds."""

    def __init__(self, measured=("distortion", "rate"), nelbos=(40.0, 38.0, 39.0), slow=0.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.names, self.nelbos, self.slow = measured, nelbos, slow
        self.measured, self.preparing = {}, False
        self.model = SimpleNamespace(monitor=("nelbo", "−ELBO") if "rate" in measured else ("distortion", "D"))

    @property
    def beta(self):
        return 0.25

    def training_step(self, batch, batch_idx):
        self.measured = {name: torch.tensor(float(batch_idx)) for name in self.names}
        return self.weight

    def validation_step(self, batch, batch_idx):
        time.sleep(self.slow / BATCHES)

    def on_validation_epoch_end(self):
        if "distortion" in self.names:
            key = "val/nelbo" if "rate" in self.names else "val/distortion"
            self.log(key, self.nelbos[self.current_epoch])
        if "rate" in self.names:
            self.log_dict({"val/active_units": 3.0, "val/mi": 0.84})

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def train(progress, model, folder, epochs=3, resume=None, **options):
    batches = [Batch.of([[1, 5, 6, 2]] * TEXTS)] * BATCHES
    loader = torch.utils.data.DataLoader(batches, batch_size=None)  # pyright: ignore[reportArgumentType]
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[progress],
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        **{"enable_checkpointing": False, **options},
    )
    trainer.fit(model, loader, loader, ckpt_path=resume)
    return trainer


@pytest.fixture(autouse=True)
def _lightning_advice():
    """Lightning advises on loaders with few workers; ours need none."""
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        yield


def lines(progress):
    return progress.console.file.getvalue().splitlines()


@pytest.fixture
def plain():
    return Progress(Console(file=io.StringIO(), width=60))


def test_a_line_for_each_epoch_where_there_is_no_terminal(plain, tmp_path):
    train(plain, Model(), tmp_path)
    shown = [re.sub(r"[\d.]+[kM]? tok/s", "N tok/s", line) for line in lines(plain)]
    assert shown == [
        "epoch 1/3  step 5  N tok/s  D 2.00  R 2.00  β 0.25  val −ELBO 40.00  AU 3  MI 0.84  best ✓",
        "epoch 2/3  step 10  N tok/s  D 2.00  R 2.00  β 0.25  val −ELBO 38.00  AU 3  MI 0.84  best ✓",
        "epoch 3/3  step 15  N tok/s  D 2.00  R 2.00  β 0.25  val −ELBO 39.00  AU 3  MI 0.84",
    ]
    assert plain.best == 38.0


def test_without_a_rate(plain, tmp_path):
    train(plain, Model(measured=("distortion",)), tmp_path)
    assert "R " not in lines(plain)[0]
    assert "β" not in lines(plain)[0]
    assert "val D 40.00  best ✓" in lines(plain)[0]


def test_a_model_that_measures_nothing(plain, tmp_path):
    train(plain, Model(measured=()), tmp_path, epochs=1)
    assert re.fullmatch(r"epoch 1/1  step 5  [\d.]+[kM]? tok/s", lines(plain)[0])


def test_speed_counts_predicted_tokens_and_leaves_validation_out(plain, tmp_path):
    began = time.monotonic()
    train(plain, Model(slow=0.5), tmp_path, epochs=2)
    whole = time.monotonic() - began
    assert plain.tokens == 2 * BATCHES * TEXTS * TOKENS
    assert whole > 1.0
    assert plain.seconds < whole - 0.95
    assert plain.tokens_per_second == pytest.approx(plain.tokens / plain.seconds)


def test_speed_before_the_first_step_is_not_known(plain):
    assert plain.tokens_per_second is None


def test_tensors_are_read_twice_a_second_at_most(plain, tmp_path, monkeypatch):
    counted = []
    monkeypatch.setattr(Batch, "predicted", lambda self: counted.append(1) or 6)
    monkeypatch.setattr(Progress, "_show", lambda self, *_: counted.append("shown"))
    train(plain, Model(), tmp_path, epochs=1, limit_train_batches=5)
    # the first step, the validation and the end of the epoch
    assert counted.count("shown") <= 3
    assert counted.count(1) == BATCHES


def test_a_resumed_run_counts_its_own_tokens_and_keeps_the_best(plain, tmp_path):
    trainer = train(plain, Model(), tmp_path, epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = Progress(Console(file=io.StringIO()))
    train(again, Model(), tmp_path, epochs=3, resume=tmp_path / "last.ckpt", enable_checkpointing=False)
    assert again.tokens == BATCHES * TEXTS * TOKENS
    assert again.best == 38.0
    assert len(lines(again)) == 1
    assert "best" not in lines(again)[0]


def test_the_bar_of_a_terminal(tmp_path):
    file = io.StringIO()
    progress = Progress(Console(file=file, force_terminal=True, color_system=None, width=100))
    train(progress, Model(), tmp_path)
    last = re.sub(r"\x1b\[[\d?]*[A-Za-z]", "", file.getvalue()).splitlines()[-1]
    assert len(last.rstrip()) <= 100
    for part in ("epoch 3/3", "15/15", "tok/s", "D 2.00", "R 2.00", "β 0.25", "best 38.00"):
        assert part in last
    assert "val" not in last


@pytest.mark.parametrize("width", [60, 100])
def test_a_terminal_has_the_history_of_the_epochs_and_a_bar_of_one_line(width, tmp_path):
    file = io.StringIO()
    progress = Progress(Console(file=file, force_terminal=True, color_system=None, width=width))
    train(progress, Model(), tmp_path)
    shown = re.sub(r"\x1b\[[\d?]*[A-Za-z]", "", file.getvalue()).replace("\r", "\n").splitlines()
    assert max(map(len, map(str.rstrip, shown))) <= width
    history = " ".join(" ".join(shown).split())
    for epoch, nelbo in ((1, "40.00"), (2, "38.00"), (3, "39.00")):
        assert re.search(rf"epoch {epoch}/3 step {5 * epoch} [^β]*β 0.25 val −ELBO {nelbo} AU 3", history)
    (last,) = [line for line in shown[-2:] if "15/15" in line]
    assert "best 38.00" in last
    assert "D 2.00  R 2.00" in last


def test_the_bar_is_taken_down_when_training_fails(tmp_path):
    class Broken(Model):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("broken")

    progress = Progress(Console(file=io.StringIO(), force_terminal=True))
    with pytest.raises(RuntimeError, match="broken"):
        train(progress, Broken(), tmp_path)
    assert progress._live is None
    assert progress.best == math.inf


def test_disabled_it_is_silent_but_counts(plain, tmp_path):
    plain.disable()
    train(plain, Model(), tmp_path, epochs=1)
    assert lines(plain) == []
    assert plain.tokens == BATCHES * TEXTS * TOKENS
