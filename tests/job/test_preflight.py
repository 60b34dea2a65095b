"""What is counted and compared before training."""

from __future__ import annotations

from typing import Any

import pytest

from lvexp.errors import ConfigError
from lvexp.job import preflight

UNLIMITED: dict[str, Any] = {
    "overfit_batches": 0, "limit_train_batches": 1.0, "accumulate_grad_batches": 1, "max_steps": -1, "max_epochs": -1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({"max_epochs": 4}, (40, 4)),
        ({"max_steps": 25}, (25, 3)),
        ({"max_steps": 20}, (20, 2)),
        ({"max_steps": 25, "max_epochs": 2}, (20, 2)),
        ({"max_epochs": 4, "limit_train_batches": 0.55}, (20, 4)),
        ({"max_epochs": 4, "limit_train_batches": 3}, (12, 4)),
        ({"max_epochs": 4, "limit_train_batches": 30}, (40, 4)),
        ({"max_epochs": 4, "overfit_batches": 2, "limit_train_batches": 5}, (8, 4)),
        ({"max_epochs": 4, "accumulate_grad_batches": 4}, (12, 4)),  # of 4, 4 and 2 batches
        ({"max_steps": 7, "accumulate_grad_batches": 4}, (7, 3)),
    ],
)
def test_the_length_of_training_over_ten_batches(limits: dict[str, Any], expected: tuple[int, int]):
    assert preflight.lengths(UNLIMITED | limits, 10) == expected


@pytest.mark.parametrize("wanted", ["elbow", ["nelbo", "elbow"], ["elbow", "nelbo"]])
def test_every_objective_must_be_measured(wanted: str | list[str]):
    figures = ("nelbo", "mi", "step")
    for known in (None, [], "mi", ["nelbo", "mi"]):
        preflight.objective(known, figures)
    with pytest.raises(ConfigError, match=r"objective=elbow: .* measure nelbo, mi\ntry  objective=nelbo"):
        preflight.objective(wanted, figures)
    with pytest.raises(ConfigError, match="objective=step"):
        preflight.objective("step", figures)
