"""Latent-variable models of text: train, judge and show them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lvexp.loading import Run as Run
    from lvexp.loading import load as load

__all__ = ["Run", "load"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # torch comes with these: not before somebody asks
        import lvexp.loading

        return getattr(lvexp.loading, name)
    raise AttributeError(f"module 'lvexp' has no attribute {name!r}")
