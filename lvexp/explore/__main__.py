"""Opens finished runs on a page of this machine, or writes a sweep as one HTML file: ``python -m lvexp.explore``."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from lvexp.explore.server import Server
from lvexp.explore.shelf import Shelf
from lvexp.job import command

_EXAMPLES = """\
  python -m lvexp.explore outputs                               a page in the browser, until Ctrl-C
  python -m lvexp.explore outputs --port 8765 --no-browser      for a tunnel: ssh -L 8765:127.0.0.1:8765 MACHINE
  python -m lvexp.explore outputs/remedies --to remedies.html   one file with tables, curves, pictures and samples
"""


def main() -> None:
    """The entry point, see :func:`lvexp.job.command.carry_out`."""
    command.carry_out("explore", lambda: _explore(_arguments(sys.argv[1:])))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = command.parser("explore", __doc__, _EXAMPLES)
    parser.add_argument("folder", help="of finished runs, at any depth")
    parser.add_argument("--port", type=int, default=0, help="of the page; 0 for any that is free (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="print the address only")
    parser.add_argument("--to", metavar="FILE", type=Path, help="write an HTML file instead")
    parser.add_argument("--trust", nargs="*", default=(), metavar="CLASS", help="own classes that runs may import")
    return parser.parse_args(words)


def _explore(asked: argparse.Namespace) -> None:
    shelf = Shelf(asked.folder)
    if asked.to is not None:
        from lvexp.explore import mail

        mail.write(shelf, asked.to)
        return
    # a shell starts what is in the background with interrupts ignored, which would leave only a kill
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with Server(shelf, asked.trust, asked.port) as server, contextlib.suppress(KeyboardInterrupt):
        print(f"{shelf.root}\n{server.url}\nCtrl-C ends it", flush=True)
        if not asked.no_browser:
            webbrowser.open(server.url)
        server.serve_forever()


if __name__ == "__main__":
    main()
