"""A model of two losses: whose turn it is, what it trains, and that gradients of one never reach another."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F

from lvexp.data.batch import Batch
from lvexp.errors import Diverged
from lvexp.models.base import GROUPS, Turn
from lvexp.models.sentence import SentenceModel
from lvexp.regularizers.aggressive import Aggressive
from lvexp.regularizers.base import Progress, Regularizer, equip
from lvexp.regularizers.word_dropout import WordDropout
from lvexp.terms import Terms
from lvexp.training.module import Training
from lvexp.training.progress import Progress as Bar
from lvexp.training.steps import Seeds, TrainingCurves

CRITIC = "critic"
BOUND, OWN = Turn("bound", GROUPS), Turn("critic", (CRITIC,), bound=False)


class Criticised(SentenceModel):
    """A critic learns to tell the lengths of texts from their features, and the bound is paid to fool it: each loss
    depends on what the other trains."""

    def __init__(self, spoilt: int | None = None, **parts: Any):
        super().__init__(**parts)
        self.critic = nn.Linear(self.encoder.width, 1)
        self.asked: list[int] = []
        self.spoilt = spoilt  # the step whose loss is no number

    def groups(self) -> dict[str, list[nn.Parameter]]:
        critic = list(self.critic.parameters())
        known = {id(parameter) for parameter in critic}
        others = {name: [part for part in parts if id(part) not in known] for name, parts in super().groups().items()}
        return {**others, CRITIC: critic}

    def turn(self, step: int, epoch: int) -> Turn:
        self.asked.append(step)
        return OWN if step % 2 else BOUND

    def added(self, turn: Turn, batch: Batch, terms: Terms | None, beta: torch.Tensor | float) -> torch.Tensor:
        assert (terms is None) == (turn is OWN)
        reading = self.read(batch) if terms is None else terms.reading
        missed = F.mse_loss(self.critic(reading.features)[:, 0], batch.lengths.float(), reduction="none")
        if self.asked and self.asked[-1] == self.spoilt:
            return missed * float("nan")
        return missed if turn is OWN else -0.1 * missed


def made(*remedies: Regularizer, spoilt: int | None = None) -> Criticised:
    known = tiny.model(scale=1.0)
    model = Criticised(
        spoilt, encoder=known.encoder, decoder=known.decoder, vocabulary=known.vocabulary, latent=known.latent,
        estimator=known.estimator,
    )  # fmt: skip
    equip(model, remedies)
    return model


class Moves(L.Callback):
    """Of each optimiser step: who had gradients after its last backward pass, and whose parameters, or what the
    optimiser keeps of them, it moved."""

    def __init__(self):
        self.before: Any = None
        self.reached: list[tuple[str, ...]] = []
        self.moved: list[tuple[str, ...]] = []

    def look(self, trainer: L.Trainer) -> None:
        optimizer = trainer.optimizers[0]
        now = {
            group["name"]: copy.deepcopy([(p.detach(), dict(optimizer.state[p])) for p in group["params"]])
            for group in optimizer.param_groups
        }
        if self.before is not None:
            self.moved.append(tuple(name for name in now if not same(self.before[name], now[name])))
            for name in self.moved[-1]:
                assert all(not torch.equal(p, q) for (p, _), (q, _) in zip(self.before[name], now[name], strict=True))
        self.before = now

    def on_after_backward(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        groups = trainer.optimizers[0].param_groups
        # not zero: None, as nothing was computed for it
        self.reached.append(tuple(g["name"] for g in groups if any(p.grad is not None for p in g["params"])))

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: Any, optimizer: Any) -> None:
        self.look(trainer)

    def on_train_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        self.look(trainer)


def same(one: list[Any], other: list[Any]) -> bool:
    return all(
        torch.equal(p, q) and s.keys() == t.keys() and all(torch.equal(s[key], t[key]) for key in s)
        for (p, s), (q, t) in zip(one, other, strict=True)
    )


class Loader:
    def __init__(self):
        self.batches, self.limit = list(tiny.corpus()), 3

    def __len__(self) -> int:
        return self.limit

    def __iter__(self):
        return iter(self.batches)

    def pick(self, number: int) -> Batch:
        return self.batches[number]


def train(
    model: Criticised,
    steps: int,
    *callbacks: L.Callback,
    loader: Any = None,
    resume: Path | None = None,
    **options: Any,
):
    """Adam with a decay that moves every parameter of a group that is trained at all."""
    training = tiny.training(model, optimizer=lambda groups: torch.optim.Adam(groups, lr=0.01, weight_decay=0.1))
    trainer = L.Trainer(
        accelerator="cpu", max_steps=steps, max_epochs=-1, logger=False, callbacks=[Seeds(1), *callbacks],
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, **options,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        trainer.fit(training, loader or Loader(), ckpt_path=resume, weights_only=True)
    return training, trainer


def test_groups_of_a_models_own_are_groups_of_the_optimiser():
    model = made()
    groups = {group["name"]: group["params"] for group in tiny.training(model).configure_optimizers().param_groups}
    assert list(groups) == [*GROUPS, CRITIC]
    ids = [id(parameter) for group in groups.values() for parameter in group]
    assert sorted(ids) == sorted(id(parameter) for parameter in model.parameters())


def test_a_turn_moves_every_parameter_of_its_groups_and_no_other():
    moves = Moves()
    training, _ = train(made(), 6, moves)
    assert moves.moved == [GROUPS, (CRITIC,)] * 3
    assert moves.reached == moves.moved, "gradients of a loss are not even computed for what it does not train"
    assert all(parameter.requires_grad for parameter in training.parameters()), "afterwards all is as it was"


def test_gradients_of_a_turn_are_those_of_its_loss_alone():
    """The same steps by hand, from the losses as they are written."""
    model, by_hand = made(), made()
    training = tiny.training(model)
    batch = next(iter(tiny.corpus()))
    for step, turn in enumerate((BOUND, OWN)):
        torch.manual_seed(step)
        model.zero_grad()
        training.turn = None
        model.turn = lambda *_, turn=turn: turn  # there is no trainer that counts
        training.training_step(batch, 0).backward()
        torch.manual_seed(step)
        groups = by_hand.groups()
        read = by_hand.read(batch)
        missed = (by_hand.critic(read.features)[:, 0] - batch.lengths).square()
        if turn is BOUND:
            terms = by_hand.terms(batch)
            loss = terms.distortion + terms.rate - 0.1 * missed
        else:
            loss = missed
        wanted = [part for name in turn.groups for part in groups[name]]
        gradients = dict(zip(map(id, wanted), torch.autograd.grad(loss.mean(), wanted), strict=True))
        named = dict(model.named_parameters())
        for name, parameter in by_hand.named_parameters():
            if id(parameter) in gradients:
                torch.testing.assert_close(named[name].grad, gradients[id(parameter)], msg=name)
            else:
                assert named[name].grad is None, name


def test_a_turn_lasts_for_all_batches_of_a_step():
    moves, model = Moves(), made()
    train(model, 4, moves, accumulate_grad_batches=2)
    assert model.asked == [0, 1, 2, 3], "one decision for each step"
    assert moves.moved == [GROUPS, (CRITIC,)] * 2
    # three batches an epoch: steps of two and of one
    assert moves.reached == [GROUPS] * 2 + [(CRITIC,)] + [GROUPS] * 2 + [(CRITIC,)]


def test_a_regularizer_plans_for_the_usual_groups_within_a_turn():
    class EncoderOnly(Regularizer):
        def plan(self, progress: Progress) -> tuple[str, ...]:
            return ("inference",)

    moves = Moves()
    train(made(EncoderOnly()), 4, moves)
    assert moves.moved == [("inference",), (CRITIC,)] * 2


def test_extra_steps_take_the_turn_of_the_step_that_they_come_before():
    """Inner steps count nowhere, and a turn's own groups are not the remedy's to plan."""
    moves = Moves()
    train(made(Aggressive(inner=3)), 2, moves)
    assert moves.moved == [("inference",)] * 2 + [("generative",)] + [(CRITIC,)] * 3


def test_regularizers_are_told_of_every_step_whatever_its_turn():
    class Told(Regularizer):
        def __init__(self):
            super().__init__()
            self.steps: list[int] = []
            self.words: list[float] = []

        def update(self, progress: Progress) -> None:
            self.steps.append(progress.step)
            self.words.append(float(progress.words))

    told = Told()
    train(made(told), 4)
    assert told.steps == [0, 1, 2, 3]
    assert all(words > 0 for words in told.words)


def test_a_resumed_run_takes_up_the_turn_where_it_was(tmp_path: Path):
    same_batch = Loader()
    same_batch.batches = same_batch.batches[:1] * 3  # a loader that knows where it was is the data module's
    whole, _ = train(made(WordDropout(keep=0.5)), 5, loader=same_batch)
    _, trainer = train(made(WordDropout(keep=0.5)), 2, loader=same_batch)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    model = made(WordDropout(keep=0.5))
    resumed, _ = train(model, 5, loader=same_batch, resume=tmp_path / "last.ckpt")
    assert model.asked == [2, 3, 4]
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_figures_are_means_over_the_texts_that_they_were_measured_on():
    """A turn without the bound has neither distortion nor rate, and its texts count for neither."""

    class Noting(L.Callback):
        def __init__(self):
            self.curves, self.bar = TrainingCurves(1_000), Bar(bar=False)
            self.bar._sums, self.bar._texts = {}, 0
            self.nats, self.texts, self.loss, self.all = 0.0, 0, 0.0, 0

        def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, *_: Any) -> None:
            measured = pl_module.measured
            self.loss, self.all = self.loss + float(measured["loss"]) * len(batch), self.all + len(batch)
            if "distortion" in measured:
                self.nats += float(measured["distortion"]) * len(batch)
                self.texts += len(batch)
            self.curves.on_train_batch_end(trainer, pl_module, outputs, batch, 0)
            self.bar._trainer, self.bar._looked = trainer, float("inf")
            self.bar.on_train_batch_end(trainer, pl_module, outputs, batch, 0)

    seen = Noting()
    training, _ = train(made(), 3, seen)  # a bound, the critic's, a bound
    assert 0 < seen.texts < seen.all
    again = TrainingCurves(1)
    again.load_state_dict(seen.curves.state_dict())
    for curves in (seen.curves, again):
        found = {name: float(total) / curves.texts[name] for name, total in curves.sums.items()}
        assert found["distortion"] == pytest.approx(seen.nats / seen.texts)
        assert found["loss"] == pytest.approx(seen.loss / seen.all)
    assert f"D {seen.nats / seen.texts:z.2f}" in seen.bar._figures(training)


def test_validations_are_disregarded_while_the_model_or_a_remedy_prepares():
    class Remedy(Regularizer):
        preparing = False

    seen: list[bool] = []

    class Look(L.Callback):
        def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
            seen.append(pl_module.preparing)
            remedy.preparing = trainer.current_epoch == 2

    remedy = Remedy()
    model = made(remedy)
    model.prepares = lambda epoch: epoch < 2
    train(model, 15, Look())  # three batches an epoch
    assert seen == [True, True, False, True, False]


@pytest.mark.parametrize("spoilt", [0, 1])
def test_a_loss_of_its_own_that_is_no_number_is_named(spoilt: int):
    with pytest.raises(Diverged, match="bound nan" if spoilt == 0 else "loss of critic nan"):
        train(made(spoilt=spoilt), 3)


def test_a_turn_is_one_of_all_groups_unless_it_says_so():
    model = made()
    training = tiny.training(model)
    assert isinstance(training, Training)
    model.turn = lambda *_: Turn()
    training.training_step(next(iter(tiny.corpus())), 0).backward()
    assert training.trained == {*GROUPS, CRITIC}
    assert all(parameter.grad is not None for parameter in model.parameters())
