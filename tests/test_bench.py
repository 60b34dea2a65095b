"""What `scripts/bench` measures can be measured: each side does one window of work on the shipped corpus."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers import Compose

from lvexp.__main__ import MENU

TINY = [
    *("model=svae", "data=snips", "anneal=linear", "regularizer=none", "encoder.norm=false", "logger=csv"),
    *("encoder.embedding=8", "encoder.hidden=8", "decoder.embedding=8", "decoder.hidden=8", "latent.dim=4"),
]


@pytest.mark.parametrize(
    "kind",
    [
        "train_lvexp",
        "iw_lvexp",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("train_bare", "train_textbook", "iw_textbook")),
    ],
)
def test_a_side_does_a_window_of_work(kind: str):
    settings = {"overrides": TINY, "steps": 2, "samples": 3, "texts": 4, "mixed": True}
    side = subprocess.run(
        [sys.executable, str(MENU.parent / "scripts" / "bench_sides.py"), kind, json.dumps(settings)],
        input="\n\n", capture_output=True, text=True, timeout=300, check=False, cwd=MENU.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    ready, window, *_ = [json.loads(line) for line in side.stdout.splitlines()]
    assert ready == {"ready": True}, side.stderr
    assert window["speed"] > 0
    if kind == "train_lvexp":
        assert 0 <= window["waiting"] < 1


@pytest.mark.slow
def test_losses_are_the_textbooks():
    settings = {"overrides": [*TINY, "decoder.dropout_in=0", "decoder.dropout_out=0"], "steps": 20}
    script = Path(MENU.parent / "scripts" / "bench_sides.py")
    side = subprocess.run(
        [sys.executable, str(script), "curve", json.dumps(settings)],
        capture_output=True, text=True, timeout=300, check=True, cwd=MENU.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    losses = json.loads(side.stdout)["losses"]
    assert len(losses) == 20
    assert all(ours == pytest.approx(theirs, rel=1e-4) for ours, theirs in losses)


TRANSFORMERS = [
    *(part for part in TINY if "norm" not in part),
    *("encoder=transformer", "decoder=transformer", "decoder.entry=addend", "decoder.hidden=16", "encoder.hidden=16"),
    *("decoder.embedding=16", "encoder.embedding=16"),
]


FLOWS = [*TINY, "latent=iaf", "prior=flow", "latent.hidden=8", "latent.context=3"]
#: what a file of scripts/ measures → settings of a small model
NETWORKS = {"transformer": TRANSFORMERS, "flows": FLOWS}


def other(name: str, kind: str, settings: dict) -> list[dict]:
    side = subprocess.run(
        [sys.executable, str(MENU.parent / "scripts" / f"bench_{name}.py"), kind, json.dumps(settings)],
        input="\n\n", capture_output=True, text=True, timeout=300, check=False, cwd=MENU.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert side.stdout, side.stderr
    return [json.loads(line) for line in side.stdout.splitlines()]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_loss_of_the_reference_is_ours(name: str):
    (found,) = other(name, "same", {"overrides": NETWORKS[name], "steps": 4})
    assert len(found["losses"]) == 4
    for mine, reference in found["losses"]:
        assert mine == pytest.approx(reference, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["lvexp", "textbook"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_side_of_networks_does_a_window_of_work(name: str, side: str):
    ready, window, *_ = other(name, f"{name}_{side}", {"overrides": NETWORKS[name], "steps": 2})
    assert ready == {"ready": True}
    assert window["speed"] > 0


@pytest.mark.slow
def test_the_sum_over_all_values_is_the_textbooks():
    categorical = [part for part in TINY if "latent.dim" not in part] + ["latent=categorical", "latent.categories=5"]
    settings = {"overrides": categorical, "texts": 4, "mixed": True}
    (_, ours, *_), (_, theirs, *_) = (other("sides", f"discrete_{side}", settings) for side in ("lvexp", "textbook"))
    assert ours["mean"] == pytest.approx(theirs["mean"], rel=1e-6)


@pytest.fixture
def translated(tmp_path: Path) -> list[str]:
    """Settings of a small corpus of pairs."""
    for side in ("a", "b"):
        (tmp_path / side).write_text("".join(f"{'x y z '[: 2 * (n % 3) + 2]}{n % 7}\n" for n in range(90)))
    files = [f"data.{kind}.{split}={tmp_path / side}" for kind, side in (("files", "a"), ("sources", "b"))
             for split in ("train", "valid", "test")]  # fmt: skip
    sizes = [f"{part}.{size}=8" for part in ("encoder", "decoder") for size in ("hidden", "embedding")]
    return [
        *("data=text", "model=seq2seq", "decoder.attention=additive", "data.format=txt", "data.batch_size=16"),
        *("data.eval_batch_size=16", "logger=csv", "data.vocabulary.min_count=1", f"data.cache={tmp_path / 'cache'}"),
        *files, *sizes,
    ]  # fmt: skip


def test_the_tutorials_loss_of_pairs_is_ours(translated: list[str]):
    (found,) = other("pairs", "same", {"overrides": translated, "steps": 4})
    assert len(found["losses"]) == 4
    for mine, theirs in found["losses"]:
        assert mine == pytest.approx(theirs, rel=1e-5)
    for mine, theirs in found["texts"]:
        assert mine == theirs


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    ["pairs_lvexp", "pairs_textbook", "decode_beam", "decode_greedy", "beam_lvexp", "beam_loop", "beam_textbook"],
)
def test_a_side_of_pairs_does_a_window_of_work(kind: str, translated: list[str]):
    ready, window, *_ = other("pairs", kind, {"overrides": translated, "steps": 2})
    assert ready == {"ready": True}
    assert window["speed"] > 0


@pytest.mark.slow
def test_a_likelihood_given_a_source_is_the_tutorials(translated: list[str]):
    settings = {
        "overrides": ["model=cvae" if part == "model=seq2seq" else part for part in translated],
        "texts": 4,
        "mixed": False,
    }
    (_, ours, *_), (_, theirs, *_) = (
        other("pairs", f"conditional_{side}", settings | {"samples": 10_000}) for side in ("lvexp", "textbook")
    )
    assert ours["mean"] == pytest.approx(theirs["mean"], rel=1e-3)  # the draws are not the same


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    loader = SourceFileLoader("bench", str(MENU.parent / "scripts" / "bench"))
    spec = spec_from_loader("bench", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def measured(commit: str, *ratio: float, **more: Any) -> dict[str, Any]:
    row = {"work": "train small", "cores": 2, "machine": "x", "against": "textbook", "commit": commit}
    return row | ({"ratio": list(ratio)} if ratio else {}) | more


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (measured("c", 1.2, 1.1, 1.3), "×1.200 against ×1.400 at a, b"),
        (measured("c", 1.3, 1.1, 1.45), None),  # the range reaches what was usual
        (measured("c", 1.6, 1.5, 1.7), None),
        (measured("b", 1.2, 1.1, 1.3), "×1.200 against ×1.400 at a"),  # a commit is not compared with itself
        (measured("c", 1.2, 1.1, 1.3, cores=8), None),
        (measured("c", 1.2, 1.1, 1.3, against="HEAD~1"), None),
        (measured("c"), None),
    ],
)
def test_a_ratio_that_fell_is_said(bench: ModuleType, now: dict[str, Any], said: str | None):
    earlier = [
        measured("a", 1.4, 1.3, 1.5),
        measured("b", 1.4, 1.2, 1.5),
        measured("a"),
        measured("a", 9, 9, 9, work="iw"),
    ]
    found = bench.worse(now, earlier)
    assert found is None if said is None else said in found


def test_only_the_last_five_count(bench: ModuleType):
    earlier = [measured(f"old {n}", 2.0, 2.0, 2.0) for n in range(9)] + [
        measured(f"{n}", 1.0, 1.0, 1.0) for n in range(5)
    ]
    assert bench.worse(measured("now", 1.1, 1.0, 1.2), earlier) is None
    assert bench.worse(measured("now", 0.8, 0.7, 0.9), earlier) is not None


def test_history_is_kept(bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    for ratio in (1.5, 1.1):
        bench.keep({"work": "train small", "against": "textbook", "ratio": [ratio, ratio, ratio]})
    rows = [json.loads(line) for line in (tmp_path / "outputs" / "bench.jsonl").read_text().splitlines()]
    assert [row["ratio"][0] for row in rows] == [1.5, 1.1]
    assert {"commit", "when", "cores", "machine"} <= rows[0].keys()
    assert "WORSE" not in capsys.readouterr().out, "of the same commit"


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules beside scripts/bench can be imported, as from a script."""
    monkeypatch.syspath_prepend(str(MENU.parent / "scripts"))


