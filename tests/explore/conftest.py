from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import made
import pytest
from filelock import FileLock

pytest.importorskip("plotly", reason="the extra explore is not installed")

from lvexp.explore.server import Server
from lvexp.explore.shelf import Shelf


@pytest.fixture
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder that holds the run of a kind, which is trained once for all processes."""

    def folder(kind: str) -> Path:
        own = tmp_path_factory.getbasetemp()
        place = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "explored"
        place.mkdir(exist_ok=True)
        with FileLock(place / f"{kind}.lock"):
            (place / kind).mkdir(exist_ok=True)
            made.made(kind, made.corpus(place / kind), place / kind / "outputs")
        return place / kind / "outputs"

    return folder


@pytest.fixture
def serve() -> Iterator[Callable[[Path], Server]]:
    """Serves a folder until the test ends."""
    running: list[Server] = []

    def start(folder: Path) -> Server:
        server = Server(Shelf(folder))
        running.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return server

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def request_to() -> Callable[..., tuple[int, Any]]:
    """Sends a request as a browser would, and returns the status and the answer."""

    def send(server: Server, path: str, question: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        whole = path if path.startswith("/") else f"/{server.secret}/{path}"
        if question is None:
            connection.request("GET", whole, headers=headers)
        else:
            content = question if isinstance(question, bytes) else json.dumps(question).encode()
            connection.request("POST", whole, content, {"Content-Type": "application/json", **headers})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        kind = answer.headers.get_content_type()
        return answer.status, json.loads(content) if kind == "application/json" else content

    return send
