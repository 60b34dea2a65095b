"""The states of an encoder over the first steps, and that a mistake in a script's words is one message."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

import pytest

from lvexp.__main__ import MENU


def script(monkeypatch: pytest.MonkeyPatch, name: str, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", [f"scripts/{name}", *words])
    runpy.run_path(str(MENU.parent / "scripts" / name), run_name="__main__")


def test_a_line_every_so_many_steps(small: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    script(monkeypatch, "saturation", *small, "--steps", "4", "optimizer.lr=0.01", "--every", "2")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["2", "4"]
    sizes = [[float(found) for found in re.findall(r"\d+\.\d+", line)] for line in lines]
    assert all(len(found) == 5 and found[0] > 1 and found[3] < 1 for found in sizes)
    assert sizes[0] != sizes[1]


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("saturation", ["decoder=dcnnn"], "decoder=dcnnn"),
        ("saturation", ["latent.dim=0"], "latent.dim=0"),
        ("saturation", ["encoder=cnn"], "no recurrent state"),
        ("reverse", ["nowhere"], "there is no checkpoint at"),
    ],
)
def test_a_mistake_is_one_message(
    name: str,
    words: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        script(monkeypatch, name, *words)
    assert ended.value.code == 2
    found = capsys.readouterr().err
    assert found.startswith(f"scripts/{name}: ")
    assert said in found
    assert "try  " in found
