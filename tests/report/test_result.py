from __future__ import annotations

import json
import os

import pytest

from lvexp.report.result import Result, Scores, write_result


def test_what_is_written_is_read(tmp_path, result):
    path = tmp_path / "result.json"
    write_result(path, result)
    groups = [[title, [list(row) for row in rows]] for title, rows in result["groups"]]
    assert json.loads(path.read_text()) == {**result, "groups": groups}
    assert os.listdir(tmp_path) == ["result.json"]


def test_known_keys_come_first_in_their_order(tmp_path, result):
    shuffled = dict(sorted({**result, "zebra": 1, "aardvark": 2}.items()))
    write_result(tmp_path / "result.json", shuffled)
    keys = list(json.loads((tmp_path / "result.json").read_text()))
    assert keys[:3] == ["run_id", "group_id", "status"]
    assert keys[-2:] == ["aardvark", "zebra"]
    assert next(iter(json.loads((tmp_path / "result.json").read_text())["test"])) == "elbo"


def test_the_interface_keeps_its_keys():
    """Scripts rely on them: adding is fine, removing is not."""
    assert set(Result.__annotations__) >= {
        "run_id", "group_id", "status", "seed", "choices", "overrides", "commit", "seconds", "tokens_per_second",
        "verdict", "test",
    }  # fmt: skip
    assert set(Scores.__annotations__) >= {
        "elbo", "distortion", "rate", "nll_iw", "nll_iw_se", "iw_samples", "ppl", "ppl_iw", "mi", "mi_n",
        "active_units", "latent_dim", "recon_bleu", "sentences", "tokens",
    }  # fmt: skip


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_figures_that_are_not_finite_are_refused_and_change_nothing(tmp_path, result, bad):
    path = tmp_path / "result.json"
    write_result(path, result)
    result["test"]["rate"] = bad
    with pytest.raises(ValueError, match=r"test\.rate"):
        write_result(path, result)
    assert json.loads(path.read_text())["test"]["rate"] == 3.6


def test_a_crash_while_writing_leaves_the_old_file(tmp_path, result, monkeypatch):
    path = tmp_path / "result.json"
    write_result(path, result)
    before = path.read_bytes()

    def crash(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError, match="disk full"):
        write_result(path, {**result, "status": "failed"})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["result.json"]
