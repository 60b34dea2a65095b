"""Finished runs side by side, mean ± sd over seeds, one table for each corpus: ``python -m lvexp.compare SOURCE …``."""

from __future__ import annotations

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lvexp.errors import ConfigError, DataError
from lvexp.job import command
from lvexp.report import columns, compare, paired, sheet

_EXAMPLES = """\
  python -m lvexp.compare outputs/remedies                       prints the tables
  python -m lvexp.compare outputs/remedies --figures nll,rate,mi,valid.nelbo,seconds
  python -m lvexp.compare outputs/remedies --paired nll --against rnnlm
                                                                 differences text by text, with intervals
  python -m lvexp.compare outputs --to docs/mine --picture pdf   writes docs/mine-table.md, docs/mine.pdf and, to
                                                                 compare again without the runs, docs/mine.jsonl
  python -m lvexp.compare docs/mine.jsonl outputs/later          kept results, and later runs
"""


def main() -> None:
    """The entry point, see :func:`lvexp.job.command.carry_out`."""
    command.carry_out("compare", lambda: _compare(_arguments(sys.argv[1:])))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = command.parser("compare", __doc__, _EXAMPLES)
    parser.add_argument("sources", type=Path, nargs="+", help="runs, folders of runs, or .jsonl files of kept results")
    parser.add_argument("--figures", metavar="NAMES", help="columns, by their names in result.json, such as nll,rate")
    parser.add_argument("--paired", metavar="FIGURE", help="differences text by text, of a figure in scores.jsonl")
    parser.add_argument("--against", metavar="NAME", help="the run that the others are compared with (the first)")
    parser.add_argument("--format", choices=[*sheet.FORMATS], default="markdown", help="of the tables (%(default)s)")
    parser.add_argument("--to", metavar="NAME", type=Path, help="write files of that name, instead of printing")
    parser.add_argument("--along", metavar="KEY", help="with --to: a picture of figures against a value that was swept")
    parser.add_argument("--lines", metavar="KEYS", help="with --along: a line for each combination of their options")
    parser.add_argument("--picture", choices=("png", "pdf", "svg"), help="with --to: format of the picture (png)")
    return parser.parse_args(words)


def sheets(
    *sources: str | Path,
    figures: Sequence[str] | None = None,
    paired_by: str | None = None,
    against: str | None = None,
    note: Callable[[str], object] = lambda text: None,
) -> tuple[list[compare.Result], list[sheet.Sheet]]:
    """The results of finished runs, and a table of them for each corpus.

    Args:
        sources: folders of runs, at any depth, and files of kept results.
        figures: names of the columns; None: those that matter for the models.
        paired_by: a figure of ``scores.jsonl``, with ``against``, the name of the reference (the first row).
        note: is told of runs and tables that are left out.

    Raises:
        LvexpError: as on the command line.
    """
    results = compare.finished(*map(Path, sources), note=note)
    chosen = None if figures is None else columns.named(figures, results)
    made, without = [], []
    for table in compare.tables(results):
        one = sheet.Sheet(table, chosen or columns.usual(group.runs for group in table.groups))
        ordered = compare.Table(table.corpus, tuple(group for group, _ in one.rows()))
        known = None if paired_by is None else paired.paired(ordered, paired_by, against)
        if known is None:
            without.append(table.corpus)
        made.append(sheet.Sheet(ordered, one.columns, known))
    if against is not None and len(without) == len(made):
        found = list(dict.fromkeys(group.name for one in made for group in one.table.groups))
        listed = " | ".join(f"--against '{name}'" if " " in name else f"--against {name}" for name in found[:8])
        raise ConfigError(f"--against {against}: no run has this name\ntry  {listed}")
    for corpus in without if against is not None else ():
        note(f"{corpus}: has no run named {against}, so no differences")
    return results, made


def frame(
    *sources: str | Path,
    figures: Sequence[str] | None = None,
    paired: str | None = None,
    against: str | None = None,
) -> Any:
    """The tables as one ``pandas.DataFrame``: a row for each group of runs, columns as in ``--format csv``.

    Raises:
        ConfigError: pandas is not installed.
        LvexpError: as on the command line.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ModuleNotFoundError as error:
        raise ConfigError(
            "lvexp.compare.frame: pandas is not installed\ntry  pip install pandas | --format csv"
        ) from error
    return pandas.DataFrame(sheet.records(sheets(*sources, figures=figures, paired_by=paired, against=against)[1]))


def _compare(asked: argparse.Namespace) -> None:
    if asked.picture is not None and asked.to is None:
        raise ConfigError(f"--picture {asked.picture}: a file needs a name\ntry  --to NAME --picture {asked.picture}")
    if asked.along is not None and asked.to is None:
        raise ConfigError(f"--along {asked.along}: a file needs a name\ntry  --to NAME --along {asked.along}")
    if asked.lines is not None and asked.along is None:
        raise ConfigError(f"--lines {asked.lines}: there is no picture of lines\ntry  --to NAME --along KEY --lines …")
    if asked.against is not None and asked.paired is None:
        raise ConfigError(f"--against {asked.against}: nothing is to be paired\ntry  --paired nll --against …")
    figures = None if asked.figures is None else _words(asked.figures)
    if figures == []:
        raise ConfigError("--figures: names no figure\ntry  --figures nll,rate,mi")
    results, made = sheets(*asked.sources, figures=figures, paired_by=asked.paired, against=asked.against, note=_note)
    write, suffix = sheet.FORMATS[asked.format]
    if asked.to is None:
        sys.stdout.write(write(made))
        sys.stdout.flush()
        return
    try:
        asked.to.parent.mkdir(parents=True, exist_ok=True)
        _beside(asked.to, f"-table{suffix}").write_text(write(made), encoding="utf-8")
        _beside(asked.to, ".jsonl").write_text(compare.lines(results), encoding="utf-8")
        _draw(made, asked, chosen=figures is not None)
    except OSError as error:
        raise DataError(f"--to {asked.to}: cannot be written: {error.strerror}\ntry  another name") from error


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _draw(made: Sequence[sheet.Sheet], asked: argparse.Namespace, chosen: bool) -> None:
    """The pictures of each corpus; ``chosen``: the columns are those that were asked for."""
    from lvexp.report import along, plane

    kind = asked.picture or "png"
    dates: dict[str, Any] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    for one in made:
        corpus = "-" + re.sub(r"\W+", "-", one.table.corpus).strip("-") if len(made) > 1 else ""
        priced = plane.priced(one.table)
        if priced:
            figure = plane.picture(one.table, named=len(made) > 1)
            figure.savefig(_beside(asked.to, f"{corpus}.{kind}"), dpi=150, metadata=dates[kind])
        else:
            _note(f"{one.table.corpus}: no run has a rate, so no picture")
        if asked.along is not None and (priced or chosen):
            varied = along.along_figure(
                one.table, asked.along, _words(asked.lines or ""), one.columns if chosen else None
            )
            varied.savefig(_beside(asked.to, f"-along{corpus}.{kind}"), dpi=150, metadata=dates[kind])


def _beside(to: Path, end: str) -> Path:
    return to.with_name(to.name + end)


def _note(text: str) -> None:
    print(f"note: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
