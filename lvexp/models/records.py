"""Turns the records that a user passes to a finished run (texts, pairs, labelled texts) into batches."""

from __future__ import annotations

import dataclasses
import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch

from lvexp.data import tags as structured
from lvexp.data.bag import Bag
from lvexp.data.batch import Batch
from lvexp.data.features import Features
from lvexp.data.points import as_batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import RunError
from lvexp.shapes import Tensor

#: a text; or (source, text); or (source, text, label); or {"text": …, "source": …, "label": …, "tags": …}
Record = str | Sequence[Any] | Mapping[str, Any]
_PLACES = ("source", "text", "label")


def columns(record: Record) -> dict[str, Any]:
    """A record as a mapping from columns to values."""
    if isinstance(record, str):
        return {"text": record}
    if isinstance(record, Mapping):
        return dict(record)
    if len(record) not in (2, 3):
        raise ValueError(f"{record!r}: a record is a text, (source, text), (source, text, label), or a dict of these")
    return dict(zip(_PLACES, record, strict=False))


def batch(
    vocabulary: Vocabulary | Bag | Features,
    records: Sequence[Record],
    needs: Collection[str] = ("text",),
    names: Sequence[str] = (),
    sources: Vocabulary | Bag | Features | None = None,
    tags: Mapping[str, Sequence[str]] | None = None,
) -> Batch:
    """Records as a batch.

    Args:
        vocabulary: of the texts; if it is the shape of feature vectors, records are vectors. records: in their order.
        needs: the columns that the model needs.
        names: of the classes, for labels that are given by name.
        sources: vocabulary of the sources, or the shape of their feature vectors; None: that of the texts.
        tags: key → its values, if the model reads tags.

    Raises:
        RunError: a column is missing, a label is not the name of a class, or a tag is not known.
    """
    if isinstance(vocabulary, Features):
        return as_batch(vocabulary.encode(records))
    rows = [columns(record) for record in records]
    for row in rows:
        missing = [name for name in needs if name not in row]
        if missing:
            form = ", ".join(f'"{name}": …' for name in needs)
            raise RunError(
                f"{row}: this model reads {' and '.join(needs)}, and {missing[0]} is missing\ntry  {{{form}}}"
            )
    texts = [row["text"] for row in rows]
    if isinstance(vocabulary, Bag):
        made = vocabulary.batch(texts)
    else:
        there, own = [row.get("source") for row in rows], sources or vocabulary
        if any(source is None for source in there):
            made = Batch.of(vocabulary.encode(texts))
        elif isinstance(own, Features):
            made = dataclasses.replace(Batch.of(vocabulary.encode(texts)), source=own.encode(there))
        else:
            assert isinstance(own, Vocabulary)
            made = Batch.of(vocabulary.encode(texts), own.encode([str(source) for source in there]))
    if any("label" in row for row in rows):
        made.labels = torch.tensor([_label(row.get("label", -1), names) for row in rows])
    if tags is not None and "tags" in needs:
        made.attributes = torch.tensor([_tags(row["tags"], tags) for row in rows])
    return made


def _tags(typed: str | Mapping[str, str], known: Mapping[str, Sequence[str]]) -> list[int]:
    """The numbers of the values of tags."""
    try:
        found = structured.parse(typed) if isinstance(typed, str) else typed
    except ValueError as error:
        raise RunError(f"tags {typed!r}: {error}\ntry  KEY=VALUE,KEY=VALUE") from error
    if strange := structured.strange(found, known):
        key = strange[0].partition("=")[0]
        there = f"{key} is one of {', '.join(known[key][1:])}" if key in known else f"the keys are {', '.join(known)}"
        raise RunError(f"tags {typed!r}: no training text had {strange[0]!r}\ntry  {there}")
    return structured.numbers(found, known)


def _label(label: Any, names: Sequence[str]) -> int:
    if isinstance(label, numbers.Integral):  # of numpy and pandas too
        return int(label)
    if label not in names:
        raise RunError(f"label {label!r}: it is one of {', '.join(names) or 'the numbers of the classes'}")
    return list(names).index(label)


def each(records: Sequence[Record], ask: Callable[[Sequence[Record]], Tensor], size: int = 64) -> Tensor:
    """Results of ``ask`` for all records, in their order; ``ask`` gets the :func:`parts` one at a time."""
    split = parts(records, size)
    found = torch.cat([ask([records[row] for row in part]) for part in split])
    order = torch.tensor([row for part in split for row in part], device=found.device)
    return torch.empty_like(found).index_copy_(0, order, found)


def parts(records: Sequence[Record], size: int = 64, by: str = "text") -> list[list[int]]:
    """The rows of all records, ``size`` at a time with texts (or sources: ``by``) of similar length; if all were padded
    to the longest, most of the work would be padding."""
    if isinstance(records, str):
        raise TypeError("needs a list of texts, not a single text: put it in [ ]")
    if not records:
        raise ValueError("no text was given")
    if size < 1:
        raise ValueError(f"batch_size={size}: a batch holds at least one text")
    texts = [columns(record).get(by, "") for record in records]
    lengths = [len(text) if isinstance(text, str) else 0 for text in texts]
    order = sorted(range(len(records)), key=lengths.__getitem__)
    return [order[start : start + size] for start in range(0, len(order), size)]
