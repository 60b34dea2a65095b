"""Reads back a vocabulary of any kind."""

from __future__ import annotations

import json
from typing import Any

from lvexp.data.bag import Bag
from lvexp.data.features import Features
from lvexp.data.vocabulary import Vocabulary


def vocabulary_from_json(text: str) -> Any:
    """The vocabulary that wrote ``text``: a :class:`Vocabulary`, a :class:`Bag` or :class:`Features`."""
    kinds: dict[str, Any] = {Bag.kind: Bag, Features.kind: Features}
    return kinds.get(json.loads(text)["kind"], Vocabulary).from_json(text)
