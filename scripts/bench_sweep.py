"""A callback for `scripts/bench sweep`: which process runs a job, how much memory it has and how long it has worked."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import lightning as L

#: its option, for --config-dir
OPTION = {"callbacks/where.yaml": "where:\n  _target_: bench_sweep.Where\n"}


class Where(L.Callback):
    """Leaves ``where.json`` in the run folder when training begins."""

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        found = {"process": os.getpid(), "mib": pages * os.sysconf("SC_PAGE_SIZE") / 2**20}
        found["worked"] = time.process_time()
        Path(trainer.default_root_dir, "where.json").write_text(json.dumps(found), encoding="utf-8")
