"""A finished run as an object: encode, decode, sample, reconstruct, interpolate, score, rank."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Collection, Mapping, Sequence
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
from lvexp.models.attributes import AttributeModel, Chosen
from lvexp.models.base import LatentModel
from lvexp.models.records import Record, batch, each, parts
from lvexp.networks.writing import Decoding
from lvexp.priors.fitted import fits, fitted
from lvexp.reading import Reading
from lvexp.report.result import RESULT
from lvexp.shapes import Float, Tensor


def load(run_dir: str | Path, device: str = "cpu", trust: Collection[str] = ()) -> Run:
    """The best model of a run, rebuilt from its checkpoint alone.

    The file may come from anybody: only classes of lvexp and ``torch.optim`` are used; others are rejected before they
    are imported.

    Args:
        run_dir: a run folder, a checkpoint file, or a folder that ``python -m lvexp.export`` wrote.
        device: of the model.
        trust: full names of other classes that may be imported, ``["mypackage.MyClass"]``, for a run with your own
            options.

    Raises:
        RunError: there is no checkpoint, it was not written by lvexp, or it names a class that is not trusted.
    """
    path = Path(run_dir)
    file = path if path.suffix == ".ckpt" else path / "checkpoints" / "best.ckpt"
    if not file.is_file() and (path / checkpoints.TENSORS).is_file():
        file = path / checkpoints.TENSORS
        saved = checkpoints.exported(path, device)
    elif not file.is_file():
        raise RunError(f"{run_dir}: there is no checkpoint at {file}\ntry  the folder that a run printed as its own")
    else:
        saved = checkpoints.read(file, "another copy of it, or the command that trained it, with force=true", device)
    try:
        kept = saved["hyper_parameters"]
        vocabulary = vocabulary_from_json(kept["vocabulary"])
        build.check_training(kept["config"], trust)
        sources = vocabulary_from_json(kept["sources"]) if "sources" in kept else None
        attributes = checkpoints.attributes(kept)
        model = build.model(kept["config"], vocabulary, sources, attributes, trust=trust)
        model.load_state_dict(saved["state_dict"])
    except ConfigError as error:
        raise RunError(f"{file}: {error}") from error
    except Exception as error:  # a checkpoint of another version can cause many kinds of errors
        raise RunError(f"{file}: not a checkpoint that this version can read ({error})") from error
    folder = None if path.suffix == ".ckpt" else path
    return Run(model.to(device).eval(), kept["config"], folder)


class Run:
    """A trained model with plain text as input and output.

    If a method takes records, each record is a text, or a pair (source, text) for a model that reads two texts, or a
    dict with the columns text, source and label. Some kinds of models have additional methods, such as ``topics`` or
    ``rank``; see ``offers``.

    Attributes:
        model: the :class:`~lvexp.models.base.LatentModel`, in evaluation mode.
        config: the configuration with which it was trained.
        offers: names of the additional methods of this kind of model.
        folder: of the run; None if it was loaded from a checkpoint file.
        result: its ``result.json``, with the figures of the test set under "test"; empty without a finished run.
        verdict: the report's line on whether z is used; empty without a finished run.
    """

    def __init__(self, model: LatentModel, config: dict[str, Any], folder: Path | None = None):
        self.model, self.config, self.vocabulary, self.offers = model, config, model.vocabulary, model.offers
        self.folder = folder
        file = None if folder is None else folder / RESULT
        self.result: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file and file.is_file() else {}
        self.verdict: str = self.result.get("verdict", "")

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

    def write(self, sources: Sequence[Any], draw: bool = False, batch_size: int = 64, **how: Any) -> list[str]:
        """What the model writes for each source, at the mean of p(z|x).

        Args:
            sources: texts, or feature vectors; mappings if the model reads more, ``{"source": …, "tags": …}``.
            draw: draw z from p(z|x) instead.
            batch_size: sources at a time.
            how: of :class:`~lvexp.networks.writing.Decoding`; greedy without.

        Raises:
            RunError: the model reads no sources.
        """
        return [texts[0] for texts, _ in self._written(sources, draw, batch_size, Decoding(**how), scored=False)]

    def n_best(
        self, sources: Sequence[Any], n: int = 5, draw: bool = False, batch_size: int = 64, **how: Any
    ) -> list[list[tuple[str, float]]]:
        """The ``n`` best texts that beam search finds for each source, best first, each with its log p(y|x, z) in nats.
        Arguments as of :meth:`write`; ``beam`` is ``n`` unless it is given. The order is that of beam search, which a
        ``length_penalty`` changes. A model of sources too (``model.joint``) adds log p(x|z), the same for all."""
        decoding = Decoding(**{"method": "beam", "beam": max(n, Decoding.beam), **how, "n_best": n})
        found = self._written(sources, draw, batch_size, decoding, scored=True)
        return [list(zip(texts, scores, strict=True)) for texts, scores in found]

    def _written(
        self, sources: Sequence[Any], draw: bool, batch_size: int, how: Decoding, scored: bool
    ) -> list[tuple[list[str], list[float]]]:
        """Texts for each source and, if ``scored``, log p of each."""
        model = self.model
        if not model.writes or "source" not in model.reads:
            lacks = "reads no sources\ntry  sample(n) | decode(z)" if model.writes else "writes no texts"
            raise RunError(f"write: this model {lacks}")
        if isinstance(sources, str):
            raise TypeError("write: needs a list of sources, not a single text: put it in [ ]")
        records = [{"text": "", **(each if isinstance(each, Mapping) else {"source": each})} for each in sources]
        found: dict[int, tuple[list[str], list[float]]] = {}
        with torch.no_grad():
            for rows in parts(records, batch_size, by="source"):
                asked = self._batch([records[row] for row in rows])
                reading = model.read(asked)
                code = model.code(reading, draw)
                ids = model.write(code, how, reading)
                scores = self._log_p(asked, reading, code, ids, how) if scored else []
                for at, row in enumerate(rows):
                    part = slice(at * how.n_best, (at + 1) * how.n_best)
                    found[row] = [self.vocabulary.decode(text) for text in ids[part]], scores[part]
        return [found[row] for row in range(len(records))]

    def _log_p(
        self, asked: Batch, reading: Reading, code: Float[Tensor, "B W"], ids: list[list[int]], how: Decoding
    ) -> list[float]:
        """log p of texts that were written; one that was cut has no ``<eos>``."""
        rows = torch.arange(len(asked), device=code.device).repeat_interleave(how.n_best)
        bos, eos = self.vocabulary.special.bos, self.vocabulary.special.eos
        whole = [[bos, *text, *([eos] if len(text) < how.max_length else [])] for text in ids]
        texts = Batch.of(whole).to(self.model.device)
        given = {name: getattr(asked, name) for name in ("source", "attributes")}
        texts = dataclasses.replace(texts, **{name: part[rows] for name, part in given.items() if part is not None})
        return self.model.log_likelihood(texts, reading[rows], code[rows][None])[0].tolist()

    def sample(
        self,
        n: int,
        seed: int | None = None,
        source: Any = None,
        c: Chosen | None = None,
        prior: Distribution | None = None,
        **how: Any,
    ) -> list[str]:
        """``n`` texts: z from the prior, then words drawn from p(x|z).

        Args:
            n: number of texts. seed: of the draws. how: of :class:`~lvexp.networks.writing.Decoding`.
            source: what the texts are given, if the model reads a source; z is then drawn from p(z|source).
            prior: to draw z from in place of the model's own, see :meth:`fit`.
            c: the classes of the texts, ``"positive"`` or ``{"sentiment": "positive"}``, if z includes any.

        Raises:
            RunError: the model has no prior (a plain auto-encoder), or reads sources and is given none.
        """
        latent = self.model.latent
        if source is not None:
            with torch.random.fork_rng():
                if seed is not None:
                    torch.manual_seed(seed)
                return self.write([source] * n, draw=True, **{"method": "sample", **how})
        given = self.model.writes and "source" in self.model.reads
        if given or not self.model.writes:
            other = "sample(n, source=…)" if given else "a run of model=svae"
            raise RunError(f"sample: this model writes no texts on its own\ntry  {other}")
        prior = latent.prior() if prior is None else prior
        if prior is None and latent.dim is not None:
            raise RunError("sample: an auto-encoder has no prior to draw from\ntry  a run of model=svae")
        with torch.random.fork_rng(), torch.no_grad():
            if seed is not None:
                torch.manual_seed(seed)
            if prior is None:
                return self.decode(torch.zeros(n, 0), **{"method": "sample", **how})
            value = prior.sample((n,))
            if c is not None:
                if not isinstance(self.model, AttributeModel):
                    raise RunError("sample: c is for models with classes of texts\ntry  a run of model=control")
                value = self.model.latent.fixed(value, self.model.chosen(c).expand(n, -1))
            z = latent.code(value[None])[0]
            return self.decode(z, **{"method": "sample", **how})

    def fit(self, records: Sequence[Record], kind: str = "mixture", seed: int = 0) -> Distribution:
        """A distribution fitted to one draw of z for each record, usually the training texts, to be used as
        ``sample(n, prior=…)``: samples are then like those texts even where the prior is far from the aggregate
        posterior, and an auto-encoder gets something to sample from.

        Args:
            kind: "mixture" or "flow", see :func:`lvexp.priors.fitted.fitted`. seed: of draws and fit.

        Raises:
            RunError: part of z is discrete, or z is a direction, or there is none. ConfigError: too few records.
        """
        if not fits(self.model.latent):
            raise RunError("fit: this model has no z with a density in its space\ntry  a run of latent=gaussian")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return fitted(kind, self._posteriors(records, lambda q: q.sample()), seed)

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
        names = model.attribute_names
        return batch(self.vocabulary, records, model.reads, model.labels, model.sources, names).to(model.device)

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
