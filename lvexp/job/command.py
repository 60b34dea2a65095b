"""What the commands have in common: how they read their words, and what they print. Free of torch."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator

from lvexp.errors import ConfigError, LvexpError


def parser(name: str, about: str | None, examples: str) -> argparse.ArgumentParser:
    """The parser of ``python -m lvexp.NAME``."""
    return argparse.ArgumentParser(
        f"python -m lvexp.{name}", description=about, epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def finished_run(parser: argparse.ArgumentParser) -> None:
    """Adds what every command on a finished run asks for."""
    parser.add_argument("run", help="folder of a finished run, or a checkpoint")
    parser.add_argument("--batch-size", type=int, default=64, help="texts at a time (%(default)s)")
    parser.add_argument("--trust", nargs="*", default=(), metavar="CLASS", help="own classes that the run may import")


def seed(typed: str) -> int:
    """A number that torch takes as a seed."""
    if not 0 <= (number := int(typed)) < 2**63:
        raise argparse.ArgumentTypeError(f"{typed} is no seed: try  0, or any number below 2^63")
    return number


@contextlib.contextmanager
def values() -> Iterator[None]:
    """Values that a library rejects are mistakes in what was typed."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(str(error)) from error


def carry_out(name: str, act: Callable[[], None]) -> None:
    """Runs a command. Exit codes: 0 on success, 2 for a mistake in what was typed or a file that cannot be used."""
    try:
        act()
    except LvexpError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # the reader has what it wanted
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.exit(130)


def quiet() -> None:
    """Silences messages that do not concern the user: Lightning's greetings and its advice on loaders."""
    for name in ("lightning.pytorch", "lightning.fabric", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
