"""How busy the machine is: what is measured, and when something is said."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lvexp.job import machine
from lvexp.job.machine import Busy, crowded, processors, spent

STAT = """cpu  100 0 100 1000 10 0 0 0 0 0
cpu0 40 10 20 500 5 1 2 3 0 0
cpu1 60 0 80 500 5 0 0 0 0 0
intr 5
"""


def test_busy_seconds_are_of_the_processors_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "stat").write_text(STAT)
    monkeypatch.setattr(machine, "_STAT", tmp_path / "stat")
    tick = os.sysconf("SC_CLK_TCK")
    assert spent([0]) == 76 / tick
    assert spent([0, 1]) == 216 / tick
    assert spent([7]) is None
    monkeypatch.setattr(machine, "_STAT", tmp_path / "other")
    assert spent([0]) is None
    assert Busy().others() is None


def test_others_are_counted_without_this_process(monkeypatch: pytest.MonkeyPatch):
    clocks = iter([(10.0, 1.0, 100.0), (14.0, 3.0, 108.0)])
    monkeypatch.setattr(Busy, "_spent", staticmethod(lambda: next(clocks)))
    assert Busy().others() == pytest.approx((8 - 2) / 4)
    clocks = iter([(10.0, 1.0, 100.0), (10.1, 1.0, 100.1)])
    assert Busy().others() is None, "too short to tell"


@pytest.mark.skipif(spent(processors()) is None, reason="this system does not tell how busy its processors are")
def test_a_process_that_spins_is_seen():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as other:
        busy = Busy()
        time.sleep(1.0)
        found = busy.others()
        other.kill()
    assert found is not None
    assert found > 0.2


@pytest.mark.parametrize(
    ("threads", "others", "count", "said"),
    [
        (2, 0.0, 2, None),
        (2, 0.4, 2, None),
        (1, 1.0, 2, None),
        (2, None, 2, None),
        (8, 0.2, 4, None),  # alone: that is the user's own wish
        (2, 1.0, 2, "1.0 of 2 processors busy, and this run has 2 threads: all of them will be slow (try trainer.th"),
        (2, 2.0, 2, "(try trainer.threads=1)"),
        (1, 2.0, 2, "this run has 1 thread: all of them will be slow"),
        (16, 10.0, 16, "(try trainer.threads=6)"),
    ],
)
def test_something_is_said_only_where_there_is_no_room(threads, others, count, said):
    found = crowded(threads, others, count)
    assert (found is None) if said is None else (said in found)
    if threads == 1 and found:
        assert "try" not in found


@pytest.mark.parametrize(
    ("others", "own", "loaded", "found"),
    [
        (1.0, {}, False, "1000"),
        (0.2, {}, False, None),
        (None, {}, False, None),
        (1.0, {"GOMP_SPINCOUNT": "7"}, False, "7"),
        (1.0, {"OMP_WAIT_POLICY": "ACTIVE"}, False, None),
        (1.0, {}, True, None),
    ],
)
def test_threads_sleep_soon_where_others_need_the_processors(others, own, loaded, found, monkeypatch):
    for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY"):
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Busy, "others", lambda _: others)
    if not loaded:
        monkeypatch.delitem(sys.modules, "torch", raising=False)
    machine.spin_less(Busy())
    try:
        assert os.environ.get("GOMP_SPINCOUNT") == found
    finally:
        os.environ.pop("GOMP_SPINCOUNT", None)
