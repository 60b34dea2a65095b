"""Named blocks of different kinds as one latent variable."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.distributions import Distribution
from torch.nn import functional as F

from lvexp.distributions.joint import Joint
from lvexp.errors import ConfigError
from lvexp.latents.base import AbstractClassLatent, AbstractLatent
from lvexp.shapes import Float, Int, Shaped, Tensor


class Mixed(AbstractClassLatent):
    r""":math:`q(z, c|x) = q(z|x)\, q(c|x)`, :math:`p(z, c) = p(z)\, p(c)`: any number of named blocks.

    The decoder reads the concatenation of the blocks' codes; the rate is the sum of their rates. Blocks are independent
    given x, which is a simpler posterior than the q(z|x, y) of Kingma et al. 2014.

    Args:
        features: H, width of the encoder's features.
        blocks: name → a function that makes the block, given ``features``.
    """

    def __init__(self, features: int, **blocks: Callable[..., AbstractLatent]):
        super().__init__()
        self.blocks = nn.ModuleDict({name: make(features=features) for name, make in blocks.items()})
        with torch.no_grad():
            params = {name: part.params(torch.zeros(1, features)) for name, part in self.parts.items()}
        self.sizes = [part.shape[-1] for part in params.values()]
        parts = self.parts.values()
        if not parts or any(part.dim is None or part.prior() is None for part in parts):
            raise ConfigError(f"latent.{'|'.join(blocks)}: every block of a mixed latent needs a prior")
        self.width = sum(part.width for part in parts)
        self.dim = sum(part.dim or 0 for part in parts)
        self.values = tuple(itertools.chain(*(part.values for part in parts)))
        self.units, self.flat = all(part.units for part in parts), all(part.flat for part in parts)
        self.compared = min((part.compared for part in parts if part.compared), default=None)

    @property
    def parts(self) -> dict[str, AbstractLatent]:
        """The blocks by name."""
        return {name: part for name, part in self.blocks.items() if isinstance(part, AbstractLatent)}

    def _split(self, params: Float[Tensor, "B P"]) -> dict[str, Tensor]:
        return dict(zip(self.blocks, params.split(self.sizes, -1), strict=True))

    def params(self, features: Float[Tensor, "B H"]) -> Float[Tensor, "B P"]:
        return torch.cat([part.params(features) for part in self.parts.values()], -1)

    def posterior(self, params: Float[Tensor, "*B P"]) -> Joint:
        parts = self._split(params)
        return Joint({name: part.posterior(parts[name]) for name, part in self.parts.items()})

    def prior(self, condition: Float[Tensor, "B C"] | None = None) -> Joint:
        priors = {name: part.prior(condition) for name, part in self.parts.items()}
        return Joint({name: prior for name, prior in priors.items() if prior is not None})

    def code(self, value: Shaped[Tensor, "S B E"]) -> Float[Tensor, "S B W"]:
        values = self.prior().split(value)
        return torch.cat([part.code(values[name]) for name, part in self.parts.items()], -1)

    def inference_parameters(self) -> Iterable[nn.Parameter]:
        return itertools.chain(*(part.inference_parameters() for part in self.parts.values()))

    def point(self, q: Distribution) -> Shaped[Tensor, "B E"]:
        assert isinstance(q, Joint)
        return q.joined({name: part.point(q.blocks[name]) for name, part in self.parts.items()})

    def between(self, start: Shaped[Tensor, " E"], end: Shaped[Tensor, " E"], share: float) -> Shaped[Tensor, " E"]:
        """Block by block: what is continuous moves, what is discrete stays as it is at the start."""
        prior = self.prior()
        first, last = prior.split(start), prior.split(end)
        return prior.joined({n: part.between(first[n], last[n], share) for n, part in self.parts.items()})

    def means(self, q: Distribution) -> Float[Tensor, "B D"] | None:
        assert isinstance(q, Joint)
        found = [part.means(q.blocks[name]) for name, part in self.parts.items()]
        found = [means for means in found if means is not None]
        return torch.cat(found, -1) if found else None

    def marginals(self, q: Distribution) -> Float[Tensor, "B N K"] | None:
        assert isinstance(q, Joint)
        found = [part.marginals(q.blocks[name]) for name, part in self.parts.items()]
        most = max(self.values, default=0)
        padded = [F.pad(each, (0, most - each.shape[-1])) for each in found if each is not None]
        return torch.cat(padded, 1) if padded else None

    @property
    def class_blocks(self) -> dict[str, AbstractClassLatent]:
        """The blocks that can represent a class of a text."""
        return {name: part for name, part in self.parts.items() if isinstance(part, AbstractClassLatent)}

    @property
    def classes(self) -> list[tuple[str, int]]:
        return [
            (typed.replace("latent.", f"latent.{name}.", 1), count)
            for name, part in self.class_blocks.items()
            for typed, count in part.classes
        ]

    def class_logits(self, params: Float[Tensor, "B P"]) -> list[Float[Tensor, "B _"]]:
        parts = self._split(params)
        return [logits for name, part in self.class_blocks.items() for logits in part.class_logits(parts[name])]

    def observe(self, params: Float[Tensor, "B P"], classes: Int[Tensor, "B A"]) -> Float[Tensor, "B P"]:
        parts = self._split(params)
        for at, (name, part) in enumerate(self.class_blocks.items()):
            parts[name] = part.observe(parts[name], classes[:, at : at + 1])
        return torch.cat([*parts.values()], -1)

    def fixed(self, value: Shaped[Tensor, "*B E"], classes: Int[Tensor, "*B A"]) -> Shaped[Tensor, "*B E"]:
        prior = self.prior()
        parts = prior.split(value)
        for at, (name, part) in enumerate(self.class_blocks.items()):
            parts[name] = part.fixed(parts[name], classes[..., at : at + 1])
        return prior.joined(parts)
