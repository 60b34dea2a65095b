"""Each layer imports only from those before it, for types too, and nothing stands in a circle."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
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
    ["reading", "terms"],
    ["estimators", "latents", "networks", "priors"],
    ["anneal"],
    ["models"],
    ["regularizers"],
    ["metrics"],
    ["instruments"],
    ["training"],
    ["build"],
    ["loading"],
    ["evaluation"],
    ["run"],
    ["__main__", "encode", "export", "translate", "transfer", "inflect", "compress", "compare", "explore"],
    ["python"],
    ["studies"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
#: rooms and modules of the top level, beside dunder files
PLACES = 35
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def module(file: Path) -> str:
    """The full name of a file's module."""
    parts = file.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(file): file for file in FILES}


def imports(file: Path) -> set[str]:
    """The modules of ours that a file imports, wherever it does, for types as well."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            # `from lvexp.room import module` imports the module, `from lvexp.room.module import name` a name of it
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (inner & MODULES.keys()) | ({node.module} if not inner <= MODULES.keys() else set())
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] == "lvexp"}


def layer(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_only_from_its_own_layer_and_those_before(file: Path):
    own = file.relative_to(ROOT).parts[0].removesuffix(".py")
    names = imports(file)
    assert "lvexp" not in names, "what the package offers to users is made of all layers"
    later = {name for name in names if RANK[layer(name)] > RANK[own]}
    assert not later, f"{own} may not know {later}"


def test_every_layer_exists():
    assert set(RANK) == {path.relative_to(ROOT).parts[0].removesuffix(".py") for path in FILES}


def test_the_top_level_is_taken_in_at_a_glance():
    places = {
        path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.py")))
    }
    places = {name for name in places if not name.startswith("__")}
    assert len(places) <= PLACES, sorted(places)


def test_tests_check_the_signatures_of_every_place_with_shapes(pytestconfig: pytest.Config):
    checked = pytestconfig.getoption("jaxtyping_packages").split(",")[:-1]
    with_shapes = {".".join(name.split(".")[:2]) for name, file in MODULES.items() if "lvexp.shapes" in imports(file)}
    assert with_shapes - {"lvexp.shapes"} == {*checked}


def test_no_module_stands_in_a_circle_of_imports():
    graph = {name: (imports(file) - {name, "lvexp"}) for name, file in MODULES.items()}
    unknown = set().union(*graph.values()) - MODULES.keys()
    assert not unknown
    graphlib.TopologicalSorter(graph).prepare()  # which raises CycleError


@pytest.mark.parametrize(
    "text",
    [
        "from lvexp.models import base",
        "import lvexp.models.base",
        "from lvexp.models.base import Turn",
        "if TYPE_CHECKING:\n    from lvexp.models.base import Turn",
        "def f():\n    from lvexp.models.base import Turn",
    ],
)
def test_an_import_of_every_form_counts(text: str, tmp_path: Path):
    file = tmp_path / "part.py"
    file.write_text(text)
    assert imports(file) == {"lvexp.models.base"}


@pytest.mark.parametrize(
    "name",
    [
        *("checks/conflicts", "checks/declarations", "checks/drawing", "checks/keys", "checks/traits"),
        *("checks/limits", "checks/menu", "checks/mistakes", "checks/overrides", "checks/parent", "checks/refusals"),
        *("checks/targets", "checks/values", "checks/words", "data/source", "durable", "job/environment", "job/folder"),
        *(
            "job/identity",
            "job/sweep",
            "__main__",
            "compare",
            "report/plane",
            "explore/__main__",
            "explore/shelf",
            "explore/server",
            "explore/mail",
        ),
    ],
)
def test_what_answers_a_mistake_does_not_load_torch(name: str):
    module = "lvexp." + name.replace("/", ".")
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