def test_copies_of_a_run_are_runs_of_their_own(beside: None, tmp_path: Path):
    from results import result, write

    from lvexp.report import compare

    bench_runs = importlib.import_module("bench_runs")
    (one,) = write(tmp_path / "one", [result("a", 1, ["arm=linear"], nll=30.0, rate=2.0, distortion=28.0)]).iterdir()
    (one / ".hydra").mkdir()
    for name in ("config.yaml", "overrides.yaml"):
        (one / ".hydra" / name).write_text("data: {name: snips}\nseed: 1\n")
    (one / "metrics.csv").write_text("step,epoch,val/nelbo,val/mi\n1,0,40,\n")
    bench_runs.copies(one, tmp_path / "many", 6, seeds=2)
    (table,) = compare.tables(compare.finished(tmp_path / "many"))
    assert [len(group.runs) for group in table.groups] == [2, 2, 2]
    assert len({group.name for group in table.groups}) == 3
    assert len({run["test"]["nll"] for group in table.groups for run in group.runs}) == 6
    (whole,) = compare.finished(one)
    assert whole["test"]["nll"] == 30.0, "the run itself is as it was"
    for metrics in (tmp_path / "many").glob("*/metrics.csv"):
        head, row = metrics.read_text().splitlines()
        step, epoch, nelbo, mi = row.split(",")
        assert (head, step, epoch, mi) == ("step,epoch,val/nelbo,val/mi", "1", "0", "")
        assert 40 <= float(nelbo) <= 48


