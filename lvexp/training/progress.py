"""Progress of training: one line per epoch, and a bar below them on a terminal."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from lightning.pytorch.callbacks import ProgressBar

from lvexp.report.table import on_output

if TYPE_CHECKING:
    import lightning as L
    from rich.console import Console

    from lvexp.data.batch import Batch
    from lvexp.training.module import Training

#: seconds between two readings of tensors: on a GPU, reading waits for all queued work
REFRESH = 0.5


class Progress(ProgressBar):
    """Epoch, step, tokens per second, D, R, beta and the best validation -ELBO.

    D and R are those of training, the mean over the texts of the epoch so far (values of single batches are noisy,
    because a batch holds texts of equal length). Figures of the validation set are marked ``val``. Speed is the number
    of predicted tokens divided by the time spent in training, without validation; a resumed run counts its own.

    Args:
        console: where to show progress; by default a new console on standard output.
        bar: whether to draw a bar; by default if the console is a terminal.
    """

    def __init__(self, console: Console | None = None, bar: bool | None = None):
        super().__init__()
        self.console = console or on_output()
        self.bar = self.console.is_terminal if bar is None else bar
        self.enabled = True
        self.tokens, self.seconds = 0, 0.0
        self.best = math.inf
        self.improved = False  # whether the epoch's last validation was the best so far
        self._since: float | None = None  # when the clock was started
        self._looked = 0.0
        self._batches: list[Batch] = []  # not yet counted
        self._sums: dict[str, Any] = {}  # of the epoch, tensors
        self._texts = 0
        self._live: Any = None
        self._task: Any = None

    # --- speed and saved state -----------------------------------------------------------------------------------

    @property
    def tokens_per_second(self) -> float | None:
        """Predicted tokens per second of training; None before the first step."""
        self._count()
        seconds = self.seconds + (time.monotonic() - self._since if self._since is not None else 0.0)
        return self.tokens / seconds if self.tokens and seconds > 0 else None

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]

    def _count(self) -> None:
        world = self.trainer.world_size if self._batches else 1
        self.tokens += world * sum(batch.predicted() for batch in self._batches)
        self._batches.clear()

    def _start(self) -> None:
        if self._since is None:
            self._since = time.monotonic()

    def _pause(self) -> None:
        if self._since is not None:
            self.seconds += time.monotonic() - self._since
            self._since = None

    # --- hooks ---------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.bar and self.enabled:
            self._open(trainer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._sums, self._texts, self.improved = {}, 0, False
        self._start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        model: Training = pl_module  # pyright: ignore[reportAssignmentType]
        self._batches.append(batch)
        self._texts += len(batch) if "distortion" in model.measured else 0  # a turn without the bound measures neither
        for name in ("distortion", "rate"):
            if name in model.measured:
                term = model.measured[name] * len(batch)
                self._sums[name] = self._sums[name] + term if name in self._sums else term
        if (now := time.monotonic()) - self._looked >= REFRESH:
            self._looked = now
            self._count()
            self._show(trainer, model)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._pause()
        if self._live is not None and not trainer.sanity_checking:
            self._live.update(self._task, note="validating …")

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        model: Training = pl_module  # pyright: ignore[reportAssignmentType]
        lowest = float(trainer.callback_metrics.get(f"val/{model.model.monitor[0]}", math.inf))
        self.improved = lowest < self.best and not model.preparing
        if self.improved:
            self.best = lowest
        self._show(trainer, pl_module)  # pyright: ignore[reportArgumentType]
        self._start()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._pause()
        self._count()
        if self.enabled:
            model: Training = pl_module  # pyright: ignore[reportAssignmentType]
            self.console.print(
                self.line(trainer, model), highlight=False, soft_wrap=not self.bar
            )  # a file has no width
        self._show(trainer, pl_module)  # pyright: ignore[reportArgumentType]

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._pause()
        self._count()
        self._close()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._pause()
        self._close()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self._count()
        self._close()

    # --- display -------------------------------------------------------------------------------------------------

    def line(self, trainer: L.Trainer, model: Training) -> str:
        """One line for the epoch."""
        metrics = trainer.callback_metrics
        parts = [f"epoch {_of(trainer.current_epoch + 1, trainer.max_epochs)}", f"step {trainer.global_step}"]
        parts += self._figures(model)
        figure, name = model.model.monitor
        if f"val/{figure}" in metrics:
            parts.append(f"val {name} {float(metrics[f'val/{figure}']):z.2f}")
        if "val/active_units" in metrics:
            parts.append(f"AU {float(metrics['val/active_units']):.0f}")
        if "val/code_perplexity" in metrics:
            parts.append(f"codes {float(metrics['val/code_perplexity']):.1f}")
        if "val/mi" in metrics:
            parts.append(f"MI {float(metrics['val/mi']):z.2f}")
        if self.improved:
            parts.append("best ✓")
        return "  ".join(parts)

    def _figures(self, model: Training) -> list[str]:
        speed = self.tokens_per_second
        parts = [f"{_short(speed)} tok/s"] if speed else []
        if "distortion" in self._sums:
            parts.append(f"D {float(self._sums['distortion']) / self._texts:z.2f}")
        if "rate" in self._sums:
            parts += [
                f"R {float(self._sums['rate']) / self._texts:z.2f}",
                f"β {model.beta:z.2f}",
            ]
        return parts

    def _show(self, trainer: L.Trainer, model: Training) -> None:
        if self._live is not None:
            best = [f"best {self.best:z.2f}"] if self.best < math.inf else []
            figures = [part for part in self._figures(model) if not self._narrow or part.startswith(("D", "R"))]
            self._live.update(
                self._task,
                completed=trainer.global_step,
                epoch=_of(trainer.current_epoch + 1, trainer.max_epochs),
                note="  ".join(figures + best),
            )

    @property
    def _narrow(self) -> bool:
        """Whether the terminal has no room for a bar beside the figures."""
        return self.console.width < 80

    def _open(self, trainer: L.Trainer) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._live = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            *([] if self._narrow else [BarColumn(bar_width=None)]),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
            console=self.console,
            expand=True,
            refresh_per_second=1 / REFRESH,
        )
        steps = trainer.estimated_stepping_batches
        self._task = self._live.add_task(
            "",
            total=steps if 0 < steps < math.inf else None,
            completed=trainer.global_step,
            epoch=_of(trainer.current_epoch + 1, trainer.max_epochs),
            note="",
        )
        self._live.start()

    def _close(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Prints above the bar."""
        self.console.print(*args, **kwargs)

    def disable(self) -> None:
        self.enabled = False
        self._close()

    def enable(self) -> None:
        self.enabled = True


def _of(number: int, total: int | None) -> str:
    return f"{number}/{total}" if total is not None and total > 0 else str(number)


def _short(number: float) -> str:
    """7134 → 7.1k."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.1f}{letter}"
    return f"{number:.0f}"
