"""``python -m lvexp.export``: a run as a folder without pickle, which gives the same scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import Said

import lvexp
from lvexp import export
from lvexp.errors import RunError

pytest.importorskip("safetensors", reason="safetensors is not installed: pip install 'lvexp[export]'")
TEXTS = ["a b c", "f", "d e"]


@pytest.mark.parametrize(
    "typed",
    [
        ("model=svae",),
        ("model=svae", "decoder.tie=true"),
        ("model=rnnlm",),
        ("model=seq2seq", "data=multi30k"),
    ],
    ids=" ".join,
)
def test_what_is_read_back_scores_the_same(typed: tuple, saved: Callable[..., str], run_main, tmp_path: Path):
    file = saved(*typed)
    said = run_main(export.main, file, str(tmp_path / "shared"))
    assert said.code == 0, said.err
    names = {path.name for path in (tmp_path / "shared").iterdir()}
    assert names >= {"config.json", "model.safetensors", "vocabulary.json", "README.md"}
    one, two = lvexp.load(file), lvexp.load(tmp_path / "shared")
    texts = list(zip(TEXTS, TEXTS, strict=True)) if "model=seq2seq" in typed else TEXTS
    assert one.score(texts, samples=5) == two.score(texts, samples=5)
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, two.model.state_dict()[name])
    assert "lvexp.load" in (tmp_path / "shared" / "README.md").read_text()


def test_a_trained_run_is_shared_with_its_figures_and_without_paths(
    lvexp_run: Path, run_main: Callable[..., Said], tmp_path: Path
):
    said = run_main(export.main, str(lvexp_run), str(tmp_path / "shared"))
    assert said.code == 0, said.err
    shared = lvexp.load(tmp_path / "shared")
    run = lvexp.load(lvexp_run)
    assert shared.result["test"] == run.result["test"]
    assert shared.verdict == run.verdict
    assert shared.score(["the cat and dog"], samples=5) == run.score(["the cat and dog"], samples=5)
    card = (tmp_path / "shared" / "README.md").read_text()
    assert f"| NLL | {run.result['test']['nll']:.2f} | nats per text |" in card
    assert run.verdict in card
    for file in (tmp_path / "shared").glob("*.[jm]*"):
        if file.suffix in (".json", ".md"):
            assert str(tmp_path) not in file.read_text(), file.name
            assert "corpus.tsv" not in file.read_text(), file.name


@pytest.fixture
def lvexp_run(small: list[str], tmp_path: Path, lvexp: Callable) -> Path:
    places = [f"data.root={tmp_path}", "data.files.train=corpus.tsv", f"data.cache={tmp_path / 'encoded'}"]
    typed = [word for word in small if not word.startswith("data.files.train=")]
    done = lvexp(*typed, *places, "trainer.max_epochs=1")
    assert done.returncode == 0, done.stderr
    (result,) = (tmp_path / "outputs").rglob("result.json")
    return result.parent


def test_mistakes_get_one_message(saved: Callable[..., str], run_main: Callable[..., Said], tmp_path: Path):
    file = saved("model=svae")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    said = run_main(export.main, file, str(tmp_path / "full"))
    assert (said.code, said.err) == (2, f"export: {tmp_path}/full: there is something already\ntry  another folder\n")
    said = run_main(export.main, str(tmp_path), str(tmp_path / "new"))
    assert said.code == 2
    assert "there is no checkpoint" in said.err


def test_a_damaged_or_foreign_folder_is_refused(
    saved: Callable[..., str], run_main: Callable[..., Said], tmp_path: Path
):
    folder = tmp_path / "shared"
    assert run_main(export.main, saved("model=svae"), str(folder)).code == 0
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunError, match="damaged"):
        lvexp.load(folder)
    (folder / "model.safetensors").write_bytes(whole)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "bert"}))
    with pytest.raises(RunError, match="is no model of lvexp"):
        lvexp.load(folder)
