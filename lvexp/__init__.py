"""Latent-variable models of text: train, judge and show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvexp.training import lazy

if TYPE_CHECKING:
    from lvexp.loading import Run as Run
    from lvexp.loading import load as load
    from lvexp.python import sweep as sweep
    from lvexp.python import train as train

lazy.install()

__all__ = ["Run", "load", "sweep", "train"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from lvexp.job.identity import version

        return version()
    if name in __all__:  # torch comes with these: not before somebody asks
        import importlib

        module = importlib.import_module("lvexp.loading" if name in ("Run", "load") else "lvexp.python")
        return getattr(module, name)
    raise AttributeError(f"module 'lvexp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
