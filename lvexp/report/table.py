"""The report on the terminal: one run's figures, and the closing table of a multirun. Free of torch."""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lvexp.report.findings import NONE, number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH, NARROW, SUMMARY_WIDTH = 80, 72, 100
UNKNOWN = 0.1  # share of <unk> from which it is spoken of
#: how a verdict begins → its colour and, for terminals without colour, its sign
VERDICTS = {
    "healthy": ("bold green", "✓"),
    "weak": ("bold yellow", "!"),
    "ignores z": ("bold red", "✗"),
    "collapsed": ("bold red", "✗"),
    "diverged": ("bold red", "✗"),
}
STATUSES = {"done": "green", "resumed": "green", "skipped": "dim", "refused": "yellow", "failed": "bold red"}

Scores = Mapping[str, Any]


def on_output() -> Console:
    """A console on standard output; where that is no terminal, lines are as long as they are."""
    from rich.console import Console

    return Console(soft_wrap=not sys.stdout.isatty())


def show(result: Mapping[str, Any], console: Console) -> None:
    """Prints a run's figures on the test set, each with its unit and how it was measured, and the verdict.

    Args:
        result: as :class:`lvexp.report.result.Result` describes it, with the run's ``folder`` where there is one.
        console: to print on; 60 columns are enough, and colour is not needed.
    """
    from rich.console import Group as Stack
    from rich.padding import Padding
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    scores: Scores = result.get("test") or {}
    width = min(console.width, WIDTH)
    parts: list[Any] = [_verdict(str(result.get("verdict") or "")), ""]
    table = Table.grid(padding=(0, 2, 0, 0))
    narrow = width < NARROW  # then how a figure was measured stands below it
    table.add_column(no_wrap=not narrow)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    for place, (title, rows) in enumerate(_groups(result.get("groups") or (), scores)):
        if place:
            table.add_row()
        table.add_row(Text(title, style="bold"))
        for name, value, unit, how in rows:
            table.add_row(f"  {name}", Text(value, style="" if value == NONE else "bold"), unit, "" if narrow else how)
            if narrow and how:
                table.add_row(Padding(Text(how, style="dim"), (0, 0, 0, 4)))
    parts.append(table)
    for note in _notes(scores, str(result.get("verdict") or "")):
        parts += ["", Text(note, style="yellow")]
    panel = Panel(
        Stack(*parts),
        title=Text(f"{result.get('run_id', 'run')} on the test set"),
        title_align="left",
        subtitle=Text(_footer(result, width - 6)),
        subtitle_align="left",
        width=width,
        padding=(1, 1),
    )
    console.print(panel, highlight=False, soft_wrap=False)
    if result.get("folder"):
        # never wrapped or cut: it is there to be copied
        console.print(Text(f"all of it in  {result['folder']}"), soft_wrap=True, highlight=False)


def _groups(groups: Sequence[Any], scores: Scores) -> list[Any]:
    """The parts of the table. A result of an older version lacks those of the usual report: its figures follow by the
    names they have in result.json."""
    rows = [
        (name, number(value, ".2f" if isinstance(value, float) else ",d"), "", "")
        for name, value in scores.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    ]
    old = not any(title == "Bound" for title, _ in groups)
    return [*groups, *([("Figures", rows)] if old and rows else [])]


def _notes(scores: Scores, verdict: str) -> list[str]:
    """What a reader of the figures should know beside them."""
    notes = []
    if verdict.startswith("healthy") and scores.get("tokens") != 0:
        notes.append(
            "healthy means that z is used; for how good the model is, compare its NLL with that of model=rnnlm."
        )
    if (scores.get("unk") or 0.0) >= UNKNOWN:
        notes.append(
            f"{scores['unk']:.0%} of the test set is <unk>, which is easy to predict and to copy: NLL, perplexity and "
            "BLEU look better than they are. Try data.vocabulary.max_size=…, min_count=1 or kind=bpe"
        )
    return notes


