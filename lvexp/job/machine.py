"""How busy the machine is, and how long threads spin. Free of torch, which must not be loaded before the latter."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

#: rounds for which a waiting thread of GNU's OpenMP spins before it sleeps, where processors are scarce
_PATIENCE = "1000"
_STAT = Path("/proc/stat")
_SHORTEST = 0.3  # seconds; over less, the system's clock ticks are too coarse


class Busy:
    """What other processes take of the processors that this one may use, from when it was made. Linux only."""

    def __init__(self) -> None:
        self._began = self._spent()

    def others(self) -> float | None:
        """The mean number of processors that others kept busy; None where it cannot be known."""
        (began, own_began, busy_began), (now, own, busy) = self._began, self._spent()
        if now - began < _SHORTEST or busy is None or busy_began is None:
            return None
        return max(0.0, (busy - busy_began - (own - own_began)) / (now - began))

    @staticmethod
    def _spent() -> tuple[float, float, float | None]:
        """The time, the processor time of this process, and that of all, in seconds."""
        return time.monotonic(), time.process_time(), spent(processors())


def processors() -> list[int]:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def spent(which: Sequence[int]) -> float | None:
    """Seconds since the start of the machine that some processors were busy; None if the system does not tell."""
    try:
        rows = [line.split() for line in _STAT.read_text(encoding="ascii").splitlines()]
    except OSError:
        return None
    names = {f"cpu{number}" for number in which}
    # user, nice, system, idle, iowait, irq, softirq, steal: all but idle and iowait
    ticks = [int(value) for row in rows if row[0] in names for at, value in enumerate(row[1:9]) if at not in (3, 4)]
    return sum(ticks) / os.sysconf("SC_CLK_TCK") if ticks else None


def spin_less(busy: Busy) -> None:
    """Lets threads that wait for each other sleep soon, if other processes keep half a processor busy. By default they
    spin, which is fastest alone, and takes the time of those they wait for where processors are scarce (measured:
    docs/performance.md). It must come before torch is loaded; what the user has set is left as it is.
    """
    asked = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    if not asked and "torch" not in sys.modules and (busy.others() or 0) >= 0.5:
        os.environ["GOMP_SPINCOUNT"] = _PATIENCE


def crowded(threads: int, others: float | None, count: int) -> str | None:
    """What to say if more is to run than there are processors; None if all have room.

    Args:
        threads: of this run. others: number of processors in use by others. count: number of processors.
    """
    if others is None or others < 0.5 or threads + others <= count + 0.5:
        return None
    free = max(1, round(count - others))
    fewer = f" (try trainer.threads={free})" if free < threads else ""
    return (
        f"other processes keep {others:.1f} of {count} processors busy, and this run has {threads} "
        f"thread{'s' * (threads > 1)}: all of them will be slow{fewer}"
    )
