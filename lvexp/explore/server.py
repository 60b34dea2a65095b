"""The page's server: on the loopback interface only, for one folder. Free of torch until a model is asked.

Answers are given to requests for 127.0.0.1 or localhost alone, whatever the name resolved to (DNS rebinding), and under
a path that holds a random word, which other users of the machine do not know. Questions are JSON; a page from elsewhere
cannot send that without asking first, and is refused then.
"""

from __future__ import annotations

import http.server
import importlib.resources
import importlib.util
import json
import secrets
import sys
import threading
import urllib.parse
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from lvexp.errors import ConfigError, LvexpError
from lvexp.explore.shelf import Shelf

#: of a question, bytes
LONGEST = 1 << 20
_NAMES = ("127.0.0.1", "localhost")
_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css", "png": "image/png"}
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin", "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store",
}  # fmt: skip


def plotly() -> Path:
    """plotly.js, as the Python package brings it; the package itself is not imported.

    Raises:
        ConfigError: it is not installed.
    """
    spec = importlib.util.find_spec("plotly")
    file = None if spec is None or spec.origin is None else Path(spec.origin).parent / "package_data" / "plotly.min.js"
    if file is None or not file.is_file():
        raise ConfigError("plotly is not installed\ntry  pip install 'lvexp[explore]'")
    return file


class Server(http.server.ThreadingHTTPServer):
    """Serves the runs of a folder.

    Args:
        shelf: the runs. trust: full names of own classes that runs may import. port: 0 for any that is free.

    Raises:
        ConfigError: the port is taken, or plotly is not installed.
    """

    daemon_threads = True

    def __init__(self, shelf: Shelf, trust: Collection[str] = (), port: int = 0):
        self.shelf, self.trust, self.plotly = shelf, trust, plotly()
        self.secret, self.asking = secrets.token_urlsafe(12), threading.Lock()
        self.rooms: Any = None  # opened runs, from the first question on
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(f"--port {port}: cannot be used: {error}\ntry  --port 0, for any that is free") from error

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/{self.secret}/"

    def ask(self, question: dict[str, Any]) -> Any:
        """The answer of a run's model; one at a time."""
        with self.asking:
            if self.rooms is None:
                from lvexp.explore.tools import Rooms

                self.rooms = Rooms(self.shelf, self.trust)
            return self.rooms.ask(question)

    def get(self, path: str, asked: dict[str, str]) -> Any:
        """The answer to a question that needs no model."""
        shelf, run = self.shelf, asked.get("run", "")
        answers: dict[str, Callable[[], Any]] = {
            "tables": lambda: shelf.tables(asked.get("under", "")),
            "run": lambda: shelf.page(run),
            "curves": lambda: shelf.curves(asked["runs"].split("\n")),
            "texts": lambda: [
                {"id": one, "name": name, "text": shelf.text(one, "samples.txt")}
                for one, name in shelf.labels(asked["runs"].split("\n")).items()
            ],
        }
        return answers[path]()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Says nothing of browsers that hang up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = 60
    server_version, sys_version = "lvexp", ""

    def do_GET(self) -> None:
        path, asked = self._asked()
        if path is None:
            return
        static = {"": "page.html", "page.js": "page.js", "page.css": "page.css"}
        if path in static:
            file = importlib.resources.files("lvexp.explore") / static[path]
            self._send(200, file.read_bytes(), _TYPES[static[path].rpartition(".")[2]])
        elif path == "plotly.js":
            self._send(200, self.server.plotly.read_bytes(), _TYPES["js"])
        elif path == "picture":
            self._answer(lambda: self._picture(asked.get("run", ""), asked.get("name", "")))
        elif path in ("tables", "run", "curves", "texts"):
            self._answer(lambda: self.server.get(path, asked))
        else:
            self._send(404, b"there is no such page", "text/plain")

    def do_POST(self) -> None:
        path, _ = self._asked()
        if path is None:
            return
        length = self.headers.get("Content-Length", "")
        if path != "ask" or self.headers.get_content_type() != "application/json":
            self._send(404, b"questions are JSON", "text/plain")
        elif not length.isdecimal() or int(length) > LONGEST:
            self._send(413, b"the question is too long", "text/plain")
        else:
            content = self.rfile.read(int(length))
            self._answer(lambda: self.server.ask(_question(content)))

    def _asked(self) -> tuple[str | None, dict[str, str]]:
        """What is asked for, below the secret; None if the request was refused."""
        host = urllib.parse.urlsplit(f"//{self.headers.get('Host', '')}").hostname
        origin = self.headers.get("Origin")
        url = urllib.parse.urlsplit(self.path)
        first, _, path = url.path.lstrip("/").partition("/")
        if host not in _NAMES or (origin and urllib.parse.urlsplit(origin).hostname not in _NAMES):
            self._send(403, b"this page is for this machine alone", "text/plain")
        elif not secrets.compare_digest(first.encode(), self.server.secret.encode()):
            self._send(404, b"not found: the address is printed where the page was started", "text/plain")
        else:
            return path, dict(urllib.parse.parse_qsl(url.query))
        return None, {}

    def _picture(self, run: str, name: str) -> bytes:
        shelf = self.server.shelf
        if name not in shelf.pictures(run):
            raise ConfigError(f"{run}: there is no such picture")
        return shelf.file(run, f"figures/{name}.png").read_bytes()

    def _answer(self, make: Callable[[], Any]) -> None:
        """Sends an answer, or why there is none, in one line; an error that nobody foresaw is printed as well."""
        try:
            found = make()
        except (LvexpError, ValueError, TypeError, KeyError) as error:
            expected = isinstance(error, LvexpError | ValueError)
            self._failed(400, str(error) if expected else "the question is incomplete", None if expected else error)
        except Exception as error:
            self._failed(500, f"{type(error).__name__}: {error}".partition("\n")[0], error)
        else:
            if isinstance(found, bytes):
                self._send(200, found, _TYPES["png"])
            else:
                text = json.dumps(found, ensure_ascii=False, allow_nan=False)
                self._send(200, text.encode(), "application/json")

    def _failed(self, code: int, said: str, error: Exception | None) -> None:
        if error is not None:
            self.log_error("%s: %r", self.path.rpartition("/")[2], error)
        self._send(code, json.dumps({"error": said}).encode(), "application/json")

    def _send(self, code: int, content: bytes, kind: str) -> None:
        self.send_response(code)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind if kind == "image/png" else f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        """Nothing: requests are no news."""

    def log_error(self, format: str, *values: Any) -> None:
        print("explore: " + format % values, file=sys.stderr)


def _question(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("a question is a JSON object")
    return found
