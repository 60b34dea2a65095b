"""A finished run as an object: encode, decode, sample, reconstruct, interpolate, score, rank."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.distributions import Distribution

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.written import vocabulary_from_json
from lvexp.errors import ConfigError, RunError
from lvexp.job import checkpoints
from lvexp.metrics.likelihood import countable, importance_weighted, marginal
from lvexp.models.base import LatentModel
from lvexp.models.records import Record, batch, each
from lvexp.networks.writing import Decoding
from lvexp.shapes import Float, Tensor


def load(run_dir: str | Path, device: str = "cpu", trust: Collection[str] = ()) -> Run:
    """The best model of a run, rebuilt from its checkpoint alone.

    The file may come from anybody: only classes of lvexp and ``torch.optim`` are used; others are rejected before they
    are imported.

    Args:
        run_dir: a run folder, or a checkpoint file.
        device: of the model.
        trust: full names of other classes that may be imported, ``["mypackage.MyClass"]``, for a run with your own
            options.

    Raises:
        RunError: there is no checkpoint, it was not written by lvexp, or it names a class that is not trusted.
    """
    path = Path(run_dir)
    file = path if path.suffix == ".ckpt" else path / "checkpoints" / "best.ckpt"
    if not file.is_file():
        raise RunError(f"{run_dir}: there is no checkpoint at {file}\ntry  the folder that a run printed as its own")
    saved = checkpoints.read(file, "another copy of it, or the command that trained it, with force=true", device)
    try:
        kept = saved["hyper_parameters"]
        vocabulary = vocabulary_from_json(kept["vocabulary"])
        build.check_training(kept["config"], trust)
        sources = vocabulary_from_json(kept["sources"]) if "sources" in kept else None
        model = build.model(kept["config"], vocabulary, sources, trust=trust)
        model.load_state_dict(saved["state_dict"])
        model.labels = kept.get("labels", ())
    except ConfigError as error:
        raise RunError(f"{file}: {error}") from error
    except Exception as error:  # a checkpoint of another version can cause many kinds of errors
        raise RunError(f"{file}: not a checkpoint that this version can read ({error})") from error
    return Run(model.to(device).eval(), kept["config"])


class Run:
    """A trained model with plain text as input and output.

    If a method takes records, each record is a text, or a pair (source, text) for a model that reads two texts, or a
    dict with the columns text, source and label. Some kinds of models have additional methods, such as ``topics`` or
    ``rank``; see ``offers``.

    Attributes:
        model: the :class:`~lvexp.models.base.LatentModel`, in evaluation mode.
        config: the configuration with which it was trained.
        offers: names of the additional methods of this kind of model.
    """

    def __init__(self, model: LatentModel, config: dict[str, Any]):
        self.model, self.config, self.vocabulary, self.offers = model, config, model.vocabulary, model.offers

    def __repr__(self) -> str:
        return f"Run({type(self.model).__name__}, latent {self.model.latent.dim}, {self.vocabulary.size} types)"

    def __getattr__(self, name: str) -> Any:
        model = self.__dict__.get("model")
        if model is not None and name in model.offers:
            return getattr(model, name)
        known = [part for part in vars(type(self)) if not part.startswith("_")]
        raise NotOffered(f"{name}: this run offers {', '.join([*known, *(model.offers if model else ())])}")

    def encode(self, records: Sequence[Record], batch_size: int = 64) -> Float[Tensor, "N W"]:
        """The code of each record's posterior mean (the mode if z is discrete), [N, W], computed for ``batch_size``
        texts of similar length at a time. Raises :class:`RunError` if the model has no latent variable."""

        def code(q: Distribution) -> Tensor:
            return self.model.latent.code(self.model.latent.point(q)[None])[0]

        return self._posteriors(records, code, batch_size)

    def decode(self, z: Float[Tensor, "N W"], sources: Sequence[str] | None = None, **how: Any) -> list[str]:
        """A text for each code, decoded greedily unless ``how`` sets another method (see
        :class:`~lvexp.networks.writing.Decoding`); ``sources`` are needed if the model reads them."""
        z = torch.as_tensor(z, dtype=torch.float32, device=self.model.device)
        width = self.model.latent.width
        if z.ndim != 2 or z.shape[1] != width:
            raise ValueError(f"decode: z has shape {tuple(z.shape)}, this model reads [N, {width}]")
        with torch.no_grad():
            reading = None
            if sources is not None:
                if len(sources) != len(z):
                    raise ValueError(f"decode: {len(z)} codes and {len(sources)} sources")
                reading = self.model.read(self._batch([{"source": source, "text": ""} for source in sources]))
            return [self.vocabulary.decode(ids) for ids in self.model.write(z, Decoding(**how), reading)]

    def sample(self, n: int, seed: int | None = None, **how: Any) -> list[str]:
        """``n`` texts: z from the prior, then words drawn from p(x|z).

        Raises:
            RunError: the model has no prior (a plain auto-encoder).
        """
        latent = self.model.latent
        if "text" not in self.model.reported:
            other = "translate(sources, draw=True)" if "translate" in self.offers else "a run of model=svae"
            raise RunError(f"sample: this model writes no texts on its own\ntry  {other}")
        prior = latent.prior()
        if prior is None and latent.dim is not None:
            raise RunError("sample: an auto-encoder has no prior to draw from\ntry  a run of model=svae")
        with torch.random.fork_rng(), torch.no_grad():
            if seed is not None:
                torch.manual_seed(seed)
            z = latent.code(prior.sample((1, n)))[0] if prior is not None else torch.zeros(n, 0)
            return self.decode(z, **{"method": "sample", **how})

    def reconstruct(self, texts: Sequence[str], **how: Any) -> list[str]:
        """The texts decoded from the posterior mean of each text."""
        return self.decode(self.encode(texts), **how)

    def interpolate(self, a: str, b: str, steps: int = 5, **how: Any) -> list[str]:
        """``steps`` texts on the line between the posterior means of two texts, including both ends. If part of z is
        discrete, that part keeps its value for ``a``."""
        latent = self.model.latent
        if latent.dim is not None and not latent.continuous:
            raise RunError("interpolate: between two values of a discrete latent variable lies nothing")
        if steps < 2:
            raise ValueError(f"interpolate: steps={steps}; a line has at least its two ends")
        ends = self._posteriors([a, b], latent.point)
        line = [latent.between(ends[0], ends[1], float(share)) for share in torch.linspace(0, 1, steps)]
        with torch.no_grad():
            return self.decode(latent.code(torch.stack(line)[None])[0], **how)

    def score(self, records: Sequence[Record], samples: int = 100, seed: int = 0, batch_size: int = 64) -> list[float]:
        """-log p(x) of each record in nats, including ``<eos>``. It is exact for a language model and for a discrete z
        with up to 256 values; otherwise it is the importance-weighted estimate with ``samples`` draws. ``batch_size``
        texts of similar length are scored at a time; the draws of a text depend on the other texts of its batch.

        Raises:
            RunError: the model has no likelihood (a plain auto-encoder).
        """
        latent = self.model.latent
        if latent.dim is not None and not latent.has_prior:
            raise RunError("score: an auto-encoder has no prior, hence no likelihood\ntry  a run of model=svae")

        def ask(part: Sequence[Record]) -> Tensor:
            batch = self._batch(part)
            if latent.dim is None:
                return self.model.terms(batch).distortion
            return (
                marginal(self.model, batch)
                if countable(self.model)
                else importance_weighted(self.model, batch, samples).nll
            )

        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            return each(records, ask, batch_size).tolist()

    def _batch(self, records: Sequence[Record]) -> Batch:
        model = self.model
        return batch(self.vocabulary, records, model.reads, model.labels, model.sources).to(model.device)

    def _posteriors(
        self, records: Sequence[Record], ask: Callable[[Distribution], Tensor], batch_size: int = 64
    ) -> Tensor:
        """The results of ``ask`` for the posterior of each record."""
        model = self.model
        if model.latent.dim is None:
            raise RunError("a language model has no latent variable to encode into\ntry  a run of model=svae")
        with torch.no_grad():
            return each(
                records,
                lambda part: ask(model.latent.posterior(model.params(model.read(self._batch(part))))),
                batch_size,
            )


class NotOffered(RunError, AttributeError):
    """A method that this kind of model does not have."""
