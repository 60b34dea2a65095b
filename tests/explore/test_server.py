"""The page's server without a browser: whom it answers, and what of the disk it shows."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from helpers import Said
from results import result, write

from lvexp.errors import ConfigError, RunError
from lvexp.explore import __main__ as explore
from lvexp.explore import mail, server
from lvexp.explore.shelf import Shelf

#: one pixel
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f0005fe02fea135"
    "81840000000049454e44ae426082"
)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two groups of runs, made up, and a secret beside their folder."""
    made = [
        *(result("a", seed, ["anneal=linear"], nll=30.0 + seed, rate=2.0, distortion=28.0) for seed in (1, 2)),
        result("b", 1, ["model=rnnlm"], nll=29.0),
    ]
    folder = write(tmp_path / "outputs" / "small", made)
    for run in folder.iterdir():
        (run / "figures").mkdir()
        (run / "figures" / "curves.png").write_bytes(PNG)
        (run / "samples.txt").write_text("a <b>sample</b> & more\n")
        (run / "metrics.csv").write_text("step,train/rate,val/nelbo\n1,0.5,\n2,0.7,40.0\n3,nan,39.0\n")
    secret = write(tmp_path / "elsewhere", [result("c", 1, nll=1.0)]) / "svae-c1"
    (secret / "samples.txt").write_text("secret")
    return tmp_path / "outputs"


def test_the_table_has_a_row_for_each_group_with_its_seeds(runs: Path, serve, request_to):
    status, found = request_to(serve(runs), "tables")
    assert status == 200
    (table,) = found["tables"]
    first, second = table["rows"]
    assert [first["name"], second["name"]] == ["model=rnnlm", "anneal=linear"]
    assert [run["seed"] for run in second["runs"]] == [1, 2]
    at = [column["key"] for column in table["columns"]].index("nll")
    assert second["values"][at] == 31.5
    assert second["cells"][at] == "31.50 ± 0.71"
    assert found["sweeps"] == ["small"]


def test_a_sweep_is_shown_alone(runs: Path):
    write(runs / "other", [result("d", 1, ["model=ae"], nll=3.0)])
    assert len(Shelf(runs).tables("small")["tables"][0]["rows"]) == 2
    assert len(Shelf(runs).tables("other")["tables"][0]["rows"]) == 1
    assert len(Shelf(runs).tables("othe")["tables"]) == 0


def test_hidden_folders_are_not_searched(runs: Path):
    known = Shelf(runs).runs()
    write(runs / ".kept", [result("e", 1, ["model=ae"], nll=3.0)])
    assert list((runs / ".kept").rglob("result.json"))
    assert Shelf(runs).runs() == known != []


def test_curves_of_several_runs_leave_out_what_is_not_finite(runs: Path, serve, request_to):
    asked = urlencode({"runs": "small/svae-a1\nsmall/svae-b1"})
    _, found = request_to(serve(runs), f"curves?{asked}")
    assert [*found] == ["val/nelbo", "train/rate"]
    assert found["val/nelbo"][0] == {"name": "anneal=linear", "x": [2, 3], "y": [40.0, 39.0]}
    assert found["train/rate"][1] == {"name": "model=rnnlm", "x": [1, 2], "y": [0.5, 0.7]}


def test_a_run_has_its_report_pictures_and_samples(runs: Path, serve, request_to):
    page = serve(runs)
    _, found = request_to(page, "run?run=small/svae-a1")
    assert found["pictures"] == ["curves"]
    assert found["samples"].startswith("a <b>sample</b>")
    assert request_to(page, "picture?run=small/svae-a1&name=curves") == (200, PNG)
    _, texts = request_to(page, "texts?" + urlencode({"runs": "small/svae-a1\nsmall/svae-a2"}))
    assert [text["name"] for text in texts] == ["svae, seed 1", "svae, seed 2"]


def test_the_page_and_its_parts_are_there(runs: Path, serve, request_to):
    page = serve(runs)
    for name, content in (("", b"<!doctype html>"), ("page.js", b"use strict"), ("page.css", b"body {")):
        status, found = request_to(page, name)
        assert status == 200
        assert content in found
    status, found = request_to(page, "plotly.js")
    assert status == 200
    assert len(found) > 10**6


def test_a_run_that_is_damaged_or_diverged_is_named_and_left_out(runs: Path, serve, request_to):
    (runs / "small" / "svae-b1" / "result.json").write_text("{")
    broken = {**result("e", 1), "status": "failed", "verdict": "diverged: not finite"}
    write(runs / "bad", [broken])
    _, found = request_to(serve(runs), "tables")
    assert len(found["tables"][0]["rows"]) == 1
    assert any("svae-b1" in note and "not JSON" in note for note in found["notes"])
    assert any("diverged" in note for note in found["notes"])


