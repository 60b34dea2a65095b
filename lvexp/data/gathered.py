"""Texts that lie in several files: a list of files, or a file or a folder for each class.

They are written once into one file in the cache, which is read as any other; its folder is named by the content of the
setting and by the sizes and times of the files. Needs only the standard library.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lvexp.errors import DataError

TEXT, LABEL = "text", "label"  # columns of a file that is made of a file for each class
_TABLES = (".tsv", ".csv")  # whose first line may name the columns


def folder() -> Path:
    """The folder of encoded corpora: ``LVEXP_CACHE``, otherwise the user's cache folder."""
    if chosen := os.environ.get("LVEXP_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lvexp"


def kept(cache: str | None, about: Any, write: Callable[[Path], None]) -> Path:
    """A folder of the cache that ``write`` has filled, now or before.

    Args:
        cache: folder of the cache, if one was given. about: all that its content depends on.

    Raises:
        DataError: it cannot be written.
    """
    name = hashlib.blake2b(json.dumps(about, sort_keys=True, default=str).encode(), digest_size=12).hexdigest()
    place = (Path(str(cache)).expanduser() if cache else folder()) / "gathered" / name
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        new = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=place.parent))
        try:
            write(new)
            with contextlib.suppress(OSError):  # another process was faster
                os.rename(new, place)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"{error.filename or place}: the texts cannot be gathered there: {error.strerror or error}\n"
            "try  LVEXP_CACHE=DIR in the environment or data.cache=DIR, a folder with room that you may write to"
        ) from error
    return place


def gathered(
    split: str, named: Sequence[Any] | Mapping[str, Any], root: Path, cache: str | None, encoding: str
) -> Path:
    """The file with the texts of several.

    Args:
        split: their key in ``data.files``. named: a list of files, or class → file, folder of files (a text each), or
            a list of these. root: of relative names. cache: as of :func:`kept`. encoding: of the files.

    Raises:
        DataError: a file is missing, or the files are of several kinds.
    """
    if isinstance(named, Mapping):
        parts = {str(name): list(_parts(split, listed, root)) for name, listed in named.items()}
        about = ["classes", encoding, {name: [_state(*part) for part in paths] for name, paths in parts.items()}]
        name = f"{split}.jsonl"
        return kept(cache, [split, about], lambda place: _classes(place / name, parts, encoding)) / name
    files = [path for path, _ in _parts(split, named, root)]
    kinds = {_kind(path) for path in files}
    if len(kinds) > 1:
        raise DataError(
            f"data.files.{split}=[{','.join(map(str, named))}]: files of several kinds, {', '.join(sorted(kinds))}\n"
            "try  files of one kind, with the same columns"
        )
    name = f"{split}{kinds.pop()}"
    about = ["list", [_state(path) for path in files]]
    return kept(cache, [split, about], lambda place: _joined(place / name, files)) / name


def _kind(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix != ".gz"]
    return suffixes[-1] if suffixes else ""


def _state(path: Path, whole: bool = False) -> list[Any]:
    stat = path.stat()
    return [str(path.absolute()), stat.st_size, stat.st_mtime_ns, whole]


def _parts(split: str, listed: Any, root: Path) -> Iterator[tuple[Path, bool]]:
    """The files of a list, in its order; those of a folder by their names, each with True: it is a text as a whole."""
    for name in listed if isinstance(listed, list | tuple) else [listed]:
        path = root / os.path.expanduser(str(name))
        if path.is_dir():
            inside = sorted(one for one in path.rglob("*") if one.is_file() and not one.name.startswith("."))
            if not inside:
                raise DataError(f"data.files.{split}: the folder {path.absolute()} is empty\ntry  another folder")
            yield from ((one, True) for one in inside)
        elif path.is_file():
            yield path, False
        else:
            raise DataError(
                f"data.files.{split}: there is no file {path.absolute()}\n"
                "try  the path from here, or data.root=DIR, the folder of all files"
            )


def _read(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()


def _joined(to: Path, files: Sequence[Path]) -> None:
    """The lines of all files; a first line that all tables have is written once."""
    firsts = {_first(path) for path in files}
    header = len(files) > 1 and len(firsts) == 1 and to.suffix in _TABLES
    with open(to, "wb") as file:
        for number, path in enumerate(files):
            content = _read(path)
            if header and number:
                content = content.partition(b"\n")[2]
            file.write(content if not content or content.endswith(b"\n") else content + b"\n")


def _first(path: Path) -> bytes:
    return _read(path).partition(b"\n")[0].rstrip(b"\r")


def _classes(to: Path, parts: Mapping[str, Sequence[tuple[Path, bool]]], encoding: str) -> None:
    """A row for each line of a file, or for each file of a folder, with the class as its label."""
    with open(to, "w", encoding="ascii") as file:
        for label, paths in parts.items():
            for path, whole in paths:
                # what cannot be decoded becomes half a surrogate pair, which is counted when the row is read
                text = _read(path).decode(encoding, errors="surrogateescape").removeprefix("\ufeff")
                for line in [text] if whole else text.split("\n"):
                    if line.strip():
                        file.write(json.dumps({TEXT: line, LABEL: label}) + "\n")
