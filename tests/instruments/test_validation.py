"""What is said to be measured at a validation is what a validation logs."""

from __future__ import annotations

import math
from pathlib import Path

import kinds
import pytest
from validating import validations

from lvexp.instruments.evaluate import applying, validated


@pytest.mark.parametrize("kind", kinds.MODELS)
def test_a_validation_logs_what_it_is_said_to_measure(kind: str, tmp_path: Path):
    model, logged = kinds.MODELS[kind](), validations(kind, tmp_path)
    assert list(logged) == [f"val/{name}" for name in validated(model, *applying(model))]
    assert all(map(math.isfinite, logged.values()))
    assert f"val/{model.monitor[0]}" in logged, "what selects the best parameters is among it"
