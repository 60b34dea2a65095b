"""Models whose latent variable includes classes of a text, such as its sentiment: what they can be asked."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from lvexp.data.batch import Batch
from lvexp.errors import ConfigError, RunError
from lvexp.latents.base import AbstractClassLatent
from lvexp.models.records import Record, each, parts
from lvexp.models.records import batch as gathered
from lvexp.models.sentence import SentenceModel
from lvexp.networks.writing import Decoding
from lvexp.shapes import Float, Int, Tensor

#: class of each attribute: the name of a class, or attribute → class
Chosen = str | Mapping[str, str]


class AttributeModel(SentenceModel):
    """A sentence model whose z includes a class c for each attribute of a text, in the order of
    ``attribute_names``."""

    latent: AbstractClassLatent
    offers: ClassVar[tuple[str, ...]] = ("attributes", "transfer")

    def check(self, attributes: Mapping[str, Sequence[str]]) -> None:
        typed = self.latent.classes
        if len(attributes) != len(typed):
            options = ", ".join(name for name, _ in typed) or "none"
            raise ConfigError(
                f"data.columns: the texts have {len(attributes)} attributes ({', '.join(attributes)}), and the latent "
                f"variable has {len(typed)} variables for them ({options})\n"
                "try  data.columns.label and data.columns.attributes that name as many | latent=mixed with a block for "
                "each"
            )
        for (name, labels), (option, count) in zip(attributes.items(), typed, strict=True):
            if len(labels) > count:
                raise ConfigError(
                    f"{option}={count}: q(c|x) is over as many classes, and {name} has {len(labels)} "
                    f"({textwrap.shorten(', '.join(labels), 60, placeholder=' …')})\ntry  {option}={len(labels)}"
                )

    def class_logits(self, params: Float[Tensor, "B P"]) -> list[Float[Tensor, "B _"]]:
        """log q(c|x) of each attribute, up to a constant."""
        return self.latent.class_logits(params)

    @torch.no_grad()
    def attributes(self, texts: Sequence[str], batch_size: int = 64) -> list[dict[str, tuple[str | int, float]]]:
        """For each text: attribute → the most probable class under q(c|x), and its probability. A class without a known
        name is given by its number."""
        best: list[list[tuple[int, float]]] = []
        for at, _ in enumerate(self.latent.classes):
            asked = each(texts, lambda part, at=at: self._logits(part)[at].softmax(-1), batch_size)
            share, row = asked.max(-1)
            best.append([*zip(row.tolist(), share.tolist(), strict=True)])
        named, found = self.named.items(), []
        for text in zip(*best, strict=True):
            pairs = zip(named, text, strict=True)
            found.append({name: (known[row] if row < len(known) else row, p) for (name, known), (row, p) in pairs})
        return found

    @torch.no_grad()
    def transfer(self, texts: Sequence[str], c: Chosen, batch_size: int = 64, **how: Any) -> list[str]:
        """The texts with other attributes: written from the mean of q(z|x) and the classes ``c``; an attribute that is
        not given keeps its most probable value.

        Args:
            c: class of each attribute, see :meth:`chosen`. how: of
                :class:`~lvexp.networks.writing.Decoding`; greedy without.

        Raises:
            RunError: there is no such attribute or class.
        """
        classes, decoding = self.chosen(c), Decoding(**how)
        written: dict[int, str] = {}
        for rows in parts(texts, batch_size):
            params = self.params(self.read(self._gathered([texts[row] for row in rows])))
            value = self.latent.fixed(self.latent.point(self.latent.posterior(params)), classes.expand(len(rows), -1))
            found = self.write(self.latent.code(value[None])[0], decoding)
            written |= {row: self.vocabulary.decode(ids) for row, ids in zip(rows, found, strict=True)}
        return [written[row] for row in range(len(texts))]

    def chosen(self, c: Chosen) -> Int[Tensor, "1 A"]:
        """The numbers of classes, -1 for an attribute that is not given.

        Args:
            c: attribute → class, ``{"sentiment": "positive"}``; or the name of a class that only one attribute has.

        Raises:
            RunError: there is no such attribute or class, or several attributes have the class.
        """
        known = self.named
        if isinstance(c, str):
            owners = [name for name, labels in known.items() if c in labels]
            if len(owners) > 1:
                raise RunError(
                    f"c={c!r}: {' and '.join(owners)} have such a class\n"
                    f"try  one of {', '.join(f'{name}={c}' for name in owners)}"
                )
            if not owners:
                menu = "; ".join(f"{name}: {', '.join(labels)}" for name, labels in known.items())
                raise RunError(f"c={c!r}: there is no such class\ntry  one of {menu}")
            c = {owners[0]: c}
        found = torch.full((1, len(known)), -1)
        for name, label in c.items():
            if name not in known or label not in known[name]:
                menu = ", ".join(known.get(name, known))
                raise RunError(f"c={{{name!r}: {label!r}}}: there is no such attribute or class\ntry  one of {menu}")
            found[0, [*known].index(name)] = [*known[name]].index(label)
        return found.to(self.device)

    @property
    def named(self) -> Mapping[str, Sequence[str]]:
        """The attributes and their classes; attributes without a known name are numbered, and have no class names."""
        return self.attribute_names or {f"c{at}": () for at, _ in enumerate(self.latent.classes, 1)}

    def _logits(self, part: Sequence[Record]) -> list[Tensor]:
        return self.class_logits(self.params(self.read(self._gathered(part))))

    def _gathered(self, part: Sequence[Record]) -> Batch:
        return gathered(self.vocabulary, part).to(self.device)


def observed(batch: Batch) -> Int[Tensor, "B A"] | None:
    """The classes of the texts that are shown, -1 elsewhere; None if the corpus has none."""
    if batch.labels is None:
        return None
    labels = batch.labels[:, None]
    return labels if batch.attributes is None else torch.cat([labels, batch.attributes], 1)
