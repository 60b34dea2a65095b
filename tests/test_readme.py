"""The README speaks of what is there, and every command in it runs."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import SMALL, Compose, Said, checked

import lvexp as package
from lvexp.__main__ import MENU, main

ROOT = MENU.parent
SNIPS = Path(package.__file__).parent / "data" / "snips"
README = (ROOT / "README.md").read_text(encoding="utf-8")
#: what stands between ``` and ```, its continued lines joined
BLOCKS = [block.replace("\\\n", " ") for block in re.findall(r"^```\w*\n(.*?)^```", README, re.DOTALL | re.MULTILINE)]
LINES = [line for block in BLOCKS for line in block.splitlines()]
COMMANDS = sorted({line.partition("-m lvexp ")[2] for line in LINES if re.match(r"(\$ )?python -m lvexp ", line)})
INLINE = sorted(set(re.findall(r"`python -m lvexp ([^`]*)`", " ".join(README.replace("```", "").split()))))
REFUSED = ("model=ae anneal=linear", "--epochs 3 model=svae")
WAYS = ("evaluate=", "resume=", "finetune=")
AGAIN = tuple(command for command in COMMANDS if command.startswith(WAYS))  # of a run that is there
SWEEPS = ("-m experiment=remedies",)  # of hours: composed only
TINY = (*SMALL, "trainer.max_epochs=1", "trainer.limit_train_batches=2", "evaluation.reconstructions=1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README's user has."""
    rng = random.Random(0)
    words = ["cat", "dog", "bird", "cup", "box", "hat", "moon", "sun", "tree", "bread"]
    texts = [" ".join(rng.choices(words, k=rng.randint(3, 9))) for _ in range(300)]
    rows = [json.dumps({"review": text, "stars": rng.randint(1, 5)}) for text in texts]
    (tmp_path / "reviews.jsonl").write_text("\n".join(rows) + "\n")
    for side in ("en", "de"):
        (tmp_path / f"train.{side}").write_text("\n".join(texts) + "\n")
    (tmp_path / "articles.txt").write_text("\n".join(texts) + "\n")
    asked = ["id\tquestion\tsentence\tright"]
    asked += [
        f"q{n // 4}\twhere is the {words[n // 4 % 10]}\t{text}\t{int(n % 4 == 0)}" for n, text in enumerate(texts)
    ]
    (tmp_path / "asked.tsv").write_text("\n".join(asked) + "\n")
    forms = ["word\ttags\tform"]
    forms += [f"{word}{n}\tcase=DAT,num={'SG' if n % 2 else 'PL'}\t{word}{n}a" for n in range(30) for word in words]
    (tmp_path / "forms.tsv").write_text("\n".join(forms) + "\n")
    for split, count in (("train", 200), ("valid", 20), ("test", 20)):  # a little of the shipped corpus
        lines = (SNIPS / f"{split}.tsv").read_text(encoding="utf-8").splitlines(keepends=True)
        (tmp_path / "snips" / f"{split}.tsv").parent.mkdir(exist_ok=True)
        (tmp_path / "snips" / f"{split}.tsv").write_text("".join(lines[:count]), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    return tmp_path


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a command line in this process."""

    def run(*words: str) -> None:
        monkeypatch.setattr(sys, "argv", ["lvexp", *words])
        main()

    return run


def test_commands_were_found():
    assert len(COMMANDS) >= 5
    assert {*REFUSED} <= {*COMMANDS}
    assert set(SWEEPS) <= {*INLINE, *COMMANDS}


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, marks=[pytest.mark.slow] if command.startswith("-m ") else [])
        for command in sorted({*COMMANDS, *INLINE} - {*REFUSED, *SWEEPS, *AGAIN})
    ],
)
def test_every_command_runs(command: str, here: Path, typed: Callable[..., None], capsys):
    words = shlex.split(command)
    if words[0].startswith("--"):
        with contextlib.suppress(SystemExit):  # where Hydra does not only return
            typed(*words)
        assert "one choice in each group" in capsys.readouterr().out.lower()
        return
    if "data=wikiqa" in words and "data.root=." not in words and not os.environ.get("LVEXP_DATA"):
        pytest.skip("LVEXP_DATA is not set: WikiQA may not be shipped")
    if "hydra/sweeper=optuna" in words and not importlib.util.find_spec("optuna"):
        pytest.skip("the extra search is not installed")
    options = {word.partition("=")[0] for word in words}
    small = [word for word in TINY if word.partition("=")[0] not in options]
    if "data" not in options and "model=toy" not in words:  # whose points are made by a rule
        small.append(f"data.root={here / 'snips'}")
    if "model=control" in words:
        small.append("model.base_epochs=0")  # of one
    typed(*words, *small)
    assert list(here.rglob("result.json"))


def test_the_sweep_of_hours_composes(composed: Compose):
    checked(composed("experiment=remedies"))


@pytest.mark.parametrize("command", REFUSED)
def test_what_is_refused_is_refused_in_these_words(command: str, run_main: Callable[..., Said], here: Path):
    said = next(block for block in BLOCKS if f"$ python -m lvexp {command}" in block).split("\n", 1)[1]
    done = run_main(main, *command.split())
    assert done.code == 2
    assert done.err == said


def test_the_python_session_runs_and_the_run_stays_in_use(small: list[str], here: Path, typed: Callable[..., None]):
    typed(*small, "trainer.max_epochs=1", f"paths.outputs={here}/outputs", "name=default")
    (run,) = [path.parent for path in (here / "outputs").rglob("result.json")]
    assert len(AGAIN) == 4
    for command in sorted(AGAIN):
        words = [re.sub(r"outputs/default/[\w-]+", str(run), word) for word in shlex.split(command)]
        typed(*(word.replace("=500", "=3").replace("=12", "=2") for word in words))
    assert len(list((run / "evaluations").glob("*/result.json"))) == 2
    tuned = [path for path in (here / "outputs").glob("*/*/result.json") if "finetune=" in path.read_text()]
    assert len(tuned) == 1
    (session,) = [block for block in BLOCKS if ">>> import lvexp" in block]
    lines = [line.removeprefix(">>> ") for line in session.splitlines() if line.startswith(">>> ")]
    names = {"lvexp": package}
    for line in lines:
        line = re.sub(r'lvexp\.load\("[^"]+"\)', f'lvexp.load("{run}")', line)
        exec(line, names)
    assert len(lines) > 6


def test_set_up_commands_are_there_once_each():
    for mark in ("<!-- main -->", "<!-- tests -->"):
        assert README.count(mark) == 1
        assert "python3 -m venv" in README.split(mark)[1].split("```")[1]


def test_every_option_of_the_table_exists():
    for group, options in re.findall(r"^\| `(\w+)`[^|]*\| [^|]*\| (.*) \|$", README, re.MULTILINE):
        for option in re.findall(r"`(\w+)`", options):
            assert (MENU / group / f"{option}.yaml").exists(), f"{group}={option}"


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("http") or (ROOT / Path(target)).exists(), target
