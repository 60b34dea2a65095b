"""Distributions that are fitted to draws of q(z|x) after training, as other priors to sample from."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch.distributions import Categorical, Distribution, MixtureSameFamily, MultivariateNormal

from lvexp.errors import ConfigError
from lvexp.latents.base import AbstractLatent
from lvexp.priors.flow import Flow
from lvexp.shapes import Float, Tensor

KINDS = ("mixture", "flow")
_COMPONENTS = 10
_EPOCHS, _BATCH, _RATE = 20, 256, 2e-3


def fits(latent: AbstractLatent) -> bool:
    """Whether z is a vector with a density in its space: neither discrete, nor a direction, nor proportions."""
    return latent.dim is not None and not latent.values and latent.flat


def fitted(kind: str, draws: Float[Tensor, "N D"], seed: int = 0) -> Distribution:
    """A distribution near the aggregate posterior that z was drawn from, with batch shape [].

    Args:
        kind: "mixture": ten Gaussians with full covariances, by expectation maximisation (scikit-learn); "flow": as
            ``prior=flow``, by 20 epochs of Adam on the draws.
        draws: one z for each text, of at least 20 texts.
        seed: of the fit.

    Raises:
        ConfigError: there is no such kind, or too few draws, or zuko is not installed.
    """
    if kind not in KINDS:
        raise ConfigError(f"{kind}: what is fitted to z is one of {', '.join(KINDS)}")
    if len(draws) < 2 * _COMPONENTS:
        raise ConfigError(f"{kind}: {len(draws)} texts are too few to fit it to\ntry  more texts, the training texts")
    return _mixture(draws, seed) if kind == "mixture" else _flow(draws, seed)


def _mixture(draws: Float[Tensor, "N D"], seed: int) -> MixtureSameFamily:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # an unfinished fit is a distribution too
        found: Any = GaussianMixture(_COMPONENTS, reg_covar=1e-4, random_state=seed).fit(draws.cpu().double().numpy())
    parts = (found.weights_, found.means_, np.linalg.cholesky(found.covariances_))
    weights, means, roots = (torch.as_tensor(part).to(draws) for part in parts)
    each = MultivariateNormal(means, scale_tril=roots, validate_args=False)
    return MixtureSameFamily(Categorical(probs=weights, validate_args=False), each, validate_args=False)


def _flow(draws: Float[Tensor, "N D"], seed: int) -> Distribution:
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        flow, draws = Flow(draws.shape[1]).to(draws), draws.detach()
        optimizer = torch.optim.Adam(flow.parameters(), _RATE)
        for _ in range(_EPOCHS):
            for rows in torch.randperm(len(draws), device=draws.device).split(_BATCH):
                loss = -flow().log_prob(draws[rows]).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return flow.requires_grad_(False)()
