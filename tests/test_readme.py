"""The README speaks of what is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from helpers import Compose, checked

from lvexp.__main__ import MENU

ROOT = MENU.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"python -m lvexp ((?:model|-m|data|anneal)\S*[^\n`]*)", README)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_composes_or_is_refused_as_it_says(command: str, composed: Compose):
    words = shlex.split(command.replace("\n", " "))
    sweep = "-m" in words
    words = [word for word in words if word != "-m"]
    choices = [[f"{key}={value}" for value in _values(rest)] if sweep else [word] for word in words
               for key, _, rest in [word.partition("=")]]  # fmt: skip
    for picked in {tuple(options[min(i, len(options) - 1)] for options in choices) for i in range(3)}:
        config = composed(*picked)
        if command != "model=ae anneal=linear":
            checked(config)


def _values(text: str) -> list[str]:
    """The values of a sweep: split at commas outside brackets."""
    return re.findall(r"\[[^\]]*\]|[^,]+", text)


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
