"""What a job refuses once torch is there."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lvexp.errors import ConfigError
from lvexp.run import _check_precision


def config(precision: str, cell: str) -> dict[str, Any]:
    return {"trainer": {"accelerator": "cpu", "precision": precision}, "encoder": {"cell": cell}, "decoder": {}}


def test_bf16_is_refused_where_the_processor_has_no_such_lstm(monkeypatch: pytest.MonkeyPatch):
    def absent(*_: Any) -> None:
        raise RuntimeError("could not create a primitive descriptor")

    monkeypatch.setattr(torch.nn.LSTM, "forward", absent)
    with pytest.raises(ConfigError, match=r"precision=bf16-mixed: .*no LSTM in bf16\ntry  trainer.precision=32"):
        _check_precision(config("bf16-mixed", "lstm"))
    _check_precision(config("bf16-mixed", "gru"))
    _check_precision(config("32-true", "lstm"))


def test_bf16_is_taken_where_it_runs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.nn.LSTM, "forward", lambda *_: None)
    _check_precision(config("bf16-mixed", "lstm"))
