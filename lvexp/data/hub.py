"""Data sets that Hugging Face's ``datasets`` reads: those of the Hub, folders that ``save_to_disk`` wrote, and folders
of .csv, .parquet, .json or .txt files.

Their rows are written once into .jsonl files in the cache, under the names of their columns, and read from there as any
other corpus; a streamed data set is never held or downloaded as a whole. A class that is a number becomes its name, a
list of words a text, a nested column ``outer.inner``.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lvexp.data.gathered import kept
from lvexp.errors import ConfigError, DataError

#: usual names of the splits; the first that there is counts where none is given
USUAL = {"train": ("train",), "valid": ("validation", "valid", "val", "dev"), "test": ("test",)}


def files(settings: Mapping[str, Any], cache: str | None) -> dict[str, Path]:
    """The file of each split that the data set has.

    Args:
        settings: ``data.hf``: path, name, revision, splits, streaming, take. cache: folder of the cache, if given.

    Raises:
        ConfigError: no data set is named, or ``datasets`` is not installed. DataError: it cannot be read.
    """
    path = settings.get("path")
    if not path:
        raise ConfigError(
            "data=hf: no data set is named\n"
            "try  data.hf.path=NAME of the Hub | data.hf.path=FOLDER with .csv, .parquet or .jsonl files"
        )
    local = Path(os.path.expanduser(str(path)))
    inside = sorted(one for one in local.rglob("*") if one.is_file()) if local.is_dir() else []
    states = [(str(one), one.stat().st_size, one.stat().st_mtime_ns) for one in inside]
    where = kept(cache, ["hf", dict(settings), states], lambda place: _write(place, settings, local))
    return {split: file for split in USUAL if (file := where / f"{split}.jsonl").is_file()}


def _write(place: Path, settings: Mapping[str, Any], local: Path) -> None:
    found = _opened(settings, local)
    asked = settings.get("splits") or {}
    for split, usual in USUAL.items():
        name = asked.get(split)
        if name and name not in found:
            raise DataError(
                f"data.hf.splits.{split}={name}: this data set has {', '.join(found)}\n"
                f"try  data.hf.splits.{split}={next(iter(found))}"
            )
        name = name or next((one for one in usual if one in found), None)
        if name is None and split == "train":
            raise DataError(
                f"data.hf.path={settings['path']}: has no split train, but {', '.join(found)}\n"
                f"try  data.hf.splits.train={next(iter(found))}"
            )
        if name is not None:
            rows = itertools.islice(_rows(found[name]), settings.get("take"))
            with open(place / f"{split}.jsonl", "w", encoding="utf-8") as file:
                file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _opened(settings: Mapping[str, Any], local: Path) -> dict[str, Any]:
    """Split → data set."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]  # an optional package
    except ImportError as error:
        raise ConfigError("data=hf: the package datasets is not installed\ntry  pip install 'lvexp[hf]'") from error
    typed = f"data.hf.path={settings['path']}"
    try:
        if (local / "dataset_dict.json").is_file() or (local / "state.json").is_file():
            found = datasets.load_from_disk(str(local))
        else:
            found = datasets.load_dataset(
                str(local) if local.is_dir() else str(settings["path"]),
                settings.get("name"),
                revision=settings.get("revision"),
                streaming=bool(settings.get("streaming")),
            )
    except Exception as error:  # it raises errors of many kinds, of the network too
        gist = str(error).strip().partition("\n")[0]
        raise DataError(
            f"{typed}: cannot be loaded: {gist}\n"
            "try  a name of the Hub with data.hf.name=… for its configuration | a folder of this machine"
        ) from error
    return {str(name): part for name, part in found.items()} if isinstance(found, dict) else {"train": found}


def _rows(split: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    features: Mapping[str, Any] = getattr(split, "features", None) or {}
    named = {column: kind.names for column, kind in features.items() if hasattr(kind, "names")}
    for row in split:
        yield dict(_columns(row, named))


def _columns(row: Mapping[str, Any], named: Mapping[str, list[str]], outer: str = "") -> Iterator[tuple[str, Any]]:
    """The columns of a row that can be a text or a class."""
    for column, value in row.items():
        path = f"{outer}{column}"
        if path in named and isinstance(value, int):
            yield path, named[path][value] if 0 <= value < len(named[path]) else None  # -1: not known
        elif isinstance(value, Mapping):
            yield from _columns(value, named, f"{path}.")
        elif isinstance(value, list) and all(isinstance(word, str) for word in value):
            yield path, " ".join(value)
        elif value is None or isinstance(value, str | int | float | bool):
            yield path, value
