"""The recipes of lvexp/models/README.md, followed word for word from a folder of a user's own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from forked import Forks
from helpers import SMALL

import lvexp
from lvexp.training.csv_logger import read_metrics

RECIPES = (Path(lvexp.__file__).parent / "models" / "README.md").read_text()
FILES = dict(re.findall(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```", RECIPES, re.MULTILINE | re.DOTALL))
Run = Callable[..., dict]
QUICK = (*SMALL, "trainer.max_epochs=1", "trainer.limit_train_batches=2", "trainer.threads=1")


@pytest.fixture
def folder(tmp_path: Path, corpus: Path) -> Path:
    """A user's folder with all that the recipes write."""
    for name, content in FILES.items():
        file = tmp_path / "mine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return tmp_path / "mine"


@pytest.fixture
def started(folder: Path, forks: Forks) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``lvexp`` in the user's folder, or another command that starts it."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(*words: str, command: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        words = ("--config-dir", "conf", *words)
        if not command:
            return forks.run(*words, cwd=folder, env=environment)
        return subprocess.run(
            [*command, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=300, env=environment
        )

    return start


@pytest.fixture
def run(folder: Path, started: Callable[..., subprocess.CompletedProcess[str]]) -> Run:
    """The result of a small run."""

    def read(*overrides: str, command: Sequence[str] = ()) -> dict:
        done = started(*QUICK, *overrides, f"paths.outputs={folder / 'out'}", command=command)
        assert done.returncode == 0, done.stderr
        (file,) = (folder / "out").rglob("result.json")
        return json.loads(file.read_text())

    return read


MODULE = [sys.executable, "-m", "lvexp"]
SCRIPT = [str(Path(sys.executable).with_name("lvexp"))]


def text(corpus: Path) -> list[str]:
    data = [f"data.files.train={corpus}", "data.columns.text=1", "data.columns.label=0", "data.vocabulary.min_count=1"]
    return ["data=text", *data, "data.batch_size=8", "data.split.valid=0.1", "data.split.test=0.1"]


def test_every_kind_of_option_has_a_recipe():
    groups = {Path(name).parts[1] for name in FILES if name.startswith("conf/")}
    assert groups == {"latent", "prior", "regularizer", "encoder", "instrument", "scheduler", "callbacks", "model"}
    assert len(FILES) == 17


NO_SCRIPT = pytest.mark.skipif(not Path(SCRIPT[0]).exists(), reason="no script")


@pytest.mark.parametrize(
    "command",
    [
        [],
        pytest.param(MODULE, marks=pytest.mark.slow),
        pytest.param(SCRIPT, marks=[pytest.mark.slow, NO_SCRIPT]),
    ],
    ids=["fork", "module", "script"],
)
def test_a_latent_a_network_and_a_figure_of_a_users_own(corpus: Path, command: list[str], run: Run):
    chosen = ("latent=laplace", "encoder=average", "instrument=longest", "regularizer=none")
    result = run(*text(corpus), *chosen, command=command)
    assert result["test"]["rate"] > 0
    assert result["test"]["nll_kind"] == "importance-weighted"
    assert "longest_rate" in result["test"]
    assert "longest_rate" in result["valid"] or result["valid"].get("longest_rate") is None
    rows = [row for _, group in result["groups"] for row in group]
    shown = [row for row in rows if row[0] == "rate of long texts"]
    assert bool(shown) == (result["test"]["longest_rate"] is not None)


def test_a_regularizer_of_a_users_own(corpus: Path, run: Run):
    result = run(*text(corpus), "regularizer=[small_means,free_bits]")
    assert result["choices"]["regularizer"] == ["free_bits", "small_means"]


def test_a_prior_of_a_users_own(corpus: Path, run: Run):
    result = run(*text(corpus), "prior=heavy_tails", "prior.degrees=3.0")
    assert result["test"]["rate_exact"] is False
    assert result["choices"]["prior"] == "heavy_tails"


def test_a_schedule_and_a_callback_of_a_users_own(folder: Path, corpus: Path, run: Run):
    typed = ["callbacks=parameter_norm", "optimizer.lr=0.5", "trainer.log_every_n_steps=1"]
    own = [*typed, "scheduler=inverse_root", "scheduler.warmup=4", "trainer.limit_train_batches=3"]
    run(*text(corpus), *own)
    rows = read_metrics(next((folder / "out").rglob("metrics.csv")))
    assert [row["train/lr"] for row in rows if "train/lr" in row] == pytest.approx([0.125, 0.25, 0.375])
    norms = [row["train/norm_decoder"] for row in rows if "train/norm_decoder" in row]
    assert len(set(norms)) == 3
    assert min(norms) > 0


def test_a_schedule_of_torch_needs_only_its_yaml(folder: Path, corpus: Path, run: Run):
    run(*text(corpus), "scheduler=polynomial", "optimizer.lr=0.01", "trainer.log_every_n_steps=1")
    rows = read_metrics(next((folder / "out").rglob("metrics.csv")))
    assert [row["train/lr"] for row in rows if "train/lr" in row] == pytest.approx([0.01, 0.0025])


def test_an_option_of_a_users_own_is_refused_for_what_it_declares(corpus: Path, started):
    done = started(*text(corpus), "latent=categorical", "regularizer=small_means")
    assert done.returncode == 2
    assert "regularizer=small_means   needs a Gaussian posterior" in done.stderr


def test_a_kind_of_model_of_a_users_own_and_what_a_finished_run_of_it_writes(folder: Path, monkeypatch, run: Run):
    words = ["cat", "dog", "bird", "cup", "box", "hat"]
    pairs = [(a, b) for a in words for b in words]
    (folder / "pairs.tsv").write_text("".join(f"{a} and {b}\t{b} and {a}\n" for a, b in pairs))
    data = ["data=text", f"data.files.train={folder / 'pairs.tsv'}", "data.columns.text=1", "data.columns.source=0"]
    data += ["data.vocabulary.min_count=1", "data.batch_size=8", "data.split.valid=0.2", "data.split.test=0.2"]
    result = run(*data, "model=given", "regularizer=free_bits")
    assert result["test"]["rate"] > 0
    assert result["verdict"]
    monkeypatch.syspath_prepend(str(folder))
    (done,) = (folder / "out").rglob("DONE")
    loaded = lvexp.load(done.parent, trust=["given.Given"])
    z = loaded.encode([("cat and dog", "dog and cat"), ("cup and hat", "hat and cup")])
    assert z.shape == (2, 4)
    written = loaded.decode(z, sources=["cat and dog", "cup and hat"], max_length=6)
    assert len(written) == 2
    assert len(loaded.score([("cat and dog", "dog and cat")])) == 1
    with pytest.raises(lvexp.errors.RunError, match="source is missing"):
        loaded.encode(["cat and dog"])
