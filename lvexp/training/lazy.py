"""Modules that come along with others and are not read before somebody uses them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class Unread(ModuleType):
    """A module that is executed when a name of it is asked for that it does not have yet."""

    #: torchmetrics, which comes with Lightning, looks for this name, and importlib.util.LazyLoader would execute the
    #: module for it
    hamming: Any = None
    __spec__: ModuleSpec

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # the import system asks; all that it sets is there
            raise AttributeError(name)
        return getattr(self._executed(), name)

    def __dir__(self) -> list[str]:
        return dir(self._executed())

    def _executed(self) -> ModuleType:
        loader = self.__spec__.loader
        assert isinstance(loader, Later)
        self.__class__ = ModuleType  # pyright: ignore[reportAttributeAccessIssue]
        loader.real.exec_module(self)
        return self


class Later(Loader):
    """Makes an :class:`Unread` module.

    Args:
        real: the loader that executes it.
    """

    def __init__(self, real: Loader):
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return Unread(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


class Signal(MetaPathFinder):
    """Finds ``scipy.signal``, a fifth of what it takes to import Lightning and everything that it needs."""

    def find_spec(self, name: str, path: Iterable[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "scipy.signal":
            return None
        spec = PathFinder.find_spec(name, None if path is None else [*path], target)
        if spec is not None and spec.loader is not None:
            spec.loader = Later(spec.loader)
        return spec


def install() -> None:
    """Has the finder asked first."""
    sys.meta_path.insert(0, Signal())
