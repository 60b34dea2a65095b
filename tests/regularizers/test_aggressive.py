"""Aggressive training: who is trained when, on what, and when it ends."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import tiny
import torch
from helpers import Compose, plain

from lvexp import build
from lvexp.anneal.cyclical import Cyclical
from lvexp.anneal.linear import Linear
from lvexp.data.batch import Batch
from lvexp.errors import ConfigError
from lvexp.models.base import GROUPS, LatentModel
from lvexp.regularizers.aggressive import Aggressive
from lvexp.regularizers.base import Progress
from lvexp.regularizers.batch_norm import BatchNorm
from lvexp.training.module import Training
from lvexp.training.steps import Seeds

INFERENCE, GENERATIVE = ("inference",), ("generative",)


class Noting(Aggressive):
    """Notes what each optimiser step trained, and at which step of training."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.noted: list[tuple[int, tuple[str, ...]]] = []

    def plan(self, progress: Progress) -> tuple[str, ...]:
        self.noted.append((progress.step, super().plan(progress)))
        return self.noted[-1][1]

    @property
    def inner_steps(self) -> dict[int, int]:
        """Of each step of training in the phase."""
        steps = [step for step, trained in self.noted if trained == GENERATIVE]
        return {step: sum(s == step and trained == INFERENCE for s, trained in self.noted) for step in steps}


class Loader:
    """Three batches in an order of their own."""

    def __init__(self, limit: int = 3):
        self.batches, self.limit = list(tiny.corpus()), limit
        self.picked: list[int] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)

    def pick(self, number: int) -> Batch:
        self.picked.append(number)
        return self.batches[number]


class Information(L.Callback):
    """Validations that find what they are told to."""

    def __init__(self, *found: float):
        self.found = iter(found)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pl_module.log("val/mi", next(self.found))


def train(
    of: LatentModel | Training, epochs: int = 1, loader: Any = None, callbacks: Any = (), **options: Any
) -> L.Trainer:
    training = of if isinstance(of, Training) else tiny.training(of)
    validated = any(isinstance(callback, Information) for callback in callbacks)
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=epochs, logger=False, callbacks=[Seeds(1), *callbacks], num_sanity_val_steps=0,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, limit_val_batches=1.0 if validated else 0, **options,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        trainer.fit(training, loader or Loader(), Loader() if validated else None)
    return trainer


def state(optimizer: torch.optim.Optimizer) -> dict[str, list[Any]]:
    """Of each group: its parameters and what the optimiser keeps of them."""
    return {
        group["name"]: copy.deepcopy([(p.detach(), dict(optimizer.state[p])) for p in group["params"]])
        for group in optimizer.param_groups
    }


def same(one: list[Any], other: list[Any]) -> bool:
    return all(
        torch.equal(p, q) and s.keys() == t.keys() and all(torch.equal(s[key], t[key]) for key in s)
        for (p, s), (q, t) in zip(one, other, strict=True)
    )


class Moves(L.Callback):
    """Which groups each optimiser step, inner or not, has moved."""

    def __init__(self):
        self.before: Any = None
        self.moved: list[tuple[str, ...]] = []

    def look(self, trainer: L.Trainer) -> None:
        now = state(trainer.optimizers[0])
        if self.before is not None:
            self.moved.append(tuple(group for group in GROUPS if not same(self.before[group], now[group])))
        self.before = now

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        self.look(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.look(trainer)


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.SGD])
def test_inner_steps_leave_the_decoder_alone_and_the_outer_step_the_encoder(kind):
    remedy, moves = Noting(inner=3, check=15), Moves()
    model = tiny.model(remedies=[remedy], scale=1.0)
    training = tiny.training(model, optimizer=lambda groups: kind(groups, lr=0.1, weight_decay=0.1))
    trainer = train(training, epochs=2, callbacks=[moves], gradient_clip_val=5.0)
    assert moves.moved == [INFERENCE, INFERENCE, GENERATIVE] * 6
    assert trainer.global_step == 6, "an inner step is no step of training"
    assert remedy.inner_steps == dict.fromkeys(range(6), 2)


