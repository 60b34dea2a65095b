"""Points in the plane: pictures, and what it takes to estimate log p(x)."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import torch

from lvexp.data.batch import Batch
from lvexp.instruments.base import Context, Instrument, Look, Scores
from lvexp.instruments.exhibits import spread
from lvexp.metrics import evidence
from lvexp.metrics.evidence import Quadrature
from lvexp.models.base import LatentModel
from lvexp.models.toy import ToyModel
from lvexp.report import figures
from lvexp.report.findings import Findings, Group, Score, number
from lvexp.report.toy import Curve, Plane
from lvexp.shapes import Float, Tensor

_DRAWS, _POINTS = 2**15, 128  # draws for each of so many points
_TARGET = 0.1  # standard error, nats
_LINES, _REACH, _STEPS = 13, 3.0, 121  # of the grid: lines in a dimension, where they end, values on a line


class Toy(Instrument):
    """How well log p(x) is estimated from draws of the prior, and how well from draws of q(z|x), for a continuous z in
    two dimensions.

    ``nll_quadrature``: -log p(x), nats per point, on a grid of z (:func:`lvexp.metrics.evidence.quadrature`), and
    ``quadrature_error``; ``gap``: -ELBO minus that, the mean KL(q(z|x) || p(z|x)). On 128 points: ``nll_prior`` and
    ``nll_posterior``, the mean estimates from ``iw_samples`` draws, with their root mean squared errors
    ``nll_prior_rmse`` and ``nll_posterior_rmse``; ``draws_prior`` and ``draws_posterior``, the number of draws for a
    standard error of 0.1 nats, v / 0.1² with the relative variance v of one draw, median over points, and
    ``draws_ratio``, the median of their ratio. v under the prior is an integral over the grid, v under q is measured on
    32,768 draws, since a weight that is rare and large would make the integral infinite. ``sigma``: of p(x|z).
    ``unit``: what one x is.
    """

    order = 22

    def __init__(self, context: Context):
        super().__init__(context)
        self.batches: list[Batch] = []

    @classmethod
    def applies(cls, model: LatentModel) -> bool:
        return isinstance(model, ToyModel)

    def update(self, look: Look) -> None:
        self.batches.append(look.terms.batch)

    def measure(self) -> dict[str, Score]:
        return {"unit": self.model.unit}

    def report(self, scores: Scores) -> Findings:
        model, batch = self._model, self._batch()
        x = model.vectors(batch)
        samples = model.draw(len(batch))
        found: dict[str, Score] = {"sigma": model.decoder.sigma}
        shown = Plane(x.tolist(), self._labels(batch), samples.tolist())
        if not (model.latent.continuous and model.latent.dim == 2 and not model.latent.values):
            return Findings(found, pictures={"plane": functools.partial(figures.plane, shown)})
        lines = _grid(x.device)
        exact = evidence.quadrature(model, x)
        measured, curves = self._estimated(batch, exact)
        found |= measured
        found["gap"] = -float(scores["elbo"] or 0) - float(found["nll_quadrature"] or 0)
        means = model.latent.means(model.latent.posterior(model.params(model.read(batch))))
        if means is not None:
            with_z = {
                "means": means.tolist(),
                "lines": lines.tolist(), "images": model.decoder.mean(model.latent.code(lines)).tolist(),
            }  # fmt: skip
            shown = Plane(shown.points, shown.labels, shown.samples, **with_z)
        truth = float(exact.log_p[self._rows(batch)].mean())
        pictures = {
            "plane": functools.partial(figures.plane, shown),
            "estimates": functools.partial(figures.estimates, curves, truth, _TARGET),
        }
        return Findings(found, [self.rows({**scores, **found})], pictures=pictures)

    @property
    def _model(self) -> ToyModel:
        assert isinstance(self.model, ToyModel)
        return self.model

    def _batch(self) -> Batch:
        """All points of the test set."""
        names = ("tokens", "lengths", "labels", "vectors")
        columns: dict[str, list[Any]] = {name: [getattr(batch, name) for batch in self.batches] for name in names}
        return Batch(**{name: torch.cat(parts) for name, parts in columns.items() if parts[0] is not None})

    @staticmethod
    def _labels(batch: Batch) -> list[int]:
        return [0] * len(batch) if batch.labels is None else batch.labels.tolist()

    @staticmethod
    def _rows(batch: Batch) -> Tensor:
        """The points that are estimated repeatedly."""
        return torch.tensor(spread(len(batch), _POINTS), device=batch.tokens.device)

    def _estimated(self, batch: Batch, exact: Quadrature) -> tuple[dict[str, Score], Mapping[str, Curve]]:
        model, rows, samples = self._model, self._rows(batch), self.settings.iw_samples
        few, log_p = batch[rows], exact.log_p[rows]
        q = model.latent.posterior(model.params(model.read(few)))
        weights = {
            "prior": evidence.from_prior(model, model.vectors(few), _DRAWS),
            "posterior": evidence.from_posterior(model, few, q, _DRAWS),
        }
        variance = {
            "prior": exact.variance[rows],
            "posterior": evidence.relative_variance(weights["posterior"], log_p).clamp(min=0),
        }
        needed = {name: part / _TARGET**2 for name, part in variance.items()}
        found: dict[str, Score] = {
            "nll_quadrature": -float(exact.log_p.mean()), "quadrature_error": exact.error,
            "draws_ratio": float((needed["prior"] / needed["posterior"]).median()),
        }  # fmt: skip
        curves, numbers = {}, [2**power for power in range(13)]
        for name, log_w in weights.items():
            (one,) = evidence.estimates(log_w, log_p, [min(samples, len(log_w))])
            found |= {f"nll_{name}": -one.mean, f"nll_{name}_rmse": one.error}
            found[f"draws_{name}"] = float(needed[name].median())
            seen = [*evidence.estimates(log_w, log_p, numbers)]
            mean, error = [one.mean for one in seen], [one.error for one in seen]
            title = "z ~ p(z)" if name == "prior" else "z ~ q(z|x)"
            curves[title] = Curve(numbers, mean, error, needed[name].tolist())
        return found, curves

    def rows(self, scores: Scores) -> Group:
        samples, near = self.settings.iw_samples, number(scores["quadrature_error"], ".0e")

        def error(name: str) -> str:
            return f"k = {samples}; root mean squared error {number(scores[f'nll_{name}_rmse'])}"

        return "log p(x) of points in the plane", [
            ("NLL, quadrature", number(scores["nll_quadrature"]), "nats/point", f"grid of z, error below {near}"),
            ("  −ELBO above it", number(scores["gap"], ".3f"), "nats/point", "KL of q(z|x) from p(z|x)"),
            ("NLL, z ~ p(z)", number(scores["nll_prior"]), "nats/point", error("prior")),
            ("NLL, z ~ q(z|x)", number(scores["nll_posterior"]), "nats/point", error("posterior")),
            ("draws from p(z)", number(scores["draws_prior"], ",.0f"), "", f"for a standard error of {_TARGET} nats"),
            ("draws from q(z|x)", number(scores["draws_posterior"], ",.1f"), "", "median over points, as above"),
            ("σ of p(x|z)", number(scores["sigma"], ".3f"), "", ""),
        ]


def _grid(device: torch.device) -> Float[Tensor, "L K 2"]:
    """Lines with a constant first coordinate, then lines with a constant second one."""
    at = torch.linspace(-_REACH, _REACH, _LINES, device=device)
    along = torch.linspace(-_REACH, _REACH, _STEPS, device=device)
    first = torch.stack(torch.meshgrid(at, along, indexing="ij"), -1)
    return torch.cat([first, first.flip(-1)])
