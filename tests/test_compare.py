"""``python -m lvexp.compare``: finished runs side by side."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Said
from results import result, scored, write

from lvexp import compare
from lvexp.errors import ConfigError

RUNS = [
    *(result("a", seed, ["arm=linear"], nll=30.0 + seed, rate=2.0, distortion=29.0, mi=1.0) for seed in (1, 2)),
    result("b", 1, ["arm=rnnlm"], nll=30.0, distortion=30.0),
]
KEPT = Path(__file__).parents[1] / "docs" / "remedies.jsonl"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "runs", RUNS)
    scored(tmp_path / "runs", {"svae-a1": [3.0, 5.0], "svae-a2": [5.0, 7.0], "svae-b1": [1.0, 2.0]})
    (tmp_path / "empty").mkdir()
    return tmp_path


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch, folder: Path, run_main: Callable[..., Said]) -> Callable[..., Said]:
    monkeypatch.chdir(folder)
    return functools.partial(run_main, compare.main)


def test_the_table_is_printed(typed):
    assert typed("runs", "--figures", "nll, rate").out.splitlines() == [
        "| run | seeds | NLL | R |",
        "|---|---|---|---|",
        "| rnnlm | 1 | 30.00 | – |",
        "| linear | 2 | 31.50 ± 0.71 | 2.00 ± 0.00 |",
    ]
    assert [row["run"] for row in json.loads(typed("runs", "--format", "json").out)] == ["rnnlm", "linear"]


def test_differences_from_a_reference(typed):
    rows = json.loads(typed("runs", "--paired", "nll", "--format", "json").out)
    assert [(row["run"], row["nll_difference"], row["against"]) for row in rows] == [
        ("rnnlm", 0.0, "rnnlm"), ("linear", 3.5, "rnnlm"),
    ]  # fmt: skip
    rows = json.loads(typed("runs", "--paired", "nll", "--against", "linear", "--format", "json").out)
    assert [row["nll_difference"] for row in rows] == [-3.5, 0.0]
    assert (rows[0]["nll_low"], rows[0]["nll_high"]) == (-4.0, -3.0)  # the differences of the two texts


def test_a_reference_of_one_corpus_is_told_where_it_is_missing(typed, folder: Path):
    other = [{**RUNS[0], "run_id": "svae-c1", "group_id": "svae-c", "data": {"fingerprint": "e", "settings": {}}}]
    scored(write(folder / "more", other), {"svae-c1": [1.0]})
    said = typed("runs", "more", "--paired", "nll", "--against", "rnnlm")
    assert said.code == 0
    assert "has no run named rnnlm, so no differences" in said.err
    assert said.out.count("| run |") == 2
    nowhere = typed("runs", "more", "--paired", "nll", "--against", "rnn")
    assert nowhere.code == 2
    assert nowhere.err.count("linear") == 1, "it is in both tables"


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_files_are_written_and_compare_again(typed, folder: Path, kind: str):
    assert typed("runs", "--to", "new/mine.v1", "--picture", kind) == Said(0, "", "")
    made = folder / "new"
    assert {path.name for path in made.iterdir()} == {"mine.v1-table.md", "mine.v1.jsonl", f"mine.v1.{kind}"}
    assert (
        (made / f"mine.v1.{kind}").read_bytes().startswith({"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[kind])
    )
    table = (made / "mine.v1-table.md").read_text()
    assert table == typed("runs").out == typed("new/mine.v1.jsonl").out


def test_kept_results_do_not_say_where_a_machine_has_its_files(typed, folder: Path):
    placed = ["arm=linear", "paths.outputs=/home/me", "data.root=/data", "+data.cache=/tmp/c"]
    placed += ["evaluation.language_model=/home/me/run", "evaluation.references=/data/r.txt"]
    write(folder / "placed", [result("a", 1, placed)])
    assert typed("placed", "--to", "mine").code == 0
    assert json.loads((folder / "mine.jsonl").read_text())["overrides"] == ["arm=linear", "seed=1"]


def test_runs_are_found_at_any_depth_but_not_in_the_folders_of_a_run(typed, folder: Path):
    runs = folder / "runs"
    write(runs / "deeper" / "evaluations", [result("c", 1, ["arm=beta"], nll=31.0)])  # the name of a sweep
    for inner in ("evaluations/x", "wandb/files"):
        write(runs / "svae-a1" / inner, [result("d", 1, ["arm=other"], nll=1.0)])
    assert len(compare.sheets(runs)[0]) == len(RUNS) + 1
    table = typed("runs").out
    assert "| beta |" in table
    assert "other" not in table


def test_each_corpus_has_a_picture_and_one_without_a_rate_is_told(typed, folder: Path):
    other = [{**RUNS[0], "run_id": "svae-c1", "group_id": "svae-c", "choices": {"model": "svae", "data": "ptb"}}]
    plain = [{**RUNS[2], "run_id": "svae-d1", "group_id": "svae-d", "choices": {"model": "rnnlm", "data": "text"}}]
    for number, one in enumerate((*other, *plain)):
        one["data"] = {"fingerprint": str(number), "settings": {}}
    write(folder / "more", [*other, *plain])
    said = typed("runs", "more", "--to", "mine", "--format", "latex")
    assert said.err == "note: text: no run has a rate, so no picture\n"
    assert {path.name for path in folder.glob("mine*")} == {
        "mine-table.tex", "mine.jsonl", "mine-snips.png", "mine-ptb.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["empty"], "empty: no finished runs found"),
        (["nowhere"], "nowhere: there is no such file or folder"),
        (["runs", "--figures", "nl"], "--figures nl: none of these runs has this figure\ntry  nll"),
        (["runs", "--figures", "infos"], "none of these runs has this figure\ntry  nll | distortion"),
        (["runs", "--figures", ","], "--figures: names no figure"),
        (["runs", "--picture", "pdf"], "--picture pdf: a file needs a name\ntry  --to NAME --picture pdf"),
        (["runs", "--against", "rnnlm"], "--against rnnlm: nothing is to be paired\ntry  --paired nll"),
        (["runs", "--paired", "nll", "--against", "rnn"], "--against rnn: no run has this name\ntry  --against rnnlm"),
        (["runs", "--paired", "mi"], "--paired mi: no group has this figure for every text\ntry  nll"),
        (["{kept}", "--paired", "nll"], "none of these runs has scores of single texts"),
        (["runs", "--to", "runs/svae-a1/result.json/x"], "cannot be written: "),
    ],
)
def test_mistakes_get_one_message(typed, words: list[str], said: str):
    found = typed(*(str(KEPT) if word == "{kept}" else word for word in words))
    assert found.code == 2
    assert found.err.startswith("compare: ")
    assert said in found.err
    assert "Traceback" not in found.err
    assert found.out == ""


def test_a_data_frame_has_a_row_for_each_group(folder: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("pandas")
    found = compare.frame(folder / "runs", figures=["nll", "rate"], paired="nll")
    assert list(found["run"]) == ["rnnlm", "linear"]
    assert found["nll"].tolist() == [30.0, 31.5]
    assert found["rate"].isna().tolist() == [True, False]
    assert found["nll_difference"].tolist() == [0.0, 3.5]


def test_without_pandas_there_is_a_clear_error(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"pandas is not installed\ntry  pip install pandas"):
        compare.frame(folder / "runs")


def test_the_kept_results_of_the_documents_give_the_tables_there(typed):
    for name, page in (("remedies", "remedies"), ("remedies_ptb", "remedies"), ("comparing", "comparing")):
        text = KEPT.with_name(f"{page}.md").read_text(encoding="utf-8")
        assert typed(str(KEPT.with_name(f"{name}.jsonl"))).out in text
