"""Forms of words given their tags, by a finished run of model=msved: ``python -m lvexp.inflect RUN FILE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from lvexp.data import lines
from lvexp.errors import ConfigError, DataError
from lvexp.job import command

_EXAMPLES = """\
  python -m lvexp.inflect outputs/msved/msved-… words.tsv --to forms.txt    a word, a tab and its tags on each line
  python -m lvexp.inflect RUN words.txt --tags pos=N,case=DAT               the same tags for all words
  python -m lvexp.inflect RUN words.tsv --n-best 5                          the best forms, as a JSON list a line
"""


def main() -> None:
    """The entry point, see :func:`lvexp.job.command.carry_out`."""
    command.carry_out("inflect", lambda: _inflect(_arguments(sys.argv[1:])))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = command.parser("inflect", __doc__, _EXAMPLES)
    command.finished_run(parser)
    parser.add_argument("file", help="words, one a line, each with a tab and its tags; - for stdin")
    parser.add_argument("--tags", help="of all words; the lines hold the words alone then")
    parser.add_argument("--to", metavar="FILE", help="write there, instead of to standard output")
    parser.add_argument(
        "--beam", type=int, default=8, help="hypotheses of beam search; 1 decodes greedily (%(default)s)"
    )
    parser.add_argument("--n-best", type=int, metavar="N", help="the N best forms")
    parser.add_argument("--max-length", type=int, default=60, help="characters after which a form is cut (%(default)s)")
    return parser.parse_args(words)


def _inflect(asked: argparse.Namespace) -> None:
    words, tags = _read(asked.file, asked.tags)
    lines.writable("--to", asked.to)

    from lvexp.loading import load
    from lvexp.models.msved import MSVED

    run = load(asked.run, trust=asked.trust)
    if not isinstance(run.model, MSVED):
        raise ConfigError(f"{asked.run}: this run knows no tags of words\ntry  a run of model=msved")
    several = {} if asked.n_best is None else {"n_best": asked.n_best}
    beam = asked.beam if asked.n_best is None else max(asked.beam, asked.n_best)
    how: dict[str, Any] = {"method": "greedy"} if beam == 1 and not several else {"method": "beam", "beam": beam}
    with command.values():
        found = run.inflect(words, tags, asked.batch_size, max_length=asked.max_length, **how, **several)
    lines.write("--to", asked.to, (json.dumps(each, ensure_ascii=False) for each in found) if several else found)


def _read(file: str, tags: str | None) -> tuple[list[str], list[str]]:
    """The words of a file, and the tags of each."""
    found = [str(line) for line in lines.read(file)]
    if tags is not None:
        return found, [tags] * len(found)
    for number, line in enumerate(found, 1):
        if line.count("\t") != 1:
            raise DataError(
                f"{file}:{number}: is no word, tab and tags: {line!r}\ntry  WORD<tab>KEY=VALUE | --tags TAGS"
            )
    pairs = [line.split("\t") for line in found]
    return [word for word, _ in pairs], [given for _, given in pairs]


if __name__ == "__main__":
    main()
