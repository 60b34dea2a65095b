"""``samples.txt``: what the model writes, for a reader."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from lvexp.report.findings import Section

WIDTH = 100


def samples_text(verdict: str, sections: Iterable[Section]) -> str:
    """The texts of a report, under the verdict."""
    parts = [verdict]
    for section in sections:
        parts += ["", section.title, "=" * len(section.title)]
        parts += [*textwrap.wrap(section.explanation, WIDTH), ""] if section.explanation else []
        parts += [_entry(label, text) if label or text else "" for label, text in section.lines]
    return "\n".join(_single_gaps(parts)) + "\n"


def _entry(label: str, text: str) -> str:
    """A labelled text; lines that are too long go on below its start."""
    return textwrap.fill(
        text or "(empty)",
        WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_long_words=False,
        break_on_hyphens=False,
        # the texts are shown as they are
        replace_whitespace=False,
        drop_whitespace=True,
    )


def _single_gaps(lines: Iterable[str]) -> list[str]:
    kept: list[str] = []
    for line in lines:
        if line or (kept and kept[-1]):
            kept.append(line)
    while kept and not kept[-1]:
        kept.pop()
    return kept
