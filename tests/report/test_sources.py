"""Which runs are found, and which belong into one table."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from helpers import Compose
from omegaconf import OmegaConf
from results import WORDS, result, write

from lvexp.errors import RunError
from lvexp.report import compare

RUNS = [
    *(result("a", seed, ["anneal=linear"], nll=float(seed), elbo=-2.0 - seed) for seed in (1, 2, 4)),
    result("b", 1, ["model=rnnlm"], nll=1.5, elbo=-1.5),
]


def grouped(results: list) -> list[dict[str, int]]:
    return [{group.name: len(group.runs) for group in table.groups} for table in compare.tables(results)]


def test_runs_are_found_at_any_depth_and_seeds_make_a_group(tmp_path: Path):
    write(tmp_path / "sweep", RUNS[:3])
    write(tmp_path / "other" / "deep", RUNS[3:])
    wanted = [{"anneal=linear": 3, "model=rnnlm": 1}]
    assert grouped(compare.finished(tmp_path / "sweep", tmp_path / "other")) == wanted
    assert grouped(compare.finished(tmp_path / "sweep" / "svae-a1")) == [{"svae": 1}]  # a single run
    assert grouped(compare.finished(tmp_path / "sweep" / "svae-a1" / "result.json")) == [{"svae": 1}]


def test_kept_results_compare_as_the_runs_do_and_each_run_counts_once(tmp_path: Path):
    results = compare.finished(write(tmp_path / "sweep", RUNS))
    kept = tmp_path / "kept.jsonl"
    kept.write_text(compare.lines(results))
    wanted = compare.tables(compare.finished(kept))
    bare = [{key: value for key, value in one.items() if key not in ("folder", "status")} for one in results]
    assert wanted == compare.tables(bare)
    for sources in ((kept, tmp_path / "sweep"), (tmp_path / "sweep", kept)):
        both = {one["run_id"]: one for one in compare.finished(*sources)}
        assert {run: one["folder"] for run, one in both.items()} == {one["run_id"]: one["folder"] for one in results}


def test_runs_without_figures_are_left_out_and_told(tmp_path: Path):
    write(tmp_path, [*RUNS, result("c", 1) | {"status": "failed", "test": {}}])
    for name, files in {"svae-d": (".lvexp.json",), "svae-e": (".lvexp.json", "error.txt")}.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).write_text("")
    told: list[str] = []
    assert len(compare.finished(tmp_path, note=told.append)) == 4
    assert sorted(told) == [
        f"{tmp_path}: left out, diverged: svae-c1",
        f"{tmp_path}: left out, failed: svae-e",
        f"{tmp_path}: left out, unfinished: svae-d",
    ]


def test_a_run_found_twice_with_different_figures_is_told(tmp_path: Path):
    changed = copy.deepcopy(RUNS[3])
    changed["test"]["nll"] = 9.0
    told: list[str] = []
    found = compare.finished(write(tmp_path / "a", RUNS[3:]), write(tmp_path / "b", [changed]), note=told.append)
    assert [one["test"]["nll"] for one in found] == [9.0]
    assert told == [f"svae-b1: found twice, with different figures; those of {tmp_path / 'b'} are used"]


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        (None, "", "no finished runs found\ntry  the folder of a sweep"),
        ("missing", None, "there is no such file or folder"),
        ("kept.jsonl", "{}\n", "kept.jsonl:1: is no result of lvexp, it has no run_id, group_id"),
        ("kept.jsonl", "[]\n", "kept.jsonl:1: is no result of lvexp"),
        ("kept.jsonl", "\n", "no finished runs found"),
        ("kept.jsonl", "not json\n", "kept.jsonl:1: is not JSON"),
        ("kept.jsonl", b"\xff", "kept.jsonl: cannot be read"),
    ],
)
def test_sources_without_runs_get_one_message(tmp_path: Path, file: str | None, text: str | bytes | None, said: str):
    path = tmp_path / file if file else tmp_path
    if file and text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RunError) as told:
        compare.finished(path)
    assert said in str(told.value)


def test_other_texts_or_tokens_are_another_table(tmp_path: Path):
    rarer = copy.deepcopy(RUNS[:2])
    for one in rarer:
        one["data"]["settings"] = WORDS | {"vocabulary.min_count": 5}
    other = copy.deepcopy(RUNS[3:])
    other[0]["choices"]["data"] = "ptb"
    other[0]["data"]["fingerprint"] = "e" * 32
    changed = [{**RUNS[2], "data": {"fingerprint": "d" * 32, "settings": WORDS}}]
    found = compare.tables([*rarer, *RUNS[3:], *other, *changed])
    assert [(table.corpus, len(table.groups)) for table in found] == [
        ("snips (texts ffffffff, vocabulary.min_count=5)", 1),
        ("snips (texts ffffffff, vocabulary.min_count=2)", 1),
        ("ptb", 1),
        ("snips (texts dddddddd, vocabulary.min_count=2)", 1),
    ]


def test_where_settings_are_not_recorded_what_was_typed_of_them_counts():
    old = [{key: value for key, value in one.items() if key != "data"} for one in copy.deepcopy(RUNS)]
    old[3]["overrides"].append("data.vocabulary.min_count=3")
    found = compare.tables([*old, *RUNS])
    assert [(table.corpus, len(table.groups)) for table in found] == [
        ("snips (settings not recorded)", 1),
        ("snips (vocabulary.min_count=3, settings not recorded)", 1),
        ("snips", 2),
    ]


def test_the_settings_are_those_of_the_composed_configuration(tmp_path: Path):
    bare = [{key: value for key, value in one.items() if key != "data"} for one in RUNS[:2]]
    write(tmp_path, bare)
    vocabulary = {"kind": "words", "max_size": 100, "min_count": 2}
    for one, more in zip(bare, ({}, {"joint": True}), strict=True):  # a key of a later version, at its default
        data = {"name": "snips", "files": {}, "max_length": 9, "long": "drop", "vocabulary": {**vocabulary, **more}}
        hydra = tmp_path / one["run_id"] / ".hydra"
        hydra.mkdir()
        (hydra / "config.yaml").write_text(json.dumps({"seed": 1, "data": {**data, "seed": "${seed}"}}))
    results = compare.finished(tmp_path)
    assert [one["data"]["settings"]["vocabulary.max_size"] for one in results] == [100, 100]
    assert len(compare.tables(results)) == 1


@pytest.mark.parametrize(
    ("typed", "known"),
    [
        (["data.vocabulary.min_count=3"], {"vocabulary.min_count": 3, "columns.text": 1, "long": "drop"}),
        (["model=seq2seq", "data=multi30k"], {"vocabulary.joint": False, "vocabulary.kind": "bpe"}),
        (["model=nvdm", "data=20news"], {"view": "counts", "counts.min_df": 0.0}),
    ],
)
def test_every_kind_of_corpus_has_settings(typed: list[str], known: dict, composed: Compose, tmp_path: Path):
    write(tmp_path, RUNS[:1])
    (tmp_path / "svae-a1" / ".hydra").mkdir()
    config = OmegaConf.to_yaml(OmegaConf.masked_copy(composed(*typed), ["seed", "data"]))
    (tmp_path / "svae-a1" / ".hydra" / "config.yaml").write_text(config)
    (found,) = compare.finished(tmp_path)
    assert found["data"]["settings"].items() >= known.items()
