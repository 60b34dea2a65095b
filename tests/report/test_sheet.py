"""Tables of runs, in each format."""

from __future__ import annotations

import csv
import io
import json

import pytest
from results import result

from lvexp.report import columns, compare, sheet
from lvexp.report.paired import Difference, Paired

RUNS = [
    *(result("a", seed, ["anneal=linear"], nll=float(seed), elbo=-2.0 - seed, rate=2.0) for seed in (1, 2, 4)),
    result("b", 1, ["model=rnn_lm"], nll=1234.5, elbo=-1.5),
    result("c", 1, ["model=ae"]),
]
(TABLE,) = compare.tables(RUNS)
SHEET = sheet.Sheet(TABLE, columns.named(["nll", "nelbo", "rate", "seconds"], RUNS))
PAIRED = Paired("nll", "anneal=linear", 700, {"svae-a": Difference(0, 0, 0), "svae-b": Difference(0.5, -0.25, 1.3)})


def test_markdown_is_in_order_of_the_first_column_and_nothing_is_marked():
    assert sheet.markdown([SHEET]).splitlines() == [
        "| run | seeds | NLL | -ELBO | R | seconds |",
        "|---|---|---|---|---|---|",
        "| anneal=linear | 3 | 2.33 ± 1.53 | 4.33 ± 1.53 | 2.00 ± 0.00 | 23 |",
        "| model=rnn_lm | 1 | 1,234.50 | 1.50 | – | 10 |",
        "| model=ae | 1 | – | – | – | 10 |",
    ]


def test_higher_is_better_for_some_columns():
    runs = [result(str(number), 1, [f"latent.dim={number}"], map=number / 10) for number in (1, 3, 2)]
    rows = sheet.Sheet(compare.tables(runs)[0], columns.usual([runs])).rows()
    assert [group.name for group, _ in rows] == ["latent.dim=3", "latent.dim=2", "latent.dim=1"]


def test_each_corpus_has_a_table_of_its_own():
    other = {**RUNS[3], "data": None, "choices": {**RUNS[3]["choices"], "data": "ptb"}, "group_id": "svae-d"}
    found = compare.tables([*RUNS, other])
    text = sheet.markdown([sheet.Sheet(table, SHEET.columns) for table in found])
    assert [line for line in text.splitlines() if line.startswith("**")] == [
        "**snips**",
        "**ptb (settings not recorded)**",
    ]
    assert text.count("| run |") == 2


def test_differences_are_a_column():
    lines = sheet.markdown([sheet.Sheet(TABLE, SHEET.columns, PAIRED)]).splitlines()
    assert [line.split(" | ")[-1].rstrip(" |") for line in lines[:5] if "---" not in line] == [
        "nll, difference", "reference", "+0.50 [-0.25, +1.30]", "–",
    ]  # fmt: skip
    assert "paired bootstrap over 700 texts" in lines[-1]


def test_latex_escapes_and_has_no_other_figures():
    text = sheet.latex([sheet.Sheet(TABLE, SHEET.columns, PAIRED)])
    assert r"anneal=linear & 3 & $2.33 \pm 1.53$ & $4.33 \pm 1.53$ & $2.00 \pm 0.00$ & $23$ & reference \\" in text
    assert r"model=rnn\_lm & 1 & $1{,}234.50$ & $1.50$ & -- & $10$ & $+0.50 [-0.25, +1.30]$ \\" in text
    assert text.startswith("% snips\n\\begin{tabular}{lrrrrrr}\n\\toprule\n")
    assert sheet._escaped(r"a_b & 5% ~\x") == r"a\_b \& 5\% \textasciitilde{}\textbackslash{}x"


def test_csv_and_json_have_all_digits():
    sheets = [sheet.Sheet(TABLE, SHEET.columns, PAIRED)]
    rows = list(csv.DictReader(io.StringIO(sheet.comma_separated(sheets))))
    assert list(rows[0]) == [
        "corpus", "run", "group_id", "seeds", "nll", "nll_sd", "nelbo", "nelbo_sd", "rate", "rate_sd", "seconds",
        "seconds_sd", "nll_difference", "nll_low", "nll_high", "against",
    ]  # fmt: skip
    assert float(rows[0]["nll"]) == 7 / 3
    assert (rows[1]["nll_sd"], rows[2]["nll"], rows[1]["nll_low"]) == ("", "", "-0.25")
    records = json.loads(sheet.as_json(sheets))
    assert records == sheet.records(sheets)
    assert records[0]["nll"] == 7 / 3
    assert records[2]["nll"] is None


@pytest.mark.parametrize("kind", sheet.FORMATS)
def test_every_format_names_every_group(kind: str):
    text = sheet.FORMATS[kind][0]([SHEET])
    assert all(name in text.replace("\\_", "_") for name in ("anneal=linear", "model=rnn_lm", "model=ae"))
