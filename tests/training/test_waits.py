"""A training step never asks the device for a value: on a GPU the processor would wait for all that was queued.

The step runs on torch's device without numbers, where asking is an error, and so is a tensor left on the processor.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from test_menu import batch_of
from test_menu import built as build_model
from test_walk import NEEDS_A_RUN, PARTS, SIZES, composed, fitting

from lvexp import build

#: what does wait, and for what
WAITS = {
    "codec": "which texts have a known compression",
    "pointer": "the same: only the codec reads it",
    "msved": "which words have known tags",
    "vmf": "which draws were rejected",
}
ESTIMATORS = ("gumbel", "straight_through", "straight_through_gumbel")  # of the codec, unless told otherwise


@pytest.fixture(scope="module", autouse=True)
def draws() -> Iterator[None]:
    """Draws that torch has no such step for."""
    library = torch.library.Library("aten", "IMPL", "Meta")
    library.impl("_sample_dirichlet", lambda alpha, generator=None: torch.empty_like(alpha))
    library.impl("_dirichlet_grad", lambda x, alpha, total: torch.empty_like(x))
    yield
    library._destroy()


def step(config: dict[str, Any]) -> None:
    torch.manual_seed(0)
    training = build.training(config, build_model(config)).to("meta")
    batch = batch_of(config).to("meta")
    groups = [{"name": name, "params": of} for name, of in training.model.groups().items() if of]
    optimizer = torch.optim.Adam(groups, foreach=True)
    for _ in range(2):  # a plan may train one group at a time
        optimizer.zero_grad()
        training.training_step(batch, 0).backward()
        training.on_before_optimizer_step(optimizer)
        training.configure_gradient_clipping(optimizer, 5.0)
        optimizer.step()


@pytest.mark.parametrize(("group", "option"), [part for part in PARTS if part[1] != NEEDS_A_RUN])
def test_a_step_waits_for_no_value(group: str, option: str, monkeypatch: pytest.MonkeyPatch):
    # of this device torch does not know whether it has other precisions
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind: False)
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    config = copy.deepcopy(fitting(group, option))
    if option == "semi_amortized":
        config["regularizer"][option]["steps"] = 1
    if option in ESTIMATORS:
        config, _ = composed("model=svae", "latent=categorical", f"estimator={option}", *SIZES)
    if option not in WAITS:
        step(config)
        return
    with pytest.raises((RuntimeError, NotImplementedError), match=r"meta|Meta|data-independent"):
        step(config)
