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
  python -m lvexp.transfer outputs/control/control-… reviews.txt --class positive --to written.txt
  python -m lvexp.transfer RUN reviews.txt --class sentiment=positive --class tense=past
  … | python -m lvexp.transfer RUN - --class positive             texts from standard input
"""


def main() -> None:
    """The entry point, see :func:`lvexp.job.command.carry_out`."""
    command.carry_out("transfer", lambda: _transfer(_arguments(sys.argv[1:])))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = command.parser("transfer", __doc__, _EXAMPLES)
    command.finished_run(parser)
    parser.add_argument("file", help="texts, one a line, prepared as those of training; - for stdin")
    parser.add_argument(
        "--class", dest="classes", action="append", required=True, metavar="CLASS",
        help="the class to write, or ATTRIBUTE=CLASS; one for each attribute",
    )  # fmt: skip
    parser.add_argument("--to", metavar="FILE", help="write there, instead of to standard output")
    parser.add_argument(
        "--beam", type=int, default=1, help="hypotheses of beam search; 1 decodes greedily (%(default)s)"
    )
    parser.add_argument("--max-length", type=int, default=100, help="tokens after which a text is cut (%(default)s)")
    return parser.parse_args(words)


def _transfer(asked: argparse.Namespace) -> None:
    if asked.file.endswith(".npy"):
        raise ConfigError(f"{asked.file}: holds feature vectors, not texts\ntry  one text a line")
    texts = lines.read(asked.file)
    lines.writable("--to", asked.to)

    from lvexp.loading import load
    from lvexp.models.attributes import AttributeModel

    run = load(asked.run, trust=asked.trust)
    if not isinstance(run.model, AttributeModel):
        raise ConfigError(f"{asked.run}: this run knows no classes of texts\ntry  a run of model=control | model=m2")
    how: dict[str, Any] = {"method": "greedy"} if asked.beam == 1 else {"method": "beam", "beam": asked.beam}
    with command.values():
        written = run.transfer(texts, _chosen(asked.classes), asked.batch_size, max_length=asked.max_length, **how)
    lines.write("--to", asked.to, written)


def _chosen(typed: Sequence[str]) -> str | dict[str, str]:
    if len(typed) == 1 and "=" not in typed[0]:
        return typed[0]
    if bare := [word for word in typed if "=" not in word]:
        raise ConfigError(f"--class {bare[0]}: of several, each names its attribute\ntry  --class ATTRIBUTE={bare[0]}")
    pairs = [word.split("=", 1) for word in typed]
    names = [name for name, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(
            f"--class {twice[0]}=…: given {names.count(twice[0])} times\ntry  one class for each attribute"
        )
    return dict(pairs)


if __name__ == "__main__":
    main()
