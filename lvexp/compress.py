"""Shorter versions of texts, by a finished run of model=codec: ``python -m lvexp.compress RUN FILE``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from lvexp.data import lines
from lvexp.errors import ConfigError
from lvexp.job import command

_EXAMPLES = """\
  python -m lvexp.compress outputs/default/codec-… texts.txt --to short.txt    a text on each line
  python -m lvexp.compress RUN texts.txt --words 8                             eight words for each
  python -m lvexp.compress RUN texts.txt --share 0.4                           four tenths of each text's words
"""


def main() -> None:
    """The entry point, see :func:`lvexp.job.command.carry_out`."""
    command.carry_out("compress", lambda: _compress(_arguments(sys.argv[1:])))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = command.parser("compress", __doc__, _EXAMPLES)
    command.finished_run(parser)
    parser.add_argument("file", help="texts, one a line; - for stdin")
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--words", type=int, metavar="N", help="number of words of each; otherwise as it was trained")
    length.add_argument("--share", type=float, metavar="S", help="number of words, as a share of each text's")
    parser.add_argument("--to", metavar="FILE", help="write there, instead of to standard output")
    return parser.parse_args(words)


def _compress(asked: argparse.Namespace) -> None:
    texts = [str(line) for line in lines.read(asked.file)]
    lines.writable("--to", asked.to)

    from lvexp.loading import load
    from lvexp.models.codec import Codec

    run = load(asked.run, trust=asked.trust)
    if not isinstance(run.model, Codec):
        raise ConfigError(f"{asked.run}: this run makes texts no shorter\ntry  a run of model=codec")
    with command.values():
        found = run.compress(texts, asked.words, asked.share, asked.batch_size)
    lines.write("--to", asked.to, found)


if __name__ == "__main__":
    main()