# --- whom it answers ---------------------------------------------------------------------------------------------


def test_it_listens_on_the_loopback_interface_alone(runs: Path, serve):
    page = serve(runs)
    assert page.server_address[0] == "127.0.0.1"
    mine = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in mine - {"127.0.0.1", "127.0.1.1"}:
        with pytest.raises(ConnectionRefusedError, match="refused"):
            socket.create_connection((address, page.server_port), timeout=2)
    assert "--host" not in explore._arguments(["x"]).__dict__


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("localhost:8765", 200),  # a tunnel with a port of its own
        ("evil.example:{port}", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example:{port}", 403),
        ("", 403),
    ],
)
def test_a_name_that_was_bent_to_this_machine_is_refused(runs: Path, serve, request_to, host: str, status: int):
    page = serve(runs)
    assert request_to(page, "tables", Host=host.format(port=page.server_port))[0] == status


def test_pages_from_elsewhere_are_refused(runs: Path, serve, request_to):
    page = serve(runs)
    question = {"run": "small/svae-a1", "tool": "open"}
    for origin in ("http://evil.example", "null"):
        assert request_to(page, "ask", question, Origin=origin)[0] == 403
    assert request_to(page, "ask", question, Content_Type="text/plain")[0] == 404  # which needs no leave to be sent
    for path in ("/", "/tables", f"/{'x' * 16}/tables", "//tables"):
        assert request_to(page, path)[0] == 404


def test_the_page_may_load_nothing_from_elsewhere(runs: Path, serve):
    import http.client

    page = serve(runs)
    connection = http.client.HTTPConnection("127.0.0.1", page.server_port)
    connection.request("GET", f"/{page.secret}/")
    answer = connection.getresponse()
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert b"http" not in answer.read().replace(b"https://www.w3.org", b"")
    assert answer.headers["Access-Control-Allow-Origin"] is None
    connection.close()


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b'{"run": 3}', b'{"tool": "map"}'])
def test_a_broken_question_is_answered_in_a_line(runs: Path, serve, request_to, content: bytes):
    status, found = request_to(serve(runs), "ask", content)
    assert status == 400
    assert found["error"]
    assert "Traceback" not in found["error"]


def test_a_long_question_is_refused(runs: Path, serve, request_to):
    assert request_to(serve(runs), "ask", b"1", Content_Length=str(server.LONGEST + 1))[0] == 413


# --- what of the disk it shows -----------------------------------------------------------------------------------

_PATHS = (
    "../elsewhere/svae-c1",
    "small/../../elsewhere/svae-c1",
    "{outside}",
    "small/linked",
    "linked",
    "nowhere",
    "\0",
)


@pytest.mark.parametrize("path", _PATHS)
@pytest.mark.parametrize("asked", ["run?run={}", "picture?run={}&name=curves", "curves?runs={}", "texts?runs={}"])
def test_nothing_outside_the_folder_is_shown(runs: Path, serve, request_to, path: str, asked: str):
    outside = runs.parent / "elsewhere" / "svae-c1"
    (runs / "linked").symlink_to(outside.parent)
    (runs / "small" / "linked").symlink_to(outside)
    path = path.format(outside=outside)
    page = serve(runs)
    status, found = request_to(page, asked.format(quote(path, safe="")))
    assert status == 400
    assert "there is no" in found["error"]
    status, found = request_to(page, "ask", {"run": path, "tool": "open"})
    assert status == 400
    assert "there is no" in found["error"]
    _, found = request_to(page, "tables")
    assert "svae-c1" not in json.dumps(found)


def test_a_file_of_a_run_that_leads_out_of_the_folder_is_not_there(runs: Path, serve, request_to):
    run, outside = runs / "small" / "svae-a1", runs.parent / "elsewhere" / "svae-c1"
    for name in ("samples.txt", "figures/curves.png"):
        (run / name).unlink()
        (run / name).symlink_to(outside / "samples.txt")
    (run / "checkpoints").symlink_to(outside)
    (outside / "best.ckpt").write_text("x")
    page = serve(runs)
    _, found = request_to(page, "run?run=small/svae-a1")
    assert found["samples"] == ""
    assert found["pictures"] == []
    for name in ("curves", "../samples", "../../../../elsewhere/svae-c1/samples"):
        assert request_to(page, f"picture?run=small/svae-a1&name={quote(name)}")[0] == 400
    status, found = request_to(page, "ask", {"run": "small/svae-a1", "tool": "open"})
    assert status == 400
    assert "best.ckpt" in found["error"]