def test_a_remedy_that_is_part_of_the_posterior_is_trained_with_it():
    shifted = BatchNorm()
    model = tiny.model(remedies=[Aggressive(inner=3, check=15), shifted])
    groups = {group["name"]: group["params"] for group in tiny.training(model).configure_optimizers().param_groups}
    assert any(parameter is shifted.shift for parameter in groups["inference"])
    assert not any(parameter is shifted.shift for parameter in groups["generative"])


def test_an_inner_step_is_the_plain_step_of_the_encoder():
    """The same gradients, clipping and update as by hand."""
    torch.manual_seed(0)
    batch = next(iter(tiny.corpus()))
    model, by_hand = (tiny.model(scale=8.0, remedies=remedies) for remedies in ([Aggressive(inner=2)], []))
    loader = Loader(limit=1)
    loader.batches = [batch]

    class Seeding(L.Callback):
        def on_train_batch_start(self, *_: Any) -> None:
            torch.manual_seed(5)

    torch.manual_seed(5)
    torch.randint(1, ())  # the draw of the batch
    by_hand.load_state_dict(model.state_dict())
    tiny.training(by_hand).training_step(batch, 0).backward()
    inference = list(by_hand.inference_parameters())
    torch.nn.utils.clip_grad_norm_(inference, 0.7)
    with torch.no_grad():
        for parameter in inference:
            parameter -= 0.5 * parameter.grad
    training = tiny.training(model, optimizer=lambda groups: torch.optim.SGD(groups, lr=0.5))
    train(training, loader=loader, callbacks=[Seeding()], gradient_clip_val=0.7, max_steps=1)
    for found, wanted in zip(model.inference_parameters(), inference, strict=True):
        torch.testing.assert_close(found, wanted)


def test_inner_steps_draw_from_the_batches_of_the_epoch():
    loader = Loader()
    train(tiny.model(remedies=[Aggressive(inner=8)]), epochs=3, loader=loader)
    assert len(loader.picked) == 7 * 9
    assert set(loader.picked) == {0, 1, 2}
    few = Loader(limit=1)
    train(tiny.model(remedies=[Aggressive(inner=8)]), loader=few, limit_train_batches=1)
    assert few.picked == [0] * 7


