"""The table of a report from bare scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lvexp.instruments.bound import Bound
from lvexp.instruments.evaluate import shipped
from lvexp.instruments.likelihood import Likelihood
from lvexp.instruments.samples import Samples
from lvexp.report.findings import Group, Row


def grouped(scores: Mapping[str, Any]) -> list[Group]:
    """The parts of the table that the usual instruments make of a sentence model's scores."""
    made = [part for part in shipped() if hasattr(part, "rows") and part.__name__ not in ("Sampler", "Toy")]
    if scores.get("hole") is None:
        made = [part for part in made if part.__name__ != "Hole"]
    if scores.get("latent_dim") is None:
        made = [Bound, Likelihood, Samples]
    if scores.get("rate") is None:
        made = [part for part in made if part.__name__ != "Information"]
    if scores.get("active_units") is None and scores.get("code_perplexity") is not None:
        made = [part for part in made if part.__name__ != "Units"]
    groups: dict[str, list[Row]] = {}
    for part in made:
        title, rows = part.rows(scores)
        groups.setdefault(title, []).extend(rows)
    return [(title, rows) for title, rows in groups.items() if rows]
