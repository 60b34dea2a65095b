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
import itertools
import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import RunError
from lvexp.instruments.exhibits import spread
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
    arguments = parser.parse_intermixed_args()
    overrides = [word for word in arguments.words if "=" in word]
    folders = [Path(word) for word in arguments.words if "=" not in word]
    if not folders or arguments.texts < 1:
        parser.error("needs at least one folder of a finished run, and --texts of at least 1")
    done = read(arguments.to) if arguments.to.exists() else []
    arguments.to.parent.mkdir(parents=True, exist_ok=True)
    for folder, real in [*((folder, False) for folder in folders), *([(folders[0], True)] if arguments.real else [])]:
        run = load(folder)
        key = {"run": "real texts" if real else folder.resolve().name, "texts": arguments.texts, "overrides": overrides}
        if any(key.items() <= row.items() for row in done):
            continue
        row = key | measured(run, folder.resolve(), arguments.texts, overrides, real) | {"commit": identity.commit()}
        with arguments.to.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{key['run']}  reverse perplexity {row['reverse_perplexity']:.1f}", flush=True)


def read(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def measured(run: Run, folder: Path, count: int, overrides: list[str], real: bool) -> dict[str, Any]:
    """Perplexity per token of the test texts of the run in ``folder``, under a language model of ``count`` texts that
    it wrote, or of real training texts.

    Raises:
        RunError: the run writes no texts of its own. DataError: its corpus is not there.
    """
    data = build.data(run.config)
    assert isinstance(run.vocabulary, Vocabulary)
    texts = {split: decoded(data.in_order(split), run.vocabulary) for split in ("train", "valid", "test")}
    if real:  # evenly from the whole corpus, which may be in an order
        texts["train"] = [texts["train"][row] for row in spread(len(texts["train"]), count)]
    else:
        texts["train"] = list(itertools.islice(written(run), count))
    place = Path("outputs/reverse") / f"{'real' if real else folder.name}-{count}"
    place.mkdir(parents=True, exist_ok=True)
    for split, lines in texts.items():
        (place / f"{split}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = [f"data.files.{split}={(place / f'{split}.txt').absolute()}" for split in texts]
    judge = train(
        *("model=rnnlm", "data=text", *files, f"data.vocabulary.run={folder}"),
        *(f"data.vocabulary.kind={run.vocabulary.kind}", "name=reverse", *overrides),
    )
    assert judge.folder is not None
    scores = judge.result["test"]
    per_token = scores["nll"] * scores["sentences"] / scores["tokens"]
    return {"judge": judge.folder.name, "reverse_perplexity": math.exp(per_token)}


def written(run: Run) -> Iterator[str]:
    """Texts that the run draws, without the empty ones.

    Raises:
        RunError: it writes empty texts alone.
    """
    for seed in itertools.count():
        if not (texts := list(filter(str.strip, run.sample(_AT_ONCE, seed=seed)))):
            raise RunError(
                f"{run.folder}: {_AT_ONCE} texts drawn from it are empty\ntry  a run that was trained longer"
            )
        yield from texts


def decoded(batches: Iterable[Batch], vocabulary: Vocabulary) -> list[str]:
    """Texts as the model reads them, with ``<unk>``."""
    texts = [vocabulary.decode(text) for batch in batches for text in batch.tokens.tolist()]
    return [text for text in texts if text.strip()]
