"""``samples.txt``: what the model writes, for a reader."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lvexp.instruments.evaluate import Evaluation

WIDTH = 100


def samples_text(evaluation: Evaluation) -> str:
    """Samples, reconstructions and interpolations of an evaluation; kinds that the model has none of are left out."""
    parts = [evaluation.verdict]
    for title, lines in evaluation.findings.texts.items():
        parts += ["", title, "=" * len(title), *(_entry("", line) for line in lines)]
    latent = evaluation.means is not None or evaluation.assigned is not None
    middle = "posterior means" if evaluation.assigned is None else "posteriors' modes"
    if evaluation.samples:
        drawn = "decoded from draws of the prior" if latent else "drawn from the model"
        width = len(str(len(evaluation.samples)))
        parts += _heading("Samples", f"texts {drawn}")
        parts += [_entry(f"{number:>{width}}  ", text) for number, text in enumerate(evaluation.samples, 1)]
    if evaluation.reconstructions:
        exact = sum(text == copy for text, copy in evaluation.reconstructions)
        parts += _heading(
            "Reconstructions",
            f"texts, and the greedy decodings of their {middle}; {exact} of {len(evaluation.reconstructions)} "
            "are exact, marked =",
        )
        for text, copy in evaluation.reconstructions:
            parts += [_entry("  ", text), _entry("= " if text == copy else "→ ", copy), ""]
    if evaluation.interpolations:
        parts += _heading("Interpolations", "greedy decodings along the line between two posterior means")
        for line in evaluation.interpolations:
            steps = max(len(line.path) - 1, 1)
            parts.append(_entry("from  ", line.ends[0]))
            parts += [_entry(f"{step / steps:4.2f}  ", text) for step, text in enumerate(line.path)]
            parts += [_entry("  to  ", line.ends[1]), ""]
    return "\n".join(_single_gaps(parts)) + "\n"


def _heading(title: str, explanation: str) -> list[str]:
    return ["", title, "=" * len(title), *textwrap.wrap(explanation, WIDTH), ""]


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
