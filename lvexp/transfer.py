"""Texts with another class, by a finished run of model=control or m2: ``python -m lvexp.transfer RUN FILE``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from lvexp.data import lines
from lvexp.errors import ConfigError
from lvexp.job import command

_EXAMPLES = """\
  python -m lvexp.transfer outputs/control/control-… reviews.txt --to positive
  python -m lvexp.transfer RUN reviews.txt --to sentiment=positive --to tense=past
  … | python -m lvexp.transfer RUN - --to positive                texts from standard input
"""


def main() -> None:
    """The entry point, see :func:`lvexp.job.command.carry_out`."""
    command.carry_out("transfer", lambda: _transfer(_arguments(sys.argv[1:])))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = command.parser("transfer", __doc__, _EXAMPLES)
    command.finished_run(parser)
    parser.add_argument("file", help="texts, one a line, prepared as those of training; - for stdin")
    parser.add_argument(
        "--to",
        action="append",
        required=True,
        metavar="CLASS",
        help="CLASS, or ATTRIBUTE=CLASS; one for each attribute",
    )
    parser.add_argument("--output", metavar="FILE", help="write there, instead of to standard output")
    parser.add_argument(
        "--beam", type=int, default=1, help="hypotheses of beam search; 1 decodes greedily (%(default)s)"
    )
    parser.add_argument("--max-length", type=int, default=100, help="tokens after which a text is cut (%(default)s)")
    return parser.parse_args(words)


def _transfer(asked: argparse.Namespace) -> None:
    texts = lines.read(asked.file)
    lines.writable("--output", asked.output)

    from lvexp.loading import load
    from lvexp.models.attributes import AttributeModel

    run = load(asked.run, trust=asked.trust)
    if not isinstance(run.model, AttributeModel):
        raise ConfigError(f"{asked.run}: this run knows no classes of texts\ntry  a run of model=control | model=m2")
    how: dict[str, Any] = {"method": "greedy"} if asked.beam == 1 else {"method": "beam", "beam": asked.beam}
    written = run.transfer(texts, _chosen(asked.to), asked.batch_size, max_length=asked.max_length, **how)
    lines.write("--output", asked.output, written)


def _chosen(typed: Sequence[str]) -> str | dict[str, str]:
    if len(typed) == 1 and "=" not in typed[0]:
        return typed[0]
    if bare := [word for word in typed if "=" not in word]:
        raise ConfigError(f"--to {bare[0]}: of several, each names its attribute\ntry  --to ATTRIBUTE={bare[0]}")
    return dict(word.split("=", 1) for word in typed)


if __name__ == "__main__":
    main()
