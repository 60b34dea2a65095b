"""Embeddings and scores of the texts in a file, by a finished run: ``python -m lvexp.encode RUN FILE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lvexp.data import lines
from lvexp.errors import ConfigError, DataError
from lvexp.job import command

_EXAMPLES = """\
  python -m lvexp.encode outputs/default/svae-… texts.txt --to z.npz             posterior means, one row a text
  python -m lvexp.encode RUN texts.txt --to z.safetensors
  python -m lvexp.encode RUN texts.txt --scores scores.jsonl --samples 500       -log p(x) of each text, nats
  python -m lvexp.encode RUN test.en --sources test.de --scores scores.jsonl     texts given their sources
"""


def main() -> None:
    """The entry point, see :func:`lvexp.job.command.carry_out`."""
    command.carry_out("encode", lambda: _encode(_arguments(sys.argv[1:])))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = command.parser("encode", __doc__, _EXAMPLES)
    command.finished_run(parser)
    parser.add_argument("file", help="texts, one a line, prepared as those of training; - for standard input")
    parser.add_argument("--to", metavar="FILE", help="posterior means as z in a .npz or .safetensors file")
    parser.add_argument("--scores", metavar="FILE", help="-log p of each text, one JSON object a line")
    parser.add_argument("--sources", metavar="FILE", help="their sources, if the model reads them; .npy for vectors")
    parser.add_argument("--samples", type=int, default=100, help="draws of an importance-weighted score (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of these draws (%(default)s)")
    return parser.parse_args(words)


def _encode(asked: argparse.Namespace) -> None:
    if asked.to is None and asked.scores is None:
        raise ConfigError("nothing to write is named\ntry  --to z.npz | --scores scores.jsonl")
    if asked.to is not None and Path(asked.to).suffix not in (".npz", ".safetensors"):
        raise ConfigError(f"--to {asked.to}: its name must end in .npz or .safetensors\ntry  --to z.npz")
    for name in ("samples", "batch_size"):
        if getattr(asked, name) < 1:
            raise ConfigError(f"--{name.replace('_', '-')} {getattr(asked, name)}: it must be at least 1")
    for option in ("--to", "--scores"):
        lines.writable(option, getattr(asked, option[2:]))
    texts: Sequence[Any] = lines.read(asked.file)
    if asked.sources is not None:
        sources = lines.read(asked.sources)
        lines.beside(asked.file, asked.sources, texts, sources)
        texts = list(zip(sources, texts, strict=True))

    from lvexp.loading import load

    run = load(asked.run, trust=asked.trust)
    if asked.to is not None:
        _save(asked.to, run.encode(texts, batch_size=asked.batch_size))
    if asked.scores is not None:
        nll = run.score(texts, samples=asked.samples, seed=asked.seed, batch_size=asked.batch_size)
        found = (json.dumps({"index": row, "nll": round(value, 5)}) for row, value in enumerate(nll))
        lines.write("--scores", asked.scores, found)


def _save(name: str, z: Any) -> None:
    try:
        if name.endswith(".npz"):
            import numpy as np

            np.savez_compressed(name, z=z.cpu().numpy())
            return
        try:
            from safetensors.torch import save_file  # pyright: ignore[reportMissingImports]  # an optional package
        except ImportError as error:
            raise ConfigError(
                f"--to {name}: the package safetensors is not installed\ntry  pip install safetensors | --to z.npz"
            ) from error
        save_file({"z": z.cpu().contiguous()}, name)
    except OSError as error:
        raise DataError(f"--to {name}: cannot be written: {error.strerror or error}\ntry  another file") from error


if __name__ == "__main__":
    main()