def test_the_course_of_a_sweep(bench: ModuleType, tmp_path: Path):
    for seed, (process, end, mib) in enumerate([(7, 110.0, 400), (7, 116.0, 500), (7, 124.0, 500), (8, 112.0, 400)]):
        run = tmp_path / "default" / f"svae-{seed}"
        run.mkdir(parents=True)
        (run / "where.json").write_text(json.dumps({"process": process, "mib": mib, "worked": end / 2}))
        (run / "DONE").touch()
        os.utime(run / "DONE", (end, end))
    assert bench.course(tmp_path, 100.0) == {"processes": 2, "first": 10.0, "later": 7.0, "worked": 3.5, "mib": 50.0}


def test_every_value_that_grows_is_a_setting(bench: ModuleType, composed: Compose):
    for values, settings, _ in bench.ROWS.values():
        assert list(values) == sorted(values)
        composed("model=svae", *settings(values[-1]))


def test_the_start_of_a_run_is_timed(tmp_path: Path):
    began = time.time()
    done = subprocess.run(
        [sys.executable, str(MENU.parent / "scripts" / "bench_startup.py"), str(began), f"paths.outputs={tmp_path}"],
        env={**os.environ, "LVEXP_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    moments = json.loads(done.stdout)
    assert [*moments] == ["checked", "imported", "first step"]
    assert 0 < moments["checked"] < moments["imported"] < moments["first step"] < time.time() - began
