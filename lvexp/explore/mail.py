"""A sweep as one HTML file, for a mail or an archive: tables, curves, pictures and samples. It asks nothing of any
server. Free of torch."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvexp.errors import DataError, RunError
from lvexp.explore.shelf import Shelf
from lvexp.report.style import COLOURS, QUIET, dress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: groups of runs whose pictures and samples are in the file; the tables and curves hold all
SHOWN = 16
_CURVES = ("val/nelbo", "val/distortion", "val/rate", "val/mi", "val/active_units", "val/map_loss", "val/ppl_document")
_COLOURED = 2 * len(COLOURS)  # curves that all have a colour or dashes of their own; of more, the first ones have
_LINES = 40  # of the samples
_WIDE = 900  # pixels of a picture
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_STYLE = """
body { font: 14px/1.45 system-ui, "Segoe UI", sans-serif; color: #1d2329; max-width: 1100px;
  margin: 24px auto; padding: 0 16px }
table { border-collapse: collapse; margin-bottom: 16px } .scroll { overflow-x: auto }
th, td { padding: 3px 9px; text-align: left; border-bottom: 1px solid #dde2e6; vertical-align: top }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums } th { cursor: pointer }
.quiet { color: #69737d } img { max-width: 100%; margin: 6px 0 } pre { white-space: pre-wrap; font-size: 12px }
details { border-bottom: 1px solid #dde2e6; padding: 6px 0 } summary { cursor: pointer }
h2 { margin-top: 28px; font-size: 17px }
"""
_SORT = """
for (const head of document.querySelectorAll("th")) head.addEventListener("click", () => {
  const body = head.closest("table").tBodies[0], at = head.cellIndex;
  const up = head.dataset.up = head.dataset.up === "1" ? "0" : "1";
  const key = row => row.cells[at].dataset.value ?? row.cells[at].textContent, sign = up === "1" ? 1 : -1;
  body.append(...[...body.rows].sort((a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    return sign * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
  }));
});
"""


def write(shelf: Shelf, to: Path) -> None:
    """Writes the file.

    Raises:
        RunError: there is no finished run. DataError: the file cannot be written.
    """
    found = shelf.tables()
    if not found["tables"]:
        raise RunError(f"{shelf.root}: no finished runs found\ntry  the folder of a sweep, outputs/<name>")
    text = "\n".join(_page(shelf, found))
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"--to {to}: cannot be written: {error.strerror}\ntry  another name") from error


def _page(shelf: Shelf, found: Mapping[str, Any]) -> Iterator[str]:
    title = html.escape(shelf.root.name)
    yield f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}"><style>{_STYLE}</style></head><body>'
    yield f"<h1>{title}</h1><p class=quiet>Figures of the test set, mean ± sd over seeds; a click on a title sorts.</p>"
    for note in found["notes"]:
        yield f"<p class=quiet>left out: {html.escape(note)}</p>"
    for table in found["tables"]:
        yield f"<h2>{html.escape(table['corpus'])}</h2>"
        yield from _table(table)
        curves = shelf.curves([run["id"] for row in table["rows"] for run in row["runs"]])
        if any(name in curves for name in _CURVES):
            figure = _drawn([(name, curves[name]) for name in _CURVES if name in curves])
            count = len({curve["name"] for some in curves.values() for curve in some})
            if count > _COLOURED:
                yield f"<p class=quiet>Curves of {count:,} runs: the first {len(COLOURS)} in colour, others grey.</p>"
            yield f'<img alt="curves of the runs" src="{_embedded(_png(figure))}">'
    shown = [row for table in found["tables"] for row in table["rows"]]
    yield "<h2>Runs</h2>"
    if len(shown) > SHOWN:
        yield f"<p class=quiet>The first {SHOWN} of {len(shown)}, the first seed of each.</p>"
    for row in shown[:SHOWN]:
        yield from _run(shelf, row["runs"][0]["id"], row)
    yield f"<script>{_SORT}</script></body></html>"


def _table(table: Mapping[str, Any]) -> Iterator[str]:
    heads = "".join(f"<th class=n>{html.escape(column['label'])}</th>" for column in table["columns"])
    yield f"<div class=scroll><table><thead><tr><th>run</th><th>seeds</th>{heads}<th>verdict</th></tr></thead><tbody>"
    for row in table["rows"]:
        cells = "".join(
            f'<td class=n data-value="{"" if value is None else value}">{html.escape(cell)}</td>'
            for cell, value in zip(row["cells"], row["values"], strict=True)
        )
        name, verdict = html.escape(row["name"]), html.escape(row["verdict"])
        yield f"<tr><td>{name}</td><td>{len(row['runs'])}</td>{cells}<td class=quiet>{verdict}</td></tr>"
    yield "</tbody></table></div>"


def _run(shelf: Shelf, run: str, row: Mapping[str, Any]) -> Iterator[str]:
    page = shelf.page(run)
    yield f"<details><summary><b>{html.escape(row['name'])}</b> · {html.escape(page['verdict'])}</summary>"
    yield f"<p class=quiet>{html.escape(page['name'])}: {html.escape(' '.join(page['overrides']))}</p>"
    for name in page["pictures"]:
        yield f'<img alt="{html.escape(name)}" src="{_embedded(shelf.file(run, f"figures/{name}.png").read_bytes())}">'
    lines = page["samples"].splitlines()
    more = f"\n… {len(lines) - _LINES} more lines" if len(lines) > _LINES else ""
    yield f"<pre>{html.escape(chr(10).join(lines[:_LINES]) + more)}</pre></details>"


def _drawn(curves: Sequence[tuple[str, Sequence[Mapping[str, Any]]]]) -> Figure:
    """The curves of all runs over one another, a panel for each figure."""
    from matplotlib.collections import LineCollection
    from matplotlib.figure import Figure

    columns = min(3, len(curves))
    rows = -(-len(curves) // columns)
    names = list(dict.fromkeys(curve["name"] for _, some in curves for curve in some))
    named = names if len(names) <= _COLOURED else names[: len(COLOURS)]
    styles = {name: (COLOURS[at % len(COLOURS)], "--" if at >= len(COLOURS) else "-") for at, name in enumerate(named)}
    figure = Figure(figsize=(4.2 * columns, 2.9 * rows + 0.2 * len(named)), layout="constrained")
    for place, (title, some) in enumerate(curves, 1):
        axes = figure.add_subplot(rows, columns, place)
        dress(axes, title, "step", "")
        for curve in (curve for curve in some if curve["name"] in styles):
            colour, line = styles[curve["name"]]
            axes.plot(curve["x"], curve["y"], linewidth=1.2, label=curve["name"], color=colour, linestyle=line)
        others = [list(zip(curve["x"], curve["y"], strict=True)) for curve in some if curve["name"] not in styles]
        axes.add_collection(LineCollection(others, colors=QUIET, linewidths=0.5, zorder=1))
        axes.autoscale_view()
    handles = {
        label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower left", fontsize=8, frameon=False)
    return figure


def _png(figure: Figure) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=110, facecolor="white")
    return content.getvalue()


def _embedded(png: bytes) -> str:
    """A picture as a data URL, smaller and in few colours, which keep their hues: labels are told by them."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        plain = picture.convert("RGB")
        plain.thumbnail((_WIDE, 4 * _WIDE))
        content = io.BytesIO()
        plain.quantize(128, Image.Quantize.FASTOCTREE).save(content, format="PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