def _verdict(verdict: str) -> Text:
    from rich.text import Text

    for start, (style, sign) in VERDICTS.items():
        if verdict.startswith(start):
            return Text(f"{sign} {verdict}", style=style)
    return Text(verdict, style="bold cyan")


def _footer(result: Mapping[str, Any], width: int) -> str:
    """How the run went, as much of it as there is room for."""
    parts = [str(result["status"])] if result.get("status") else []
    if result.get("seed") is not None:
        parts.append(f"seed {result['seed']}")
    if result.get("commit"):
        # "+" tells of files that differ from the commit
        commit = str(result["commit"])
        parts.append(f"commit {commit[:9]}" + ("+" if commit.endswith("+") and len(commit) > 9 else ""))
    if result.get("seconds") is not None:
        parts.append(_duration(float(result["seconds"])))
    if result.get("tokens_per_second") is not None:
        parts.append(f"{result['tokens_per_second']:,.0f} tokens/s")
    while len(" · ".join(parts)) > width:
        parts.pop()
    return " · ".join(parts)


def summary(jobs: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Prints the closing table of a multirun: a row for each job, whatever became of it.

    Args:
        jobs: results in order, each with ``number`` where it is not its place; ``message`` says why a job was refused
            or failed.
        console: to print on; 100 columns are enough.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    common = _common([list(job.get("overrides") or []) for job in jobs])
    table = Table(box=box.SIMPLE_HEAD, width=min(console.width, SUMMARY_WIDTH), padding=0)
    table.add_column("job", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("overrides", ratio=1, overflow="fold")
    for name in ("NLL", "ppl", "R", "MI", "AU", "BLEU", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for place, job in enumerate(jobs):
        scores: Scores = job.get("test") or {}
        status = str(job.get("status", NONE))
        own = " ".join(override for override in job.get("overrides") or [] if override not in common)
        told = Text(own or "(defaults)", style="" if own else "dim")
        seconds = job.get("seconds")
        perplexities = (scores.get(key) for key in ("ppl_marginal", "ppl_iw", "ppl"))
        perplexity = next((value for value in perplexities if value is not None), None)
        table.add_row(
            str(job.get("number", place)),
            Text(status, style=STATUSES.get(status, "")),
            told,
            number(scores.get("nll"), ".2f"),
            number(perplexity, ".1f"),
            number(scores.get("rate"), ".2f"),
            number(scores.get("mi"), ".2f"),
            number(scores.get("active_units"), "d"),
            number(scores.get("recon_bleu"), ".1f"),
            NONE if seconds is None else _duration(float(seconds)),
        )
    console.print(table, highlight=False, soft_wrap=False)
    counted = Counter(str(job.get("status", NONE)) for job in jobs)
    known = [status for status in STATUSES if counted[status]]
    line = f"{len(jobs)} jobs: " + ", ".join(f"{counted[status]} {status}" for status in known)
    console.print(Text(line), highlight=False)
    for place, job in enumerate(jobs):
        if job.get("status") in ("refused", "failed") and job.get("message"):
            line = f"job {job.get('number', place)} {job['status']}: {_gist(str(job['message']))}"
            console.print(Text(line, style=STATUSES[job["status"]]), highlight=False)
    if common:
        console.print(Text(f"in all of them: {' '.join(common)}", style="dim"), highlight=False)
    console.print(Text("NLL, R and MI in nats per text, on the test set", style="dim"), highlight=False)


def _common(overrides: Sequence[Sequence[str]]) -> list[str]:
    """What every job was given; nothing where there is one job only."""
    if len(overrides) < 2:
        return []
    return [override for override in overrides[0] if all(override in others for others in overrides[1:])]


def _gist(message: str) -> str:
    """What was wrong, in one line, without the advice."""
    wrong = itertools.takewhile(lambda line: not line.startswith(("try", "or ")), message.strip().splitlines())
    lines = [" ".join(line.split()) for line in wrong]
    return lines[0] if len(lines) == 1 else "; ".join(lines[1:]) or lines[0]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d}"
