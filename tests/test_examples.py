"""The notebooks run from top to bottom, with small networks and a small corpus."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lvexp.__main__ import MENU

NOTEBOOKS = sorted((MENU.parent / "examples").glob("*.ipynb"))
SETTINGS = 'settings = ["logger=csv"]'


def test_there_are_some():
    assert NOTEBOOKS


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs(file: Path, small: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    cells = [cell for cell in json.loads(file.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] for cell in cells), "kept without outputs"
    sources = ["".join(cell["source"]) for cell in cells]
    assert SETTINGS in sources[0]
    sources[0] = sources[0].replace(SETTINGS, f"settings = {[*small, 'trainer.max_epochs=1']!r}")
    names: dict[str, object] = {}
    for source in sources:
        exec(source, names)
    assert len(list(tmp_path.rglob("result.json"))) == 2
    printed = capsys.readouterr().out
    assert "| NLL |" in printed
    assert "model=rnnlm" in printed
