"""Initial values of the parameters, in place of torch's own initialisation."""

from __future__ import annotations

import abc
from typing import TypeVar

from torch import nn

Part = TypeVar("Part", bound=nn.Module)


class AbstractInit(abc.ABC):
    """Sets the parameters of a newly made part: encoder, latent variable or decoder."""

    @abc.abstractmethod
    def __call__(self, module: Part) -> Part:
        """The same part, after its parameters are set."""


class Default(AbstractInit):
    """Leaves every parameter as torch made it."""

    def __call__(self, module: Part) -> Part:
        return module


class Uniform(AbstractInit):
    r"""Every parameter, biases included, from :math:`U(-r, r)`, and word vectors from :math:`U(-e, e)` (He et al. 2019,
    their released code).

    A matrix that is used both for word vectors and for the output counts as word vectors. Layer norms keep their scale
    of 1 and shift of 0; He et al. have none.

    Args:
        range: r.
        embeddings: e.
    """

    def __init__(self, range: float = 0.01, embeddings: float = 0.1):
        self.range, self.embeddings = range, embeddings

    def __call__(self, module: Part) -> Part:
        parts = [part for part in module.modules() if not isinstance(part, nn.LayerNorm)]
        for part in sorted(parts, key=lambda part: isinstance(part, nn.Embedding)):
            width = self.embeddings if isinstance(part, nn.Embedding) else self.range
            for parameter in part.parameters(recurse=False):
                nn.init.uniform_(parameter, -width, width)
        return module
