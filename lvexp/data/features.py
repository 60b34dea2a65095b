"""Sources that are feature vectors: of an image, or of anything else that a text describes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lvexp.data.special import SPECIAL
from lvexp.errors import DataError, RunError
from lvexp.shapes import Float, Tensor

_ROWS = 4096  # looked at together
_SHOWN = 16  # values of a vector that are spelled out


class Features:
    """In the place of a vocabulary of sources: T vectors of width F for each text. They are read as a text of T words,
    each of which is a weighted sum of F word vectors.

    Args:
        count: T. width: F.
        files: the array of each file of sources.
    """

    kind = "features"
    special = SPECIAL

    def __init__(self, count: int, width: int, files: Mapping[Path, npt.NDArray[Any]] | None = None):
        self.shape, self.files = (count, width), dict(files or {})

    @classmethod
    def of(cls, sources: Mapping[str, Path]) -> Features:
        """The vectors in ``.npy`` files, [N, F] or [N, T, F].

        Raises:
            DataError: a file is damaged, has another shape than the others, or values that are not finite.
        """
        found = {path: opened(path) for path in sources.values()}
        shapes = {path: (1, *array.shape[1:])[-2:] for path, array in found.items()}
        (first, shape), *others = shapes.items()
        for path, other in others:
            if other != shape:
                raise DataError(
                    f"{path} has {_spelled(other)} for each text and {first} has {_spelled(shape)}\n"
                    "try  files with vectors of one width, as many for each text"
                )
        for path, array in found.items():
            for at in range(0, len(array), _ROWS):
                if len(bad := np.flatnonzero(_unfit(array[at : at + _ROWS]))):
                    raise DataError(f"{path}: row {at + bad[0]} (from 0) is not finite\ntry  an array without NaN")
        return cls(*shape, files=found)

    @property
    def size(self) -> int:
        """F."""
        return self.shape[1]

    def rows(self, sources: Path, lines: Sequence[int]) -> npt.NDArray[np.float32]:
        """The vectors of the texts on ``lines``, which count from 1, [N, T, F]."""
        found = self.files[sources][np.array(lines, int) - 1]
        return np.asarray(found, np.float32).reshape(len(lines), *self.shape)

    def encode(self, vectors: Sequence[Any]) -> Float[Tensor, "N T F"]:
        """The vectors of several texts, each [F] or [T, F].

        Raises:
            RunError: they have another shape than those of training.
        """
        found = []
        for given in vectors:
            try:
                made = np.asarray(given, np.float32)
            except (TypeError, ValueError):
                made = np.empty(0)
            if made.size != self.shape[0] * self.shape[1] or made.shape[-1] != self.size or not np.isfinite(made).all():
                raise RunError(f"{given!r}: this model reads sources of {_spelled(self.shape)}, all finite")
            found.append(made.reshape(self.shape))
        return torch.from_numpy(np.stack(found))

    def decode(self, vectors: Sequence[Any]) -> str:
        """The first vector, for people to read."""
        shown = " ".join(f"{value:g}" for value in vectors[0][:_SHOWN])
        return shown + (" …" if self.size > _SHOWN or self.shape[0] > 1 else "")

    def to_json(self) -> str:
        """The shape as one string, for :meth:`from_json`."""
        return json.dumps({"kind": self.kind, "shape": self.shape})

    @classmethod
    def from_json(cls, text: str) -> Features:
        """What :meth:`to_json` wrote; without files."""
        return cls(*json.loads(text)["shape"])


def opened(path: Path) -> npt.NDArray[Any]:
    """The array in a ``.npy`` file, mapped into memory.

    Raises:
        DataError: it is damaged, or no array of numbers with two or three dimensions.
    """
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise ValueError("it holds several")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: is not a NumPy array ({error})\ntry  numpy.save(file, vectors)") from error
    if found.ndim not in (2, 3) or found.dtype.kind not in "fiub" or not found.size:
        raise DataError(
            f"{path}: holds {found.dtype} of shape {found.shape}\n"
            "try  numbers, with a vector (N × F) or several vectors (N × T × F) for each of N texts"
        )
    return found


def _unfit(rows: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    return np.any(~np.isfinite(rows.reshape(len(rows), -1)), axis=1)


def _spelled(shape: tuple[int, ...]) -> str:
    count, width = shape
    return f"{count} vector{'s' if count > 1 else ''} of {width} values"
