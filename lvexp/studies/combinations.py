"""Which choices go together: every pair of remedies, and every remedy with every other option, as refusals have it.

scripts/combinations                          prints the tables
scripts/combinations --to docs/combinations.md
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from lvexp.__main__ import MENU
from lvexp.checks import refusals
from lvexp.errors import LvexpError
from lvexp.job import identity

GROUPS = ("model", "encoder", "decoder", "latent", "prior", "estimator", "anneal")
FITS, NEVER = "·", "–"


def options(group: str) -> list[str]:
    """The menu of a group, without the option that stands for nothing."""
    return sorted(path.stem for path in (MENU / group).glob("*.yaml") if (group, path.stem) != ("regularizer", "none"))


class Table:
    """Answers of :func:`lvexp.checks.refusals.check` for single choices, with a number for each reason of a refusal."""

    def __init__(self) -> None:
        identity.register()
        self.regularizers = options("regularizer")
        self.nodes: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.reasons: dict[str, int] = {}
        with initialize_config_dir(str(MENU), version_base="1.3"):
            self.base = self._composed(f"regularizer=[{','.join(self.regularizers)}]")
            for group in GROUPS:
                for option in options(group):
                    self.nodes[group, option] = self._composed(f"{group}={option}")

    def _composed(self, override: str) -> dict[str, Any]:
        config = compose("config", [override], return_hydra_config=True)
        return {
            "plain": refusals.resolved(config, leave_out=("hydra",)),
            "choices": dict(config.hydra.runtime.choices.items()),
        }

    def refusal(self, of: Mapping[str, Any], regularizers: tuple[str, ...]) -> str | None:
        """Why these remedies do not go with a composed option; None where they do."""
        chosen = {name: self.base["plain"]["regularizer"][name] for name in regularizers}
        plain, choices = {**of["plain"], "regularizer": chosen}, {**of["choices"], "regularizer": list(regularizers)}
        plain["trainer"] = {**plain["trainer"], "max_epochs": 100}  # lengths are values, not choices
        try:
            refusals.check(plain, choices, MENU)
        except LvexpError as error:
            lines = str(error).splitlines()
            told = [line.split(maxsplit=1) for line in lines if line.startswith("  ")]
            if not told:
                return lines[0]
            if len(regularizers) == 2:  # neither stands before the other
                return f"both {told[0][1].replace('sets', 'set')}"
            regularizer = f"regularizer={regularizers[0]}" if regularizers else ""
            return "; ".join(f"{'the remedy' if typed == regularizer else typed} {why}" for typed, why in told)
        return None

    def cell(self, why: str | None) -> str:
        if why is None or why.startswith("regularizer.lm_init.run"):
            return FITS
        return str(self.reasons.setdefault(why, len(self.reasons) + 1))

    def pairs(self) -> list[list[str]]:
        """Remedies among themselves, with the default of every other group."""
        usual = self.nodes["model", "svae"]
        return [
            [
                one,
                *(
                    self.cell(self.refusal(usual, (one, other)) if one != other else None)
                    for other in self.regularizers
                ),
            ]
            for one in self.regularizers
        ]

    def others(self) -> list[list[str]]:
        """Each option with each remedy; a dash where the option needs other choices than the defaults anyway."""
        rows = []
        for (group, option), node in self.nodes.items():
            alone = self.refusal(node, ())
            cells = [NEVER if alone else self.cell(self.refusal(node, (name,))) for name in self.regularizers]
            rows.append([f"{group}={option}", *cells])
        return rows


def markdown(table: Table) -> str:
    """The two tables and the reasons, in full."""
    short = [name.replace("_", " ") for name in table.regularizers]

    def lines(rows: list[list[str]]) -> list[str]:
        head = ["| | " + " | ".join(short) + " |", "|---|" + ":-:|" * len(short)]
        return head + ["| " + " | ".join([f"`{row[0]}`", *row[1:]]) + " |" for row in rows]

    pairs, others = lines(table.pairs()), lines(table.others())
    accepted = sum(cell == FITS for row in table.pairs() for cell in row[1:])
    count = len(table.regularizers)
    reasons = [f"{number}. {_code(why)}" for why, number in table.reasons.items()]
    return "\n".join(
        [
            "# Which choices go together",
            "",
            f"Printed by `scripts/combinations` from the checks themselves. A dot ({FITS}) means that two choices are",
            "compatible; a number refers to the reason below for which they are rejected. A larger set of remedies is",
            "compatible if every two of them are: no check is about three.",
            "",
            "## Remedies with each other",
            "",
            f"`model=svae`, all else by default; {(accepted - count) // 2} of {count * (count - 1) // 2} pairs run.",
            "",
            *pairs,
            "",
            "## Remedies with everything else",
            "",
            f"One option other than the default, and one remedy. A dash ({NEVER}) means that the option needs another",
            "choice whatever the remedy, such as an estimator that fits another latent variable; the message says what",
            "to add.",
            "",
            *others,
            "",
            "## Reasons",
            "",
            *reasons,
            "",
        ]
    )


def _code(why: str) -> str:
    """Choices set as code, with a comma between a choice and what is said of it."""
    return re.sub(r"([\w.]+=\S+)", r"`\1`", why)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, help="write there, instead of printing")
    arguments = parser.parse_args()
    text = markdown(Table())
    if arguments.to is None:
        print(text, end="")
    else:
        arguments.to.write_text(text, encoding="utf-8")
