"""`python -m lvexp ARGUMENTS` up to its first training step. Prints, in seconds since BEGAN, when the configuration was
checked, the imports were done and the step was done: `python bench_startup.py BEGAN ARGUMENTS`."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import lvexp.__main__ as entry

moments: dict[str, float] = {}
answers = os.fdopen(os.dup(1), "w")
check = entry.source.check


def note(name: str) -> None:
    moments.setdefault(name, time.time() - began)


def checked(*given: Any, **named: Any) -> None:
    """Replaces the last check before the large imports."""
    check(*given, **named)
    note("checked")
    from lvexp.training import steps as training

    note("imported")
    training.TrainingCurves.on_train_batch_end = stepped


def stepped(*_: Any) -> None:
    note("first step")
    print(json.dumps(moments), file=answers, flush=True)
    os._exit(0)


if __name__ == "__main__":
    began = float(sys.argv[1])
    os.dup2(2, 1)
    entry.source.check = checked
    sys.argv = ["lvexp", *sys.argv[2:]]
    entry.main()
