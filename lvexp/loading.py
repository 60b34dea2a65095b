"""A finished run as an object: encode, decode, sample, reconstruct, interpolate, score, rank."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch

from lvexp import build
from lvexp.data.bag import vocabulary_from_json
from lvexp.data.batch import Batch
from lvexp.errors import ConfigError, RunError
from lvexp.job import checkpoints
from lvexp.models.base import LatentModel
from lvexp.networks.writing import Decoding
from lvexp.shapes import Float, Tensor


def load(run_dir: str | Path, device: str = "cpu", trust: Collection[str] = ()) -> Run:
    """The best model of a run, rebuilt from its checkpoint alone.

    The file may come from anybody: of the classes it names, those of lvexp and of ``torch.optim`` are used, and others
    refused before they are imported.

    Args:
        run_dir: a run folder, or a checkpoint file.
        device: where the model goes.
        trust: full names of other classes that may be imported, ``["mypackage.MyClass"]``, for a run with options of
            your own.

    Raises:
        RunError: there is no checkpoint, or it is none of ours, or it names a class that is not trusted.
    """
    path = Path(run_dir)
    file = path if path.suffix == ".ckpt" else path / "checkpoints" / "best.ckpt"
    if not file.is_file():
        raise RunError(f"{run_dir}: there is no checkpoint at {file}\ntry  the folder that a run printed as its own")
    saved = checkpoints.read(file, "another copy of it, or the command that trained it, with force=true", device)
    try:
        kept = saved["hyper_parameters"]
        vocabulary = vocabulary_from_json(kept["vocabulary"])
        model = build.model(kept["config"], vocabulary, trust=trust)
        model.load_state_dict(saved["state_dict"])
    except ConfigError as error:
        raise RunError(f"{file}: {error}") from error
    except Exception as error:  # what parts of another version say is of many kinds
        raise RunError(f"{file}: not a checkpoint that this version can read ({error})") from error
    return Run(model.to(device).eval(), kept["config"])


class Run:
    """A trained model with plain text on both sides.

    Attributes:
        model: the :class:`~lvexp.models.base.LatentModel`, in evaluation mode.
        config: the configuration it was trained with.
    """

    def __init__(self, model: LatentModel, config: dict[str, Any]):
        self.model, self.config, self.vocabulary = model, config, model.vocabulary

    def __repr__(self) -> str:
        return f"Run({type(self.model).__name__}, latent {self.model.latent.dim}, {self.vocabulary.size} types)"

    def encode(self, texts: Sequence[str], batch_size: int = 64) -> Float[Tensor, "N W"]:
        """The code of each text's posterior mean (the mode of a discrete z), [N, W], ``batch_size`` texts of like
        length at a time. Raises :class:`RunError` without a latent variable."""
        self._latent()

        def code(batch: Batch) -> Tensor:
            q = self.model.latent.posterior(self.model.params(batch))
            return self.model.latent.code(self.model.latent.point(q)[None])[0]

        with torch.no_grad():
            return self._each(texts, code, batch_size)

    def topics(self, words: int = 10) -> list[list[str]]:
        """The words that each entry of the code speaks for most. Raises :class:`RunError` but for document models."""
        return self.model.topics(words)

    def decode(self, z: Float[Tensor, "N W"], **how: Any) -> list[str]:
        """A text for each code, greedily unless ``how`` says else (see :class:`~lvexp.networks.writing.Decoding`)."""
        z = torch.as_tensor(z, dtype=torch.float32, device=self.model.device)
        width = self.model.latent.width
        if z.ndim != 2 or z.shape[1] != width:
            raise ValueError(f"decode: z has shape {tuple(z.shape)}, this model reads [N, {width}]")
        return [self.vocabulary.decode(ids) for ids in self.model.generate(z, Decoding(**how))]

    def sample(self, n: int, seed: int | None = None, **how: Any) -> list[str]:
        """``n`` texts: z from the prior, then words drawn from p(x|z).

        Raises:
            RunError: the model has no prior (a plain auto-encoder).
        """
        latent = self.model.latent
        if "text" not in self.model.reported:
            raise RunError("sample: this model writes no texts\ntry  a run of model=svae")
        prior = latent.prior()
        if prior is None and latent.dim is not None:
            raise RunError("sample: an auto-encoder has no prior to draw from\ntry  a run of model=svae")
        with torch.random.fork_rng(), torch.no_grad():
            if seed is not None:
                torch.manual_seed(seed)
            z = latent.code(prior.sample((1, n)))[0] if prior is not None else torch.zeros(n, 0)
            return self.decode(z, **{"method": "sample", **how})

    def reconstruct(self, texts: Sequence[str], **how: Any) -> list[str]:
        """What decoding from each text's posterior mean gives."""
        return self.decode(self.encode(texts), **how)

    def interpolate(self, a: str, b: str, steps: int = 5, **how: Any) -> list[str]:
        """``steps`` texts on the line between the posterior means of two texts, both ends included."""
        if self.model.latent.values:
            raise RunError("interpolate: between two values of a discrete latent variable lies nothing")
        if steps < 2:
            raise ValueError(f"interpolate: steps={steps}; a line has at least its two ends")
        ends = self.encode([a, b])
        share = torch.linspace(0, 1, steps, device=ends.device)[:, None]
        return self.decode((1 - share) * ends[0] + share * ends[1], **how)

    def score(self, texts: Sequence[str], samples: int = 100, seed: int = 0, batch_size: int = 64) -> list[float]:
        """-log p(x) of each text in nats, ``<eos>`` counted: exact for a language model and for a discrete z of up to
        256 values, else the importance-weighted estimate with ``samples`` draws. ``batch_size`` texts of like length
        are scored at a time; the draws of a text depend on those beside it.

        Raises:
            RunError: the model has no likelihood (a plain auto-encoder).
        """
        from lvexp.metrics.likelihood import countable, importance_weighted, marginal

        latent = self.model.latent
        if latent.dim is None:
            with torch.no_grad():
                return self._each(texts, lambda batch: self.model.terms(batch).distortion, batch_size).tolist()
        if not latent.has_prior:
            raise RunError("score: an auto-encoder has no prior, hence no likelihood\ntry  a run of model=svae")
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            if countable(self.model):
                return self._each(texts, lambda batch: marginal(self.model, batch), batch_size).tolist()
            return self._each(
                texts, lambda batch: importance_weighted(self.model, batch, samples).nll, batch_size
            ).tolist()

    def rank(self, question: str, answers: Sequence[str]) -> list[tuple[str, float]]:
        """The answers with p(y=1|q,a), the probability that each is right, best first; of equals as they were given.
        A latent variable stands at the mean of p(h|q).

        Raises:
            RunError: the model does not judge answers.
        """
        if isinstance(answers, str) or not answers:
            raise ValueError("rank: a list of one answer or more is wanted")
        return self.model.rank(question, answers)

    def _each(self, texts: Sequence[str], ask: Callable[[Batch], Tensor], size: int) -> Tensor:
        """What ``ask`` says of every text, in their order, in batches of texts of like length: padding all of them to
        the longest would be most of the work."""
        if isinstance(texts, str):
            raise TypeError("a list of texts is wanted, not one text: put it in [ ]")
        if not texts:
            raise ValueError("no text was given")
        if size < 1:
            raise ValueError(f"batch_size={size}: a batch holds at least one text")
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        found = torch.cat([ask(self.model.batch([texts[row] for row in part]).to(self.model.device)) for part in parts])
        return torch.empty_like(found).index_copy_(0, torch.tensor(order, device=found.device), found)

    def _latent(self) -> None:
        if self.model.latent.dim is None:
            raise RunError("a language model has no latent variable to encode into\ntry  a run of model=svae")
