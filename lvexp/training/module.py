"""The LightningModule that trains every model: loss, beta, trained groups, clipping, optimiser, state for resuming."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import distributed, nn

from lvexp.anneal.base import AbstractAnneal
from lvexp.data.batch import Batch
from lvexp.errors import Diverged
from lvexp.models.base import GROUPS, LatentModel, Turn
from lvexp.regularizers.base import Progress, Regularizer, refined, regularizers
from lvexp.shapes import Float, Tensor
from lvexp.terms import Terms

Optimizers = Callable[[Iterable[dict[str, Any]]], torch.optim.Optimizer]


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes over training.

    Args:
        make: creates the scheduler from an optimiser.
        interval: what moves it: each optimiser "step", each "epoch", or each "validation" that counts.
    """

    make: Callable[..., torch.optim.lr_scheduler.LRScheduler]
    interval: str = "step"


class Training(L.LightningModule):
    r"""Trains a :class:`~lvexp.models.base.LatentModel`. The loss is the mean over the batch of

    .. math:: D + \beta R' + \sum \text{penalties}

    where R' is the rate as replaced by a regularizer. Validation always measures the true bound, -ELBO = D + R with
    beta = 1, no floor, no corruption, no dropout.

    Its state dict is the model's: checkpoints are independent of this wrapper.

    Args:
        model: to train.
        anneal: the schedule, beta as a function of the step.
        optimizer: creates the optimiser from parameter groups.
        new_decoder: creates a decoder like the model's, with new parameters.
        schedule: of the learning rate; None keeps it constant.

    Attributes:
        measured: figures of the last training step, for the progress bar and the log.
        beta: the weight of the rate in the last training step; before the first step, the weight in that step.
        lr: the learning rate of the last optimiser step; None before the first.
    """

    def __init__(
        self,
        model: LatentModel,
        anneal: AbstractAnneal,
        optimizer: Optimizers,
        new_decoder: Callable[[], nn.Module] | None = None,
        schedule: Schedule | None = None,
    ):
        super().__init__()
        self.model, self.anneal, self.optimizer, self.new_decoder = model, anneal, optimizer, new_decoder
        self.schedule = schedule
        self.lr: float | None = None
        self.measured: dict[str, Tensor] = {}
        self.parts: list[tuple[str, Tensor | float]] = []  # the summands of the last training loss
        self.weight: Tensor | float | None = None  # beta of the last training step
        self.loss_since: Tensor | float = 0.0  # nats since the last optimiser step, summed over texts
        self.words_since: Tensor | float = 0.0  # predicted tokens since then
        self.validated: dict[str, float] = {}  # the last validation's metrics, saved for a resumed run
        self.turn: Turn | None = None  # of the current optimiser step
        self.trained: frozenset[str] = frozenset()  # the groups that it trains

    # --- checkpoints of the model --------------------------------------------------------------------------------

    def state_dict(self, *args: Any, **more: Any) -> Any:
        return self.model.state_dict(*args, **more)

    def load_state_dict(self, state_dict: Any, *args: Any, **more: Any) -> Any:
        return self.model.load_state_dict(state_dict, *args, **more)

    # --- beta and the loss ---------------------------------------------------------------------------------------

    @property
    def regularizers(self) -> list[Regularizer]:
        """The regularizers, in the order in which they act."""
        return regularizers(self.model)

    @property
    def preparing(self) -> bool:
        """Whether a regularizer or the model is still preparing the training, so that validations are disregarded."""
        return self.model.prepares(self.current_epoch) or any(part.preparing for part in self.regularizers)

    @property
    def beta(self) -> float:
        if self.weight is None:
            return float(self.weighed(self.scheduled))
        return float(self.weight)

    @property
    def scheduled(self) -> float:
        """The schedule's weight of the rate in the next step."""
        return 0.0 if self.clock is None else self.anneal(self.clock)

    @property
    def clock(self) -> int | None:
        """The position of the schedule of beta, in steps; None while the loss omits the rate."""
        step: int | None = self.global_step
        for regularizer in self.regularizers:
            step = None if step is None else regularizer.clock(step)
        return step

    def weighed(self, beta: float) -> Tensor | float:
        """The weight of the rate in the loss, given that of the schedule."""
        weight: Any = beta
        for regularizer in self.regularizers:
            weight = regularizer.weigh(weight)
        return weight

    def loss(self, terms: Terms, beta: Tensor | float) -> Float[Tensor, " B"]:
        """The training loss of each text, D + beta R' + penalties, weighted by the model."""
        parts: list[tuple[str, Tensor | float]] = [("distortion", terms.distortion)]
        if terms.rate is not None:
            priced = terms.rate
            for regularizer in self.regularizers:
                priced = regularizer.rate(priced, terms.rate_per_dimension)
            parts.append(("rate", beta * priced))
        parts += [(f"penalty of {type(part).__name__}", part.penalty(terms)) for part in self.regularizers]
        self.parts = [(name, _detached(part)) for name, part in parts]
        loss = terms.distortion
        for _, part in parts[1:]:
            loss = loss + part
        return self.model.weighted(loss, terms.batch)

    # --- a step --------------------------------------------------------------------------------------------------

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        self.model.estimator.begin(self.global_step)
        for regularizer in self.regularizers:
            regularizer.begin(self)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        drawn = self.model.resampled(batch)
        if drawn is None and not several_processes():  # which would wait for this one's gradients
            return None
        turn, batch = self._planned(), batch if drawn is None else drawn
        losses, terms = self._bound(batch) if turn.bound else (torch.zeros(len(batch), device=self.device), None)
        own = self.model.added(turn, batch, terms, self.beta if self.weight is None else self.weight)
        losses = losses + own
        loss = losses.mean()
        if self.looks and not math.isfinite(loss.item()):
            self.parts.append((f"loss of {turn.name}", _detached(own)))
            raise Diverged(self.broken() or f"loss {loss.item()}")
        self.loss_since = self.loss_since + losses.detach().sum()
        self.words_since = self.words_since + (batch.lengths.sum() - len(batch))
        self.measured = {"loss": loss.detach()}
        if terms is not None:
            self.measured["distortion"] = terms.distortion.detach().mean()
            if terms.rate is not None:
                self.measured["rate"] = terms.rate.detach().mean()
        for part in (self.model, *self.regularizers):
            self.measured |= part.watch()
        return loss

    def _bound(self, batch: Batch) -> tuple[Float[Tensor, " B"], Terms]:
        """The loss of the bound, and its terms."""
        model, inputs = self.model, batch.inputs
        beta = self.weight = self.weighed(self.scheduled)
        for regularizer in self.regularizers:
            inputs = regularizer.corrupt(inputs)
        reading = model.read(batch)
        params, observed = model.observe(batch, model.params(reading))
        refining = [regularizer for regularizer in self.regularizers if regularizer.refines]
        # refinement runs backward before the step does, and would free the graph of a shared reading
        kept = reading.again if refining else reading
        params = refined(
            refining, params, lambda p: self.loss(model.terms(batch, model.samples, p, inputs, kept), beta)
        )
        terms = model.terms(batch, model.samples, params, inputs, kept)
        losses = self.loss(terms, beta)
        self.parts.append(("cost of the observed labels", _detached(observed)))
        return losses + observed, terms

    def validation_step(self, batch: Batch, batch_idx: int) -> Terms:
        """The true bound with one draw, in full precision; the metrics are computed by the validation callback."""
        with torch.autocast(self.device.type, enabled=False):
            return self.model.terms(batch)

    # --- what a step trains --------------------------------------------------------------------------------------

    def _planned(self) -> Turn:
        """The loss that this optimiser step minimises, decided once for all of its batches. Groups that it does not
        train are excluded from the backward pass. With several processes, gradients are exchanged for all parameters
        or for none; there, the gradients of these groups are computed and discarded."""
        if self.turn is not None:
            return self.turn
        turn = self.turn = self.model.turn(self.global_step, self.current_epoch)
        trained = set(self.groups) if turn.groups is None else set(turn.groups)
        if self.regularizers:
            progress, others = self.progress(), self.groups.keys() - set(GROUPS)
            for regularizer in self.regularizers:
                trained &= {*regularizer.plan(progress), *others}
        if trained != self.trained:
            self.trained = frozenset(trained)
            if not several_processes():
                for name, parameters in self.groups.items():
                    for parameter in parameters:
                        parameter.requires_grad_(name in trained)
        return turn

    @functools.cached_property
    def groups(self) -> dict[str, list[nn.Parameter]]:
        """The parameters that training may change, by group."""
        named = self.model.groups().items()
        return {name: [part for part in parameters if part.requires_grad] for name, parameters in named}

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Removes the gradients of groups that this step does not train, so that even Adam's state is unchanged. Clears
        the optimiser state when the schedule of beta restarts. This depends on the step alone, so a resumed run does
        the same."""
        step = self.clock
        # the schedule may pause while the generative group is not trained: the restart must happen only once
        if step is not None and "generative" in self.trained and self.anneal.restarts(step):
            optimizer.state.clear()
        for group in optimizer.param_groups:
            if group["name"] not in self.trained:
                for parameter in group["params"]:
                    parameter.grad = None
        if self.regularizers:
            progress = self.progress()
            for regularizer in self.regularizers:
                regularizer.update(progress)
        self.loss_since, self.words_since, self.turn = 0.0, 0.0, None

    def on_train_end(self) -> None:
        for parameters in self.groups.values():
            for parameter in parameters:
                parameter.requires_grad_(True)

    def optimizer_step(
        self, epoch: int, batch_idx: int, optimizer: Any, optimizer_closure: Callable[[], Any] | None = None
    ) -> None:
        self.lr = optimizer.param_groups[0]["lr"]
        super().optimizer_step(epoch, batch_idx, optimizer, optimizer_closure)
        optimizer.zero_grad()  # now and not before the next backward pass: the next forward pass needs the memory
        # with the optimiser's own step, and not when Lightning would: a checkpoint then holds both or neither
        if self.schedule is not None and (
            self.schedule.interval == "step"
            or (self.schedule.interval == "epoch" and batch_idx + 1 == self.trainer.num_training_batches)
        ):
            scheduler: Any = self.lr_schedulers()
            scheduler.step()

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        # Lightning refuses to clip for a fused optimiser in any mixed precision, although only "16-mixed" scales the
        # gradients, and lvexp.checks rejects that combination
        if not gradient_clip_val:
            return
        with_gradients = [parameter for parameter in self._all_parameters if parameter.grad is not None]
        if not with_gradients:  # nothing was left to learn
            return
        if gradient_clip_algorithm == "value":
            nn.utils.clip_grad_value_(with_gradients, gradient_clip_val)
            return
        norm = nn.utils.get_total_norm([parameter.grad for parameter in with_gradients if parameter.grad is not None])
        if self.looks and not math.isfinite(norm.item()):
            raise Diverged(f"gradient norm {norm.item()}")
        # on a CPU, reading the norm costs less than multiplying all gradients by 1
        if self.device.type != "cpu" or norm > gradient_clip_val:
            nn.utils.clip_grads_with_norm_(with_gradients, gradient_clip_val, norm)

    @functools.cached_property
    def _all_parameters(self) -> list[nn.Parameter]:
        """Those of all modules, which would otherwise be walked through in every step."""
        return list(self.parameters())

    def configure_optimizers(self) -> Any:
        groups = [{"name": name, "params": params} for name, params in self.model.groups().items() if params]
        optimizer = self.optimizer(groups)
        if self.schedule is None:
            return optimizer
        # Lightning keeps its state in checkpoints; optimizer_step and the callback Plateau move it
        kept = {"interval": "step", "frequency": sys.maxsize, "monitor": f"val/{self.model.monitor[0]}"}
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": self.schedule.make(optimizer), **kept}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        return batch.to(device)

    # --- the interface for regularizers, lvexp.regularizers.base.Course ------------------------------------------

    def progress(self) -> Progress:
        """The state of training, with loss and words since the last optimiser step."""
        batches = 1 if self._trainer is None else int(self.trainer.num_training_batches)
        return Progress(
            self.global_step, self.current_epoch, batches, self.validated, self.loss_since, self.words_since
        )

    def extra_step(self) -> None:
        """Takes an optimiser step with the trainer's precision, clipping and exchange between processes, on a randomly
        drawn batch of the epoch; no counter is increased."""
        trainer, optimizer = self.trainer, self.optimizers()
        assert not isinstance(optimizer, list)
        loader: Any = trainer.train_dataloader
        batch = loader.pick(int(torch.randint(loader.limit, ())))
        strategy = trainer.strategy
        there = strategy.batch_to_device(trainer.precision_plugin.convert_input(batch))

        def closure() -> Tensor:
            loss: Any = strategy.training_step(there, 0)
            return strategy.backward(loss, None)

        optimizer.step(closure=closure)
        optimizer.zero_grad()

    def total(self, loss: float, words: float) -> float:
        """Loss per word over all processes."""
        if not several_processes():
            return loss / words
        sums = torch.tensor([loss, words], dtype=torch.float64)
        if distributed.get_backend() == "nccl":
            sums = sums.cuda()
        distributed.all_reduce(sums)
        return float(sums[0] / sums[1])

    def renew_decoder(self) -> None:
        """Reinitialises the decoder's parameters and discards their optimiser state."""
        assert self.new_decoder is not None
        decoder, fresh = self.model.get_submodule("decoder"), self.new_decoder().state_dict()
        fresh.pop("output.bias", None)  # how frequent words are has been known from the start
        for name, part in decoder.named_modules():
            if isinstance(part, nn.Linear) and f"{name}.weight" not in fresh:  # added by a regularizer
                part.reset_parameters()
        # every process must get the same parameters
        decoder.load_state_dict(self.trainer.strategy.broadcast({**decoder.state_dict(), **fresh}))
        for optimizer in self.trainer.optimizers:
            for parameter in decoder.parameters():
                optimizer.state.pop(parameter, None)

    # --- state for resuming --------------------------------------------------------------------------------------

    def on_validation_end(self) -> None:
        self.validated |= {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        metrics = {name: float(value) for name, value in self.trainer.callback_metrics.items()}
        checkpoint["validated"] = self.validated | metrics
        # by name, because the order in which the user gives the regularizers does not change the job
        checkpoint["remedies"] = {
            type(part).__name__: {name: getattr(part, name) for name in part.memory} for part in self.regularizers
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.validated = dict(checkpoint.get("validated", {}))
        for regularizer in self.regularizers:
            for name, value in checkpoint.get("remedies", {}).get(type(regularizer).__name__, {}).items():
                setattr(regularizer, name, value)

    # --- values that are not finite ------------------------------------------------------------------------------

    @property
    def looks(self) -> bool:
        """Whether every step checks for values that are not finite. On a GPU this would wait for the device, and if one
        of several processes ended, the others would wait for it; instead, parameters are checked periodically."""
        return self.device.type == "cpu" and not several_processes()

    def broken(self) -> str:
        """The parts of the last training loss that are not finite, with their values; empty if all are finite."""
        means = {name: float(torch.as_tensor(part, dtype=torch.float32).mean()) for name, part in self.parts}
        return ", ".join(f"{name} {mean}" for name, mean in means.items() if not math.isfinite(mean))

    def require_finite(self) -> None:
        """Raises :class:`Diverged` if a parameter is not finite."""
        named = self.model.named_parameters()
        bad = [name for name, parameter in named if not torch.isfinite(parameter).all()]
        if bad:
            found = ", ".join(filter(None, (self.broken(), f"{len(bad)} parameters ({bad[0]} the first)")))
            raise Diverged(found, place=f"step {self.global_step} or before")


def _detached(part: Tensor | float) -> Tensor | float:
    return part.detach() if isinstance(part, Tensor) else part


def several_processes() -> bool:
    """Whether gradients are exchanged with other processes."""
    return distributed.is_available() and distributed.is_initialized()
