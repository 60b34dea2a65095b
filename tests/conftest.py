from __future__ import annotations

import copy
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forked
import pytest
import torch
import yaml
from forked import Forks
from helpers import SMALL, Command, Compose, Said, plain
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig

from lvexp import __main__ as entry
from lvexp.__main__ import MENU
from lvexp.job import identity, sweep

# on a busy machine several threads wait for each other more than they work
torch.set_num_threads(int(os.environ.get("LVEXP_TEST_THREADS", "1")))


@pytest.fixture(scope="session", autouse=True)
def yaml_read_once() -> Iterator[None]:
    """Keeps what each yaml file says: composing thousands of configurations is mostly reading the same few files."""
    known, load = {}, yaml.load

    def kept(stream: Any, Loader: Any) -> Any:
        text = stream.read() if hasattr(stream, "read") else stream
        try:
            if (text, Loader.__name__) not in known:
                known[text, Loader.__name__] = load(text, Loader)
        except yaml.YAMLError:  # which names the file
            if hasattr(stream, "seek"):
                stream.seek(0)
                return load(stream, Loader)
            raise
        return copy.deepcopy(known[text, Loader.__name__])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(yaml, "load", kept)
        yield


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, session_cache: Path) -> None:
    """No cache, key or setting of the user's own takes part in a test."""
    monkeypatch.setenv("LVEXP_CACHE", str(session_cache))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two hundred short sentences of two classes, in a file of labels and texts."""
    rng = random.Random(0)
    words = {"animal": ["cat", "dog", "bird"], "thing": ["cup", "box", "hat"]}
    lines = []
    for _ in range(200):
        label = rng.choice(sorted(words))
        body = [rng.choice(words[label]) for _ in range(rng.randint(1, 4))]
        lines.append(f"{label}\tthe {' and '.join(body)}\n")
    file = tmp_path / "corpus.tsv"
    file.write_text("".join(lines))
    return file


@pytest.fixture
def small(corpus: Path) -> list[str]:
    """Overrides for a job that takes a second or two."""
    data = [f"data.files.train={corpus}", "data.columns.text=1", "data.columns.label=0", "data.vocabulary.min_count=1"]
    return ["data=text", *data, "data.batch_size=8", "data.split.valid=0.1", "data.split.test=0.1", *SMALL]


@pytest.fixture
def composed() -> Iterator[Compose]:
    """Composes a configuration as the command line does, ``hydra`` node included."""
    identity.register()
    with initialize_config_dir(str(MENU), version_base="1.3"):
        yield lambda *overrides: compose("config", overrides=list(overrides), return_hydra_config=True)


@pytest.fixture(scope="session")
def forks() -> Iterator[Forks]:
    started = Forks()
    yield started
    started.close()


@pytest.fixture
def lvexp(tmp_path: Path, forks: Forks) -> Command:
    """Runs ``python -m lvexp`` in an empty folder, writing to ``tmp_path/outputs``."""

    def run(*overrides: str, **options: Any) -> subprocess.CompletedProcess[str]:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        words = [f"paths.outputs={tmp_path / 'outputs'}", *overrides]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "offline", **options}
        if forked.can_run(options):
            return forks.run(*words, cwd=elsewhere, env=environment)
        return subprocess.run(
            [sys.executable, "-m", "lvexp", *words],
            cwd=elsewhere, capture_output=True, text=True, timeout=300, check=False, env=environment,
        )  # fmt: skip

    return run


@pytest.fixture
def entered(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Said]]:
    """Runs ``python -m lvexp`` in this process, for what ends before torch is needed."""
    for name in ("_mistakes", "_crashes"):
        monkeypatch.setattr(entry, name, [])
    monkeypatch.setattr(sweep.Sweep, "exit_code", 0)
    for name in ("HYDRA_FULL_ERROR", "LVEXP_LAUNCHER", "LVEXP_SWEEP"):
        monkeypatch.setenv(name, "")
    monkeypatch.chdir(tmp_path)

    def main(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["lvexp", *words])
        with pytest.raises(SystemExit) as ended:
            entry.main()
        return Said(int(ended.value.code or 0), *capsys.readouterr())

    yield main
    HydraConfig.instance().cfg = None


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """Runs the ``main`` of a command in this process, with these words."""

    def run(main: Callable[[], None], *words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["command", *words])
        code = 0
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def saved(composed: Compose, tmp_path: Path) -> Callable[..., str]:
    """Saves the checkpoint of a tiny model that reads the words a to f, and returns its file."""

    def save(*overrides: str, sources: Any = None, attributes: Any = None) -> str:
        from lvexp import build
        from lvexp.data.vocabulary import Vocabulary

        words = Vocabulary.train(["a b c d e f"], kind="words", max_size=100, min_count=1, lowercase=False)
        sizes = [f"{part}.{size}=8" for part in ("encoder", "decoder") for size in ("hidden", "embedding")]
        torch.manual_seed(0)
        config = plain(composed(*overrides, *sizes, "latent.dim=3"))
        model = build.model(config, words, sources, attributes)
        with torch.no_grad():  # large enough for texts of several lengths
            for parameter in model.parameters():
                parameter *= 3
        kept = dict(build.training(config, model).hparams)
        torch.save({"state_dict": model.state_dict(), "hyper_parameters": kept}, tmp_path / "run.ckpt")
        return str(tmp_path / "run.ckpt")

    return save
