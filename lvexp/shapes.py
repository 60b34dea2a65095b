"""The dimension legend, one for the whole project, and the array types used in signatures.

====  =======================================================================
S     draws of the latent variable for one text
B     texts in a batch
T     tokens of a text, ``<bos>`` and ``<eos>`` included
V     vocabulary entries
H     features the encoder hands to the latent variable
P     parameters of the posterior (mean and log-variance, logits, …)
D     dimensions over which the rate splits
W     width of the code the decoder reads
C     width of what a prior is conditioned on
K     categories of a discrete variable
N     texts when they are not a batch (a test set, a list of samples)
====  =======================================================================

Shapes are checked in tests only (``pytest --jaxtyping-packages=lvexp,typecheck.checked``).
"""

from __future__ import annotations

from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

__all__ = ["Bool", "Float", "Int", "Shaped", "Tensor"]
