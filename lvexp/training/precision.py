"""The precision in which a model trains fastest on this machine, for ``trainer.precision=auto``."""

from __future__ import annotations

import copy
import itertools
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from lvexp.data.batch import Batch
from lvexp.durable import replace_durably
from lvexp.errors import Diverged
from lvexp.job.folder import PRECISION
from lvexp.training.module import Training

FULL, LOW = "32-true", "bf16-mixed"
_BATCHES, _SECONDS = 4, 1.0
_WORTH = 0.9  # of the time in 32 bits: less is gained than the noise of the measurement


def chosen(places: Sequence[Path], training: Training, batches: Iterable[Batch], on_gpu: bool) -> tuple[str, str]:
    """The precision of a run, and what to print about it.

    Args:
        places: folders of runs; the first in which a choice is kept decides. The choice is kept in the first.
        training: what is to be trained; it and the random numbers stay as they are. batches: of training.
        on_gpu: whether it trains on a GPU, where bf16 is used if the GPU has it.
    """
    for place in places:
        if (place / PRECISION).exists():
            return (place / PRECISION).read_text(encoding="utf-8").strip(), "as before"
    if on_gpu:
        found, said = (LOW, "this GPU has it") if torch.cuda.is_bf16_supported() else (FULL, "this GPU has no bf16")
    else:
        share = ratio(training, batches)
        found = LOW if share is not None and share <= _WORTH else FULL
        said = "this processor cannot train it in bf16"
        if share is not None:
            said = f"a step in bf16 takes {share:.2f} of the time of one in 32 bits"
    replace_durably(places[0] / PRECISION, found.encode())
    return found, said


def ratio(training: Training, batches: Iterable[Batch]) -> float | None:
    """The time of a training step in bf16 over that in 32 bits, the best of alternating rounds in about a second on a
    CPU; None if it cannot be done."""
    twin, some = copy.deepcopy(training).train(), list(itertools.islice(batches, _BATCHES))
    best = {False: float("inf"), True: float("inf")}
    with torch.random.fork_rng(), torch.enable_grad():
        try:
            began = time.perf_counter()
            while True:
                for low in best:
                    start = time.perf_counter()
                    for number, batch in enumerate(some):
                        with torch.autocast("cpu", torch.bfloat16, enabled=low):
                            loss = twin.training_step(batch, number)
                        loss.backward()
                        twin.zero_grad()
                    best[low] = min(best[low], time.perf_counter() - start)
                if time.perf_counter() - began > _SECONDS:
                    return best[True] / best[False]
        except (RuntimeError, Diverged):  # an operation that this processor lacks in bf16, or too small a range
            return None
