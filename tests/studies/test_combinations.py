"""The table of combinations in the docs is what the refusals say today."""

from __future__ import annotations

import pytest

from lvexp.__main__ import MENU
from lvexp.studies import combinations


@pytest.mark.slow  # .ci/run has it all the same
def test_the_table_in_the_docs_is_what_the_command_prints():
    kept = (MENU.parent / "docs" / "combinations.md").read_text(encoding="utf-8")
    assert kept == combinations.markdown(combinations.Table()), "scripts/combinations --to docs/combinations.md"


@pytest.mark.slow
def test_a_pair_is_refused_for_both_or_for_neither():
    table = combinations.Table()
    rows = [row[1:] for row in table.pairs()]
    assert rows == [list(column) for column in zip(*rows, strict=True)]
    place = {name: number for number, name in enumerate(table.regularizers)}
    assert rows[place["free_bits"]][place["mdr"]] != "·"
    assert rows[place["free_bits"]][place["word_dropout"]] == "·"
