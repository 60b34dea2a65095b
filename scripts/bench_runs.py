"""Many finished runs for `scripts/bench runs`: copies of one real run with other settings, seeds and figures, and what
is done with them. `python bench_runs.py KIND FOLDER` does what has no command of its own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

#: of the one real run: short, with as many rows of metrics as a usual one
ONE = [
    *("trainer.max_steps=60", "trainer.log_every_n_steps=2", "trainer.val_check_interval=10", "trainer.threads=1"),
    *("evaluation.iw_samples=10", "evaluation.samples=20", "evaluation.bleu_sentences=50"),
]
KEY = "regularizer.free_bits.nats"


def copies(run: Path, to: Path, count: int, seeds: int = 1) -> None:
    """Makes folders of finished runs: in each group of `seeds` runs other free bits, in some also another size of z.

    Files are hard links to those of `run`, except for the result, the metrics and the configuration.
    """
    whole = json.loads((run / "result.json").read_text(encoding="utf-8"))
    files = {name: (run / ".hydra" / name).read_text(encoding="utf-8") for name in ("config.yaml", "overrides.yaml")}
    metrics = (run / "metrics.csv").read_text(encoding="utf-8")
    for number in range(count):
        group, seed = divmod(number, seeds)
        words = [f"{KEY}={0.01 * (group + 1):.2f}", *([f"latent.dim={2 ** (group % 4)}"] if group % 5 else [])]
        made = altered(whole, group, seed + 1, words)
        folder = to / made["run_id"]
        shutil.copytree(run, folder, copy_function=os.link, symlinks=True)
        typed = "".join(f"- {word}\n" for word in made["overrides"])
        config = files["config.yaml"].replace("\nseed: 1\n", f"\nseed: {seed + 1}\n")
        for name, text in (("config.yaml", config), ("overrides.yaml", typed)):
            (folder / ".hydra" / name).unlink()
            (folder / ".hydra" / name).write_text(text, encoding="utf-8")
        (folder / "metrics.csv").unlink()
        (folder / "metrics.csv").write_text(scaled(metrics, 1 + 0.2 * random.Random(number).random()), encoding="utf-8")
        for name, content in (("result.json", made), (".lvexp.json", {"run_id": made["run_id"]})):
            (folder / name).unlink()
            (folder / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


def altered(result: dict[str, Any], group: int, seed: int, words: list[str]) -> dict[str, Any]:
    """The result of a run that was told other things: more free bits buy rate, and a third of it is information."""
    draw = random.Random(1000 * group + seed)
    test = {
        key: value * (1 + 0.02 * draw.gauss(0, 1)) if isinstance(value, float) else value
        for key, value in result["test"].items()
    }
    rate = 10 * (1 - 0.998**group) + abs(draw.gauss(0, 0.2))
    test |= {"rate": rate, "distortion": 40 - 0.7 * rate + draw.gauss(0, 0.3), "mi": 0.7 * rate * draw.uniform(0.6, 1)}
    test["elbo"] = -test["rate"] - test["distortion"]
    kept = [word for word in result["overrides"] if not word.startswith("seed=")]
    return {
        **result, "run_id": f"svae-{group:08x}{seed:02x}", "group_id": f"svae-{group:010x}", "seed": seed,
        "overrides": [*kept, *words, f"seed={seed}"], "test": test,
    }  # fmt: skip


def scaled(metrics: str, factor: float) -> str:
    """Logged figures, each multiplied by a factor; not the step and the epoch."""
    head, *rows = [line.split(",") for line in metrics.splitlines()]
    rows = [row[:2] + [f"{factor * float(value):.9g}" if value else "" for value in row[2:]] for row in rows]
    return "".join(",".join(row) + "\n" for row in (head, *rows))


def commands(runs: Path, to: Path) -> dict[str, list[str]]:
    """What is done with a folder of finished runs: its name, and the words for Python."""
    compare, here = ["-m", "lvexp.compare", str(runs)], [str(Path(__file__)), str(runs)]
    found = {
        "table": compare,
        "table, of chosen figures": [*compare, "--figures", "nll,rate,mi,valid.nelbo"],
        "paired differences": [*compare, "--paired", "nll"],
        "table and picture": [*compare, "--to", str(to)],
        "table and pictures, along a key": [*compare, "--to", str(to), "--along", KEY],
        "kept results, of a file": ["-m", "lvexp.compare", f"{to}.jsonl"],
        "page in one file": ["-m", "lvexp.explore", str(runs), "--to", f"{to}.html"],
        "page: tables": [here[0], "tables", here[1]],
        "page: curves of all": [here[0], "curves", here[1]],
        "closing table of a sweep": [here[0], "closing", here[1]],
        "a job beside them, done before": ["-m", "lvexp", *ONE, f"paths.outputs={runs.parent}"],
    }
    if importlib.util.find_spec("wandb_workspaces") is not None:
        found["specification of the W&B dashboard"] = [str(Path(__file__).with_name("dashboard")), "--print"]
    return found


def tables(runs: str) -> None:
    """The answer with the tables, as the page of the runs asks for it."""
    from lvexp.explore.shelf import Shelf

    print(json.dumps(Shelf(runs).tables()))


def curves(runs: str) -> None:
    """The answer with the curves of all runs, as the page of the runs asks for it."""
    from lvexp.explore.shelf import Shelf

    there = Shelf(runs)
    print(json.dumps(there.curves(there.runs())))


def closing(runs: str) -> None:
    """The closing table of a sweep of all these runs."""
    from rich.console import Console

    from lvexp.report.table import summary

    jobs = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(runs).glob("*/result.json"))]
    summary(jobs, Console(width=100))


if __name__ == "__main__":
    globals()[sys.argv[1]](sys.argv[2])
