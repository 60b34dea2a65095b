"""On a GPU: a training step of every part says there what it says on the processor, and a job runs to its report."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from helpers import Command
from test_menu import batch_of
from test_walk import NEEDS_A_RUN, PARTS, built, fitting

from lvexp import build
from lvexp.metrics.likelihood import importance_weighted

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that torch can use")


@pytest.mark.parametrize(("group", "option"), [part for part in PARTS if part[1] != NEEDS_A_RUN])
def test_a_step_of_each_part(group: str, option: str):
    config = fitting(group, option)
    there = build.training(config, copy.deepcopy(built(group, option))).to("cuda")
    loss = there.training_step(batch_of(config).to("cuda"), 0)
    loss.backward()
    assert loss.isfinite()
    assert all(part.grad.isfinite().all() for part in there.parameters() if part.grad is not None)


def test_likelihoods_are_those_of_the_processor():
    config = fitting("model", "rnnlm")
    model, batch = built("model", "rnnlm").eval(), batch_of(config)
    with torch.no_grad():
        here = model.terms(batch).distortion
        there = model.to("cuda").terms(batch.to("cuda")).distortion
    torch.testing.assert_close(there.cpu(), here, rtol=1e-4, atol=1e-4)


def test_importance_weighted_likelihoods_are_those_of_the_processor():
    config = fitting("model", "svae")
    model, batch = built("model", "svae").eval(), batch_of(config)
    here = importance_weighted(model, batch, 2000)
    there = importance_weighted(model.to("cuda"), batch.to("cuda"), 2000)
    error = (here.error.square() + there.error.cpu().square()).sqrt()
    assert ((there.nll.cpu() - here.nll).abs() < 5 * error + 1e-4).all()
    assert (there.draws == 2000).all()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_job_runs_from_the_command_line_to_its_report(
    precision: str, small: list[str], lvexp: Command, tmp_path: Path
):
    found = lvexp(*small, "trainer=gpu", f"trainer.precision={precision}", f"paths.outputs={tmp_path}")
    assert not found.returncode, found.stderr
    (result,) = tmp_path.rglob("result.json")
    assert json.loads(result.read_text())["test"]["nll"] > 0
