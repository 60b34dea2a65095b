"""Settings of an evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lvexp.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """Settings of an evaluation.

    Attributes:
        iw_samples: K of the importance-weighted likelihood.
        iw_tolerance: standard error of a text, in nats, at which it needs no more draws; with 0 every text gets K.
        iw_words: words in each sum over the vocabulary, half of them sampled; None for all. Not with a tolerance. On a
            GPU, and with fewer than 64 draws, all words are summed.
        mi_sentences: largest number of texts in the aggregate posterior.
        mi_batch: number of texts in each group of the minibatch mutual information.
        active_threshold: variance of the posterior mean above which a dimension is active.
        samples: number of texts drawn from the model, for diversity and to read.
        reconstructions: number of reconstructed texts to read.
        interpolations: number of pairs of texts; interpolation_steps: texts along each line, including both ends.
        bleu_sentences: largest number of texts reconstructed for BLEU.
        max_decode: number of tokens after which a written text is cut.
        seed: of all draws.
        references: file with a human rewrite of each test text, for models that transfer texts to another class.
        language_model: folder of a finished ``model=rnnlm`` run, which measures how fluent written texts are.
        sampler: "mixture" or "flow", to be fitted to z of the training texts after training; None for neither.
        noise: standard deviations of the noise on z under which texts are reconstructed; None for none.
    """

    iw_samples: int = 100
    iw_tolerance: float = 0.0
    iw_words: int | None = None
    mi_sentences: int = 5000
    mi_batch: int = 32
    active_threshold: float = 0.01
    samples: int = 100
    reconstructions: int = 8
    interpolations: int = 3
    interpolation_steps: int = 5
    bleu_sentences: int = 1000
    max_decode: int = 60
    seed: int = 0
    references: str | None = None
    language_model: str | None = None
    sampler: str | None = None
    noise: Sequence[float] | None = None

    def __post_init__(self) -> None:
        counts = ("iw_samples", "mi_sentences", "mi_batch", "bleu_sentences", "max_decode")
        least = dict.fromkeys(counts, 1) | {"samples": 2, "reconstructions": 0, "interpolations": 0}
        for name, low in (least | {"interpolation_steps": 2, "active_threshold": 0, "iw_tolerance": 0}).items():
            if getattr(self, name) < low:
                raise ConfigError(f"evaluation.{name}={getattr(self, name)}: it must be at least {low}")
        if self.iw_words is not None and self.iw_words < 2:
            raise ConfigError(f"evaluation.iw_words={self.iw_words}: it must be at least 2, or null")
