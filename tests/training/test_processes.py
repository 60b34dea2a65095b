"""Several processes share the training and the validations; one reports, on every text."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers import Command, Compose, plain

from lvexp import build


def test_the_report_reads_every_text_once_whatever_the_share_of_a_process(small: list[str], composed: Compose):
    data = build.data(plain(composed(*small, "data.eval_batch_size=2")))
    data.trainer = SimpleNamespace(global_rank=1, world_size=3)  # pyright: ignore[reportAttributeAccessIssue]
    for loader, split in ((data.test_dataloader(), "test"), (data.in_order("train"), "train")):
        assert sum(len(batch) for batch in loader) == len(data.corpus.splits[split])
    assert 0 < sum(len(batch) for batch in data.val_dataloader()) < len(data.corpus.splits["valid"])


@pytest.mark.slow
def test_two_processes_report_on_the_whole_test_set(
    small: list[str], composed: Compose, tmp_path: Path, lvexp: Command
):
    two, splits = ["trainer=ddp", "trainer.accelerator=cpu"], build.data(plain(composed(*small))).corpus.splits
    done = lvexp(*small, "trainer.max_epochs=1", *two)
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "outputs").rglob("result.json")
    assert json.loads(file.read_text())["test"]["sentences"] == len(splits["test"])


@pytest.mark.slow
def test_two_processes_that_diverge_end_both(small: list[str], tmp_path: Path, lvexp: Command):
    two = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.log_every_n_steps=2"]
    done = lvexp(*small, "trainer.max_epochs=1", *two, "optimizer.lr=1e30")
    assert done.returncode == 1, done.stderr
    assert "diverged at step 2 or before" in done.stderr
    assert "Traceback" not in done.stderr
    (file,) = (tmp_path / "outputs").rglob("result.json")
    assert json.loads(file.read_text())["verdict"].startswith("diverged")