def test_a_batch_that_is_picked_is_one_of_the_epoch_and_the_pass_goes_on(composed: Compose, small: list[str]):
    loader = build.data(plain(composed(*small))).train_dataloader()
    for _ in range(2):
        given = []
        for number, batch in enumerate(loader):
            given.append(batch)
            again = loader.pick(number // 2)
            assert torch.equal(again.tokens, given[number // 2].tokens)
        assert len(given) == len(loader)
        assert torch.equal(loader.pick(3).index, given[3].index)
        assert sum(map(len, given)) == len(loader.split)


def test_inner_steps_end_when_the_loss_per_word_of_a_stretch_is_above_that_of_the_one_before(monkeypatch):
    losses = iter([9.0, 9, 9, 8, 8, 8, 10, 6, 9, 0, 5, 5, 5, 6, 6, 6, 0])  # means 9, 8, 8.33; then 5, 6

    def told(self: Training, batch: Batch, _: int) -> torch.Tensor:
        self._planned()
        self.loss_since, self.words_since = next(losses), 2
        return sum(parameter.sum() for parameter in self.parameters())

    model = tiny.model(remedies=[remedy := Noting(inner=100, check=3)])
    monkeypatch.setattr(Training, "training_step", told)
    train(model, max_steps=2)
    assert remedy.inner_steps == {0: 9, 1: 6}
    model = tiny.model(remedies=[remedy := Noting(inner=1)])
    losses = iter([1.0, 1.0])
    train(model, max_steps=2)
    assert remedy.inner_steps == {0: 0, 1: 0}


def test_gradients_of_several_batches_are_one_step_after_one_cycle():
    remedy = Noting(inner=4)
    trainer = train(tiny.model(remedies=[remedy]), accumulate_grad_batches=2)
    assert trainer.global_step == 2
    assert remedy.inner_steps == {0: 3, 1: 3}


def test_the_phase_ends_for_good_when_the_mutual_information_falls_from_one_epoch_to_the_next():
    remedy = Noting(inner=2, epochs=None)
    train(tiny.model(remedies=[remedy]), epochs=6, callbacks=[Information(0.5, 0.7, 0.7, 0.6, 2.0, 2.0)])
    assert sorted(remedy.inner_steps) == list(range(12)), "four passes of decoder steps"
    assert remedy.noted[-6:] == [(step, GROUPS) for step in range(12, 18)]


def test_validations_within_an_epoch_end_nothing():
    remedy = Noting(inner=2, epochs=None)
    found = Information(0.5, 0.4, 0.6, 0.1, 0.2, 0.7)
    train(tiny.model(remedies=[remedy]), epochs=2, callbacks=[found], val_check_interval=1)
    assert sorted(remedy.inner_steps) == list(range(6))


def test_the_phase_ends_after_its_epochs():
    remedy = Noting(inner=2, epochs=2)
    train(tiny.model(remedies=[remedy]), epochs=3)
    assert sorted(remedy.inner_steps) == list(range(6))
    assert remedy.noted[-3:] == [(step, GROUPS) for step in (6, 7, 8)]


def test_the_schedule_of_beta_and_its_restarts_go_by_decoder_steps():
    class Betas(L.Callback):
        def __init__(self):
            self.seen, self.counts = [], []

        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
            self.seen.append(pl_module.beta)
            kept = trainer.optimizers[0].state
            decoder = next(pl_module.model.decoder.parameters())
            self.counts.append(int(kept[decoder]["step"]))

    model, betas = tiny.model(remedies=[Aggressive(inner=3)], scale=1.0), Betas()
    train(tiny.training(model, Linear(start=0.0, warmup=10, unit="steps")), callbacks=[betas])
    assert betas.seen == pytest.approx([0.0, 0.1, 0.2])
    model, betas = tiny.model(remedies=[Aggressive(inner=3)], scale=1.0), Betas()
    anneal = Cyclical(period=2, cycles=3, restart=True, unit="steps")
    train(tiny.training(model, anneal), epochs=2, callbacks=[betas])
    assert betas.counts == [1, 2, 1, 2, 1, 2]


def test_a_resumed_run_goes_on_where_it_was(composed: Compose, small: list[str], tmp_path: Path):
    config = plain(composed(*small, "regularizer=aggressive", "regularizer.aggressive.inner=4"))

    def run(steps: int, resume: Path | None = None) -> tuple[LatentModel, L.Trainer]:
        torch.manual_seed(0 if resume is None else 1)
        data = build.data(config)
        model = build.model(config, data.vocabulary)
        trainer = L.Trainer(
            accelerator="cpu", max_steps=steps, logger=False, callbacks=[Seeds(1)], num_sanity_val_steps=0,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            use_distributed_sampler=False, limit_val_batches=1,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            trainer.fit(build.training(config, model), datamodule=data, ckpt_path=resume, weights_only=True)
        return model, trainer

    whole, _ = run(33)
    broken, trainer = run(27)  # in the second epoch
    assert trainer.current_epoch > 0
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    resumed, _ = run(33, tmp_path / "last.ckpt")
    assert all(torch.equal(p, q) for p, q in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert not all(torch.equal(p, q) for p, q in zip(broken.parameters(), resumed.parameters(), strict=True))


@pytest.mark.parametrize("wrong", [{"inner": 0}, {"check": 0}, {"epochs": 0}])
def test_nonsense_is_refused(wrong: dict[str, int]):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Aggressive(**wrong)
