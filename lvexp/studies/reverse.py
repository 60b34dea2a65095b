"""Reverse perplexity (Zhao et al. 2018): that of real texts under a language model trained on texts of another model.

    scripts/reverse outputs/priors/* --texts 10000 --to docs/reverse.jsonl trainer.threads=1 logger=csv
    scripts/reverse outputs/priors/svae-…  --real

A low value needs samples that are fluent and as varied as real texts; the perplexity of the samples under a language
model of real texts (`evaluation.language_model`) is low for one fluent sentence again and again. Validation and test
texts are those of each run, and so is the vocabulary. The language model is `model=rnnlm`; the words after the options
are given to it. `--real` adds its perplexity after as many real training texts, which no model's samples should beat.
A run that is in the file already is left out.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import LvexpError
from lvexp.job import identity
from lvexp.loading import Run, load
from lvexp.python import train

_AT_ONCE = 500


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/reverse", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="+", metavar="RUN|key=value", help="folders of finished runs; overrides")
    parser.add_argument("--texts", type=int, default=10_000, help="written by each run (default 10,000)")
    parser.add_argument("--real", action="store_true", help="also train on as many real texts of the first run")
    parser.add_argument("--to", type=Path, default=Path("outputs/reverse/reverse.jsonl"), help="file of the results")
    arguments = parser.parse_args()
    overrides = [word for word in arguments.words if "=" in word]
    folders = [Path(word) for word in arguments.words if "=" not in word]
    if not folders or arguments.texts < 1:
        parser.error("needs at least one folder of a finished run, and --texts of at least 1")
    done = read(arguments.to) if arguments.to.exists() else []
    arguments.to.parent.mkdir(parents=True, exist_ok=True)
    for folder, real in [*((folder, False) for folder in folders), *([(folders[0], True)] if arguments.real else [])]:
        run = load(folder)
        key = {"run": "real texts" if real else run.folder.name, "texts": arguments.texts, "overrides": overrides}
        if any(key.items() <= row.items() for row in done):
            continue
        row = key | measured(run, arguments.texts, overrides, real) | {"commit": identity.commit()}
        with arguments.to.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{key['run']}  reverse perplexity {row['reverse_perplexity']:.1f}", flush=True)


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def measured(run: Run, count: int, overrides: list[str], real: bool) -> dict[str, Any]:
    """Perplexity per token of the run's test texts under a language model of ``count`` texts that it wrote, or of real
    training texts.

    Raises:
        RunError: the run writes no texts of its own. DataError: its corpus is not there.
    """
    data = build.data(run.config)
    name = f"{'real' if real else run.folder.name}-{count}"
    place = Path("outputs/reverse") / name
    place.mkdir(parents=True, exist_ok=True)
    texts = decoded(data.in_order("train"), run.vocabulary) if real else written(run, count)
    splits = {split: decoded(data.in_order(split), run.vocabulary) for split in ("valid", "test")}
    for split, lines in {"train": texts, **splits}.items():
        kept = (line for line in lines if line.strip())
        chosen = [line for line, _ in zip(kept, range(count if split == "train" else sys.maxsize), strict=False)]
        (place / f"{split}.txt").write_text("\n".join(chosen) + "\n", encoding="utf-8")
    files = [f"data.files.{split}={(place / f'{split}.txt').absolute()}" for split in ("train", "valid", "test")]
    judge = train(
        *("model=rnnlm", "data=text", *files, f"data.vocabulary.run={run.folder}"),
        *(f"data.vocabulary.kind={run.vocabulary.kind}", "name=reverse", *overrides),
    )
    scores = judge.result["test"]
    return {
        "judge": judge.folder.name,
        "reverse_perplexity": math.exp(scores["nll"] * scores["sentences"] / scores["tokens"]),
    }


def written(run: Run, count: int) -> Iterator[str]:
    """Texts that the run draws, without the empty ones, of which there may be as many again."""
    for part in range(2 * math.ceil(count / _AT_ONCE)):
        yield from run.sample(_AT_ONCE, seed=part)


def decoded(batches: Iterable[Batch], vocabulary: Vocabulary) -> Iterator[str]:
    """Texts as the model reads them, with ``<unk>``."""
    for batch in batches:
        for text in batch.tokens.tolist():
            yield vocabulary.decode(text)


if __name__ == "__main__":
    try:
        main()
    except LvexpError as error:
        print(f"scripts/reverse: {error}", file=sys.stderr)
        sys.exit(2)
