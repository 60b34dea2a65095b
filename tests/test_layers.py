"""Each layer imports only from those before it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lvexp

ROOT = Path(lvexp.__file__).parent
LAYERS = [
    ["errors", "durable", "shapes"],
    ["data"],
    ["checks"],
    ["report"],
    ["job"],
    ["draws"],
    ["distributions"],
    ["estimators", "latents", "networks"],
    ["anneal"],
    ["models", "regularizers"],
    ["metrics"],
    ["instruments"],
    ["training"],
    ["build"],
    ["run", "loading"],
    ["__main__"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def layer(module: str) -> str:
    return module.split(".")[1]


def imports(file: Path) -> set[str]:
    """The layers a file imports from when it runs; what stands under ``if TYPE_CHECKING`` does not."""
    tree = ast.parse(file.read_text())
    checked = [
        node for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    ]  # fmt: skip
    found = set()
    for node in ast.walk(tree):
        if node in checked:
            continue
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lvexp"):
            names = [node.module] if node.module != "lvexp" else [f"lvexp.{alias.name}" for alias in node.names]
            found |= {layer(name) for name in names if name}
        if isinstance(node, ast.Import):
            found |= {layer(alias.name) for alias in node.names if alias.name.startswith("lvexp.")}
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_only_from_its_own_layer_and_those_before(file: Path):
    own = file.relative_to(ROOT).parts[0].removesuffix(".py")
    later = {name for name in imports(file) if RANK[name] > RANK[own]}
    assert not later, f"{own} may not know {later}"


def test_every_layer_exists():
    assert set(RANK) == {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES}


@pytest.mark.parametrize(
    "name",
    [
        *("checks/conflicts", "checks/declarations", "checks/drawing", "checks/keys", "checks/traits"),
        *("checks/limits", "checks/mistakes", "checks/parent", "checks/refusals"),
        *("checks/targets", "checks/values", "data/source", "durable", "job/environment", "job/folder"),
        *("job/identity", "job/sweep", "__main__"),
    ],
)
def test_what_answers_a_mistake_does_not_load_torch(name: str):
    import subprocess
    import sys

    module = "lvexp." + name.replace("/", ".")
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
