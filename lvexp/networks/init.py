"""Initial values of the parameters, in place of torch's own initialisation."""

from __future__ import annotations

import abc
from collections.abc import Iterable, Sequence
from typing import TypeVar

import torch
from torch import nn

from lvexp.data.batch import Batch
from lvexp.data.vectors import GLOVE, read_vectors
from lvexp.errors import ConfigError
from lvexp.networks.base import WordDecoder, WordVectors

Part = TypeVar("Part", bound=nn.Module)


class AbstractInit(abc.ABC):
    """Sets the parameters of a newly made part: encoder, latent variable or decoder."""

    @abc.abstractmethod
    def __call__(self, module: Part) -> Part:
        """The same part, after its parameters are set."""

    def prepare(self, model: nn.Module, words: Sequence[str], texts: Iterable[Batch]) -> None:  # noqa: B027
        """Sets what is read from elsewhere, once before training: a loaded run does not need it.

        Args:
            model: with its ``encoder`` and ``decoder``. words: the entries of its vocabulary. texts: those of training.
        """


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


class Xavier(AbstractInit):
    r"""Every matrix, word vectors included, from :math:`N(0, 2 / (m + n))`, m rows and n columns (Glorot & Bengio 2010,
    equation 12, for the normal distribution); every vector is 0. A recurrent layer's gates count as one matrix, as in
    the code of Kottur et al. 2017. Layer norms keep their scale of 1 and shift of 0."""

    def __call__(self, module: Part) -> Part:
        for part in module.modules():
            for parameter in [] if isinstance(part, nn.LayerNorm) else part.parameters(recurse=False):
                nn.init.xavier_normal_(parameter) if parameter.ndim > 1 else nn.init.zeros_(parameter)
        return module


class Frequencies(AbstractInit):
    r"""Torch's own initial values, and a bias for each word in the decoder's output layer, which starts from how
    frequent the word is in the texts of training, :math:`\log (n_v + 1) - \log \sum_w (n_w + 1)`; it is trained like
    all else.

    Without a bias, the first thing that a decoder learns is a state that is the same everywhere and says how frequent
    words are. With Adam it grows until a tanh saturates, and from then on little is learned (figures in
    docs/symbols.md).
    """

    def __call__(self, module: Part) -> Part:
        if isinstance(module, WordDecoder) and module.output.bias is None:
            module.output.bias = nn.Parameter(torch.zeros(module.output.out_features))
        return module

    def prepare(self, model: nn.Module, words: Sequence[str], texts: Iterable[Batch]) -> None:
        decoder = model.get_submodule("decoder")
        if not isinstance(decoder, WordDecoder):
            raise ConfigError("init=frequencies: this decoder does not tell one word after another\ntry  init=default")
        counts = torch.ones(len(words), dtype=torch.float64)
        for batch in texts:
            counts += torch.bincount(batch.targets.flatten(), minlength=len(words))
        with torch.no_grad():
            decoder.output.bias.copy_((counts / counts.sum()).log())


class Vectors(AbstractInit):
    """Word vectors of encoder and decoder from a file, those of words that it lacks as in :class:`Default`; they are
    trained on like the others.

    Args:
        path: of :func:`lvexp.data.vectors.read_vectors`.
    """

    def __init__(self, path: str = GLOVE):
        self.path = path

    def __call__(self, module: Part) -> Part:
        return module

    def prepare(self, model: nn.Module, words: Sequence[str], texts: Iterable[Batch]) -> None:
        for name, part in model.named_children():
            for table in part.modules() if name in ("encoder", "decoder") else ():
                if isinstance(table, WordVectors) and table.num_embeddings == len(words):
                    found = read_vectors(self.path, words, table.embedding_dim, "init.path", name)
                    with torch.no_grad():
                        for row, vector in found.items():
                            table.weight[row] = torch.from_numpy(vector)
