"""A world of objects and what may be asked about them, for games: some objects are held out."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lvexp.data import source
from lvexp.data.corpus import Corpus, cache, open_corpus
from lvexp.data.module import TextData
from lvexp.data.settings import DataSettings
from lvexp.durable import replace_durably
from lvexp.errors import ConfigError

_OBJECTS = 3  # a stream of random numbers of its own for a seed


class World(TextData):
    """Texts that answer a task about an object, each with two vectors: the object and the task. All texts of an object
    are in the same split.

    Args:
        asked: number of words of the texts that are taken: the attributes that a task asks for.
        held_out: number of objects of ``valid`` and of ``test``, drawn by ``split.seed``; all others are for training.
            ``valid: 0`` validates on the training objects.
        keys: of every :class:`~lvexp.data.module.TextData`; the files of train hold the whole world.

    Raises (when the corpus is first used):
        ConfigError: no text has so many words, or no object is left.
    """

    def __init__(self, *, asked: int, held_out: Mapping[str, int], **keys: Any):
        super().__init__(**keys)
        self.asked, self.held_out = asked, held_out

    @cached_property
    def corpus(self) -> Corpus:
        return open_corpus(self._cut(), self.known)

    def _cut(self) -> DataSettings:
        """The settings of the splits, whose files lie in the cache."""
        settings, place = self.settings, self.settings.place
        texts, vectors = source.files(place)["train"], source.parallel(place)["train"]
        lines, array = texts.read_text(encoding="utf-8").splitlines(), np.load(vectors)
        rows = [row for row, line in enumerate(lines) if len(line.split()) == self.asked]
        if not rows:
            raise ConfigError(f"data.asked={self.asked}: no text of {texts.name} has so many words\ntry  data.asked=2")
        seen = [array[row, 0].tobytes() for row in rows]
        of = self._split(sorted(set(seen)))
        folder = cache(settings) / f"{place.name}-{self._key(texts, vectors)}"
        files, sources = dict(place.files), dict(place.sources)
        for split in source.SPLITS:
            if place.files.get(split) not in (place.files["train"], None):
                continue  # texts of the user's own
            mine = [row for row, thing in zip(rows, seen, strict=True) if thing in of[split]]
            told, beside, content = folder / f"{split}.txt", folder / f"{split}.npy", io.BytesIO()
            np.save(content, array[mine])
            folder.mkdir(parents=True, exist_ok=True)
            replace_durably(told, "".join(f"{lines[row]}\n" for row in mine).encode())
            replace_durably(beside, content.getvalue())
            files[split], sources[split] = str(told), str(beside)
        return dataclasses.replace(settings, place=dataclasses.replace(place, files=files, sources=sources))

    def _split(self, objects: list[bytes]) -> dict[str, set[bytes]]:
        valid, test = self.held_out["valid"], self.held_out["test"]
        if valid + test >= len(objects):
            raise ConfigError(
                f"data.held_out={{valid: {valid}, test: {test}}}: leaves none of the {len(objects)} objects to train on"
                "\ntry  data.held_out.test=13"
            )
        seed = (self.settings.split.seed, _OBJECTS)
        drawn = [objects[at] for at in np.random.default_rng(seed).permutation(len(objects))]
        train = set(drawn[valid + test :])
        return {"train": train, "valid": set(drawn[:valid]) or train, "test": set(drawn[valid : valid + test])}

    def _key(self, *files: Path) -> str:
        """What the content of the splits depends on."""
        said = repr((self.asked, sorted(self.held_out.items()), self.settings.split.seed)).encode()
        return hashlib.blake2b(b"".join([said, *(file.read_bytes() for file in files)]), digest_size=12).hexdigest()