def test_a_pickle_is_not_loaded(runs: Path, serve, request_to, tmp_path: Path):
    import pickle

    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    folder = runs / "small" / "svae-a1" / "checkpoints"
    folder.mkdir()
    (folder / "best.ckpt").write_bytes(pickle.dumps(Trap()))
    status, found = request_to(serve(runs), "ask", {"run": "small/svae-a1", "tool": "open"})
    assert status == 400
    assert "this checkpoint is damaged" in found["error"]
    assert not (tmp_path / "sprung").exists()


# --- many runs, the command, the file ----------------------------------------------------------------------------


def test_the_time_of_a_table_grows_no_faster_than_its_runs(tmp_path: Path):
    """Sixteen times the runs: quadratic growth would take 256 times as long."""
    made = [result(f"{group:03}", seed, [f"latent.dim={group}"], nll=30.0) for group in range(512) for seed in (1, 2)]
    taken = {}
    for name, some in (("few", made[:64]), ("many", made)):
        folder, times = write(tmp_path / name, some), []
        for _ in range(3):
            began = time.process_time()
            (table,) = Shelf(folder).tables()["tables"]
            times.append(time.process_time() - began)
        assert len(table["rows"]) == len(some) / 2
        taken[name] = min(times)
    assert taken["many"] < 64 * taken["few"]


def test_one_file_holds_a_sweep_and_asks_for_nothing(runs: Path, run_main: Callable[..., Said], tmp_path: Path):
    to = tmp_path / "sweep.html"
    assert run_main(explore.main, str(runs), "--to", str(to)).code == 0
    text = to.read_text()
    for part in ("31.50 ± 0.71", "anneal=linear", "a &lt;b&gt;sample&lt;/b&gt; &amp; more", 'data-value="31.5"'):
        assert part in text
    assert text.count("data:image/png;base64,") == 1 + 2  # the curves, and a picture of each group
    assert "http://" not in text
    assert "https://" not in text
    assert "src=" not in text.replace('src="data:', "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "nowhere: there is no such folder"),
        (["empty", "--to", "x.html"], "no finished runs found"),
        (["outputs", "--to", "no/x.html"], "--to no/x.html: cannot be written"),
        (["outputs", "--port", "70000"], "--port 70000: cannot be used"),
        (["outputs", "--port", "{taken}"], "cannot be used"),
    ],
)
def test_mistakes_get_one_message(runs: Path, monkeypatch, run_main: Callable[..., Said], words: list[str], said: str):
    monkeypatch.chdir(runs.parent)
    (runs.parent / "empty").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = run_main(explore.main, *(word.format(taken=taken.getsockname()[1]) for word in words))
    assert found.code == 2
    assert found.err.startswith("explore: ")
    assert said in found.err
    assert "Traceback" not in found.err


def test_without_plotly_the_extra_is_named(runs: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'lvexp\[explore\]'"):
        server.Server(Shelf(runs))


def test_the_command_prints_the_address_and_ends_with_ctrl_c(runs: Path):
    import signal
    import urllib.request

    words = [sys.executable, "-m", "lvexp.explore", str(runs), "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            folder, url = process.stdout.readline().strip(), process.stdout.readline().strip()
            with urllib.request.urlopen(f"{url}tables", timeout=30) as answer:
                found = json.load(answer)
            assert process.stdout.readline().startswith("Ctrl-C")
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()  # or leaving the block would wait for ever
    assert folder == str(runs)
    assert len(found["tables"][0]["rows"]) == 2
    assert (process.returncode, errors) == (0, "")


def test_of_very_many_curves_the_first_have_colours(tmp_path: Path):
    made = [result(str(number), 1, [f"latent.dim={number}"], nll=30.0 + number) for number in range(20)]
    folder = write(tmp_path / "many", made)
    for number, run in enumerate(folder.iterdir()):
        (run / "metrics.csv").write_text(f"step,val/nelbo\n1,{40 + number}\n2,{30 + number}\n")
    shelf = Shelf(folder)
    mail.write(shelf, tmp_path / "x.html")
    assert "Curves of 20 runs: the first 8 in colour, others grey." in (tmp_path / "x.html").read_text()
    figure = mail._drawn([*shelf.curves([f"svae-{number}1" for number in range(20)]).items()])
    (axes,) = figure.axes
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [f"latent.dim={number}" for number in range(8)]
    assert len(axes.lines) == 8
    assert len(axes.collections[0].get_segments()) == 12
    low, high = axes.get_ylim()
    assert low < 30 < 59 < high


def test_no_file_is_made_where_there_is_no_run(tmp_path: Path):
    with pytest.raises(RunError, match="no finished runs found"):
        mail.write(Shelf(tmp_path), tmp_path / "x.html")
