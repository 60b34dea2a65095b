"""What comes along with Lightning and is not read before somebody uses it."""

from __future__ import annotations

import subprocess
import sys

import pytest


def printed(*lines: str) -> str:
    command = [sys.executable, "-W", "error", "-c", "\n".join(lines)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_what_lightning_imports_does_not_execute_scipy_signal():
    assert (
        printed(
            "import sys, lvexp, torchmetrics",
            "print('scipy.signal' in sys.modules, 'scipy.signal._signal_api' in sys.modules)",
        )
        == "True False\n"
    )


@pytest.mark.parametrize(
    "first",
    [
        "assert 'lfilter' in dir(scipy.signal)",
        "scipy.signal.lfilter",
        "from scipy.signal import windows",
        "import scipy.signal.windows",
    ],
)
def test_its_names_are_there_once_they_are_asked_for(first: str):
    asked = [
        "import scipy.signal",
        first,
        "print(*scipy.signal.windows.hann(3), scipy.signal.find_peaks([0, 1, 0])[0])",
    ]
    shown = "print('lfilter' in dir(scipy.signal), hasattr(scipy.signal, 'hamming'))"
    assert printed("import lvexp", *asked, shown) == printed(*asked, shown) == "0.0 1.0 0.0 [1]\nTrue False\n"
