"""The wheel: what is in it, and that it works where nothing else of the checkout is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lvexp.__main__ import MENU

pytest.importorskip("build")
pytest.importorskip("hatchling")
ROOT = MENU.parent
PARTS = ("lvexp", "conf", "pyproject.toml", "README.md", "LICENSE")

pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="installed: there is nothing to build")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the checkout, so that nothing is written there."""
    copy = tmp_path_factory.mktemp("checkout")
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(copy / "dist"), str(copy)],
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = (copy / "dist").glob("*.whl")
    return found


def test_every_file_of_the_package_and_the_menu_is_in_it(wheel: Path):
    names = set(zipfile.ZipFile(wheel).namelist())
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "lvexp").rglob("*") if path.is_file()}
    menu = {f"lvexp/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    wanted = {name for name in package | menu if "__pycache__" not in name}
    assert not wanted - names
    shipped = {"snips/train.tsv", "snips/test.tsv", "objects/train.txt", "objects/train.npy"}
    assert {"lvexp/py.typed", *(f"lvexp/data/{name}" for name in shipped)} <= names
    assert not any(name.startswith(("tests/", "conf/", "scripts/")) for name in names)
    assert any(name.endswith("entry_points.txt") for name in names)
    assert any(name.endswith("LICENSE-CC0-1.0.txt") for name in names)


def test_it_composes_from_a_folder_of_its_own(wheel: Path, tmp_path: Path):
    target, empty = tmp_path / "target", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(target)  # which is how a pure wheel is installed
    environment = {**os.environ, "PYTHONPATH": str(target)}

    def python(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=empty, env=environment, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import lvexp, lvexp.__main__ as entry; print(lvexp.__file__, entry.MENU)"
    assert python("-c", where).split() == [str(target / "lvexp" / "__init__.py"), str(target / "lvexp" / "conf")]
    composed = python("-m", "lvexp", "--cfg", "job", "anneal=linear", "data=objects", "model=cvae")
    assert "_target_: lvexp.anneal.linear.Linear" in composed
    assert "name: objects" in composed
    assert not list(empty.iterdir()), "nothing was written"
