"""The figures of runs as columns: which there are, which matter for a kind of model, mean and deviation over seeds."""

from __future__ import annotations

import difflib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lvexp.errors import ConfigError

Result = Mapping[str, Any]
#: mean and standard deviation over seeds; one seed has no deviation. None: a run lacks the figure
Spread = tuple[float, float | None] | None


@dataclass(frozen=True)
class Column:
    """A figure in a table.

    Attributes:
        key: its name in ``test``, ``valid.NAME``, or one of :data:`COURSE`.
        label: the column's title.
        digits: after the point.
        higher: whether higher values are better.
    """

    key: str
    label: str
    digits: int = 2
    higher: bool = False


#: numbers of a result beside its figures
COURSE = ("seconds", "steps", "epochs", "tokens_per_second")
_KNOWN = {
    column.key: column
    for column in (
        Column("nll", "NLL"),
        Column("nelbo", "-ELBO"),
        Column("elbo", "ELBO", higher=True),
        Column("distortion", "D"),
        Column("rate", "R"),
        Column("mi", "MI", higher=True),
        Column("hole", "hole"),
        Column("active_units", "active", 1, higher=True),
        Column("recon_bleu", "BLEU", 1, higher=True),
        Column("bleu", "BLEU", 1, higher=True),
        Column("chrf", "chrF", 1, higher=True),
        Column("code_perplexity", "values in use"),
        Column("class_accuracy", "class accuracy", 3, higher=True),
        Column("map", "MAP", 4, higher=True),
        Column("mrr", "MRR", 4, higher=True),
        Column("map_combined", "MAP with counts", 4, higher=True),
        Column("ppl_document", "perplexity", 1),
        Column("ppl_iw_document", "perplexity, k draws", 1),
        Column("npmi", "NPMI", 3, higher=True),
        Column("topic_diversity", "diversity", 3, higher=True),
        Column("accuracy", "accuracy", 3, higher=True),
        Column("retrieval_10", "retrieval@10", 3, higher=True),
        *(Column(key, key, 0) for key in COURSE),
    )
}
_LATENT = ("rate", "mi", "active_units")
#: a figure that only models of one kind have → what matters for that kind, the first one most
_KINDS = {
    "map": ("map", "mrr", "map_combined", "nll", "rate", "mi"),
    "ppl_document": (
        "ppl_document",
        "ppl_iw_document",
        *_LATENT,
        "npmi",
        "topic_diversity",
        "accuracy",
        "retrieval_10",
    ),
    "bleu": ("nll", "nelbo", "distortion", *_LATENT, "bleu", "chrf"),
}
_SENTENCES = ("nll", "nelbo", "distortion", *_LATENT, "recon_bleu", "code_perplexity", "class_accuracy")


def figure(result: Result, key: str) -> Any:
    """A figure of one run; None if it has none of that name. ``nelbo`` is -``elbo``."""
    if key in COURSE:
        return result.get(key)
    split, dot, name = key.partition(".")
    if dot and split in ("test", "valid"):
        return _negated(result.get(split) or {}, name)
    return _negated(result["test"], key)


def _negated(scores: Mapping[str, Any], name: str) -> Any:
    if name == "nelbo" and name not in scores:
        return None if scores.get("elbo") is None else -scores["elbo"]
    return scores.get(name)


def spread(runs: Sequence[Result], key: str) -> Spread:
    """Mean and standard deviation of a figure over runs; None if a run lacks it."""
    values = [figure(run, key) for run in runs]
    if not values or any(value is None for value in values):
        return None
    return statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None


def usual(groups: Iterable[Sequence[Result]]) -> list[Column]:
    """What matters for these kinds of models, of the figures that at least one group has; and the seconds."""
    groups = list(groups)
    keys: dict[str, None] = {}
    for runs in groups:
        kind = next((keys for sign, keys in _KINDS.items() if figure(runs[0], sign) is not None), _SENTENCES)
        keys |= dict.fromkeys(kind)
    had = [key for key in (*keys, "seconds") if any(spread(runs, key) is not None for runs in groups)]
    return _labelled([_KNOWN[key] for key in had])


def named(asked: Sequence[str], results: Iterable[Result]) -> list[Column]:
    """The columns that were asked for.

    Raises:
        ConfigError: no run has a figure of that name, or it is not a number.
    """
    results = list(results)
    known: dict[str, bool] = {}  # whether it is a number, or nowhere known
    for result in results:
        for split in ("", "valid."):
            for name, value in (result.get(split.rstrip(".") or "test") or {}).items():
                known[f"{split}{name}"] = known.get(f"{split}{name}", True) and _number(value)
        known |= {key: True for key in COURSE if key in result}
    known |= {"nelbo": True} if "elbo" in known else {}
    columns = []
    for key in dict.fromkeys(word.removeprefix("test.") for word in asked):
        if key not in known:
            raise ConfigError(
                f"--figures {key}: none of these runs has this figure\ntry  {' | '.join(_near(key, known, results))}"
            )
        if not known[key]:
            raise ConfigError(f"--figures {key}: it is not a number, so it has no mean\ntry  another figure")
        columns.append(_KNOWN.get(key) or _unknown(key, results))
    return _labelled(columns)


def _near(key: str, known: Mapping[str, bool], results: Sequence[Result]) -> list[str]:
    """Names that may be meant: those spelled alike, then those with a part that is; otherwise all of the test set."""
    had = [name for name, number in known.items() if number and any(figure(run, name) is not None for run in results)]
    parts = [name for name in had if difflib.get_close_matches(key, name.replace(".", "_").split("_"), 1, 0.7)]
    near = difflib.get_close_matches(key, had, n=4, cutoff=0.6)
    return list(dict.fromkeys([*near, *parts[:6]])) or [name for name in had if not name.startswith("valid.")]


def _number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _unknown(key: str, results: Sequence[Result]) -> Column:
    """A column for a figure without a title of its own; more digits for those that are small everywhere."""
    base = _KNOWN.get(key.rpartition(".")[2])
    values = [abs(value) for result in results if (value := figure(result, key)) is not None]
    if base is not None:
        return Column(key, key, base.digits, base.higher)
    return Column(key, key, 0 if max(values, default=1) >= 1000 else 2 if max(values, default=1) > 1 else 4)


def _labelled(columns: Sequence[Column]) -> list[Column]:
    """Titles that two columns would share become their keys."""
    labels = [column.label for column in columns]
    return [
        column if labels.count(column.label) == 1 else Column(column.key, column.key, column.digits, column.higher)
        for column in columns
    ]
