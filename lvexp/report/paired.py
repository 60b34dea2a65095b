"""Paired differences between groups of runs, text by text."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvexp.errors import ConfigError, RunError
from lvexp.report.compare import Group, Table

if TYPE_CHECKING:
    import numpy as np

SCORES = "scores.jsonl"
RESAMPLES = 5000
_CHUNK = 250  # resamples at a time, to bound memory


@dataclass(frozen=True)
class Difference:
    """Mean over texts of a group's figure minus the reference's, and its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """The differences of a table: by group id, without those that have no such figure.

    Attributes:
        figure: the figure of each text. against: name of the reference, whose own difference is 0.
    """

    figure: str
    against: str
    texts: int
    by_group: Mapping[str, Difference]


def paired(table: Table, figure: str, against: str | None = None, seed: int = 0) -> Paired | None:
    """Each group compared with a reference on the same texts.

    The figure of a text is averaged over seeds first. The interval consists of the percentiles 2.5 and 97.5 of the mean
    difference over :data:`RESAMPLES` resamples of the texts (Efron & Tibshirani 1993, ch. 13). It covers the choice of
    texts, not that of seeds.

    Args:
        figure: a key of ``scores.jsonl``. against: name of a group; None: the first that has the figure.
        seed: of the resamples, which are the same for all groups.

    Returns:
        None if the table has no group named ``against``.

    Raises:
        ConfigError: no text has this figure, or the reference's texts have none.
        RunError: a file cannot be read, or the texts of two runs are not the same.
    """
    import numpy as np

    if against is not None and against not in (group.name for group in table.groups):
        return None
    known: set[str] = set()
    found: dict[str, np.ndarray] = {}
    first: tuple[Path, np.ndarray] | None = None
    for group in table.groups:
        of_runs = []
        for run in group.runs:
            if (path := _path(run)) is None:
                break
            rows = _rows(path)
            known |= {key for row in rows for key in row} - {"index"}
            index = np.array([row["index"] for row in rows])
            first = first or (path, index)
            _same(first, (path, index))
            values = [row.get(figure) for row in rows]
            if not all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
                break
            of_runs.append(np.array(values, dtype=float))
        else:
            found[group.id] = np.mean(of_runs, axis=0)
    if first is None:
        raise RunError(
            f"--paired {figure}: none of these runs has scores of single texts ({SCORES})\n"
            "try  run folders instead of kept results | the runs anew with force=true, if they are of an older version"
        )
    if not found:
        numbers = sorted(key for key in known if key != figure) or ["another figure"]
        raise ConfigError(f"--paired {figure}: no group has this figure for every text\ntry  {' | '.join(numbers)}")
    reference = _reference(table.groups, found, figure, against)
    texts = len(first[1])
    differences = np.stack([values - found[reference.id] for values in found.values()], axis=1)
    low, high = np.quantile(_resampled(differences, seed), [0.025, 0.975], axis=0)
    means = differences.mean(0)
    by_group = {
        group: Difference(*map(float, row)) for group, *row in zip(found, means, low, high, strict=True)
    }  # fmt: skip
    return Paired(figure, reference.name, texts, by_group)


def _reference(groups: Sequence[Group], found: Mapping[str, Any], figure: str, against: str | None) -> Group:
    having = [group for group in groups if group.id in found]
    if against is None:
        return having[0]
    for group in having:
        if group.name == against:
            return group
    raise ConfigError(
        f"--against {against}: its texts have no {figure}\ntry  --against '{having[0].name}' | another figure"
    )


def _resampled(differences: np.ndarray, seed: int) -> np.ndarray:
    """Mean differences of resampled texts: (resamples, groups)."""
    import numpy as np

    draw, texts = np.random.default_rng(seed), len(differences)
    chunks = [
        draw.multinomial(texts, np.full(texts, 1 / texts), size=min(_CHUNK, RESAMPLES - done)) @ differences / texts
        for done in range(0, RESAMPLES, _CHUNK)
    ]
    return np.concatenate(chunks)


def _path(run: Mapping[str, Any]) -> Path | None:
    path = Path(run["folder"]) / SCORES if "folder" in run else None
    return path if path is not None and path.is_file() else None


def _rows(path: Path) -> list[dict[str, Any]]:
    try:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        if not rows or not all(isinstance(row["index"], int) for row in rows):
            raise ValueError("a line has no index" if rows else "it is empty")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path}: cannot be used: {error}\ntry  the run anew, with force=true") from error
    return rows


def _same(first: tuple[Path, np.ndarray], other: tuple[Path, np.ndarray]) -> None:
    import numpy as np

    (path, mine), (other_path, theirs) = first, other
    if len(mine) != len(theirs):
        what = f"{len(mine):,} and {len(theirs):,} texts"
    elif not np.array_equal(mine, theirs):
        at = int(np.flatnonzero(mine != theirs)[0])
        what = f"line {at + 1} is text {mine[at]} in the one and {theirs[at]} in the other"
    else:
        return
    raise RunError(
        f"{path} and {other_path}: not the same texts, {what}: they cannot be paired\n"
        "try  runs on the same test set only | without --paired"
    )
