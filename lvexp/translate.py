"""A text for each source in a file, by a finished run: ``python -m lvexp.translate RUN FILE``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any, cast

from lvexp.data import lines
from lvexp.errors import ConfigError
from lvexp.job import command

_EXAMPLES = """\
  python -m lvexp.translate outputs/translation/seq2seq-… test.de --to test.en
  python -m lvexp.translate RUN test.de --references test.en     BLEU and chrF, on standard error
  python -m lvexp.translate RUN test.de --n-best 5               one JSON object a line, with log p of each text
  python -m lvexp.translate RUN images.npy                       sources that are feature vectors
  … | python -m lvexp.translate RUN -                            sources from standard input
"""


def main() -> None:
    """The entry point, see :func:`lvexp.job.command.carry_out`."""
    command.carry_out("translate", lambda: _translate(_arguments(sys.argv[1:])))


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = command.parser("translate", __doc__, _EXAMPLES)
    command.finished_run(parser)
    parser.add_argument(
        "file", help="sources, one a line, prepared as those of training; .npy for vectors; - for stdin"
    )
    parser.add_argument("--to", metavar="FILE", help="write there, instead of to standard output")
    parser.add_argument("--references", metavar="FILE", help="a text for each source: print BLEU and chrF")
    parser.add_argument(
        "--beam", type=int, default=5, help="hypotheses of beam search; 1 decodes greedily (%(default)s)"
    )
    parser.add_argument("--length-penalty", type=float, default=0.0, help="favours longer texts (%(default)s)")
    parser.add_argument("--n-best", type=int, metavar="N", help="the N best texts, with their log p")
    parser.add_argument("--draw", action="store_true", help="z drawn from p(z|x), instead of its mean")
    parser.add_argument("--seed", type=command.seed, default=0, help="of the draws (%(default)s)")
    parser.add_argument("--max-length", type=int, default=100, help="tokens after which a text is cut (%(default)s)")
    return parser.parse_args(words)


def _translate(asked: argparse.Namespace) -> None:
    sources: Sequence[Any] = lines.read(asked.file)
    references: Sequence[str] | None = None
    if asked.references is not None:
        references = lines.read(asked.references)
        lines.beside(asked.file, asked.references, sources, references)
    if references is not None and asked.n_best is not None:
        raise ConfigError("--n-best --references: BLEU judges one text for each source\ntry  leave out one of the two")
    lines.writable("--to", asked.to)

    import torch

    from lvexp.data.features import Features
    from lvexp.loading import load

    run = load(asked.run, trust=asked.trust)
    if asked.file.endswith(".npy") and not isinstance(run.model.sources, Features):
        raise ConfigError(f"{asked.file}: holds feature vectors, and this run reads texts\ntry  one text a line")
    torch.manual_seed(asked.seed)
    how: dict[str, Any] = {"max_length": asked.max_length, "length_penalty": asked.length_penalty}
    with command.values():
        if asked.n_best is not None:
            beam = max(asked.beam, asked.n_best)
            found = run.n_best(sources, asked.n_best, asked.draw, asked.batch_size, beam=beam, **how)
            lines.write("--to", asked.to, (_json(source, texts) for source, texts in zip(sources, found, strict=True)))
            return
        how |= {"method": "greedy"} if asked.beam == 1 else {"method": "beam", "beam": asked.beam}
        written = run.write(sources, asked.draw, asked.batch_size, **how)
    lines.write("--to", asked.to, written)
    if references is not None:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF

        bleu, chrf = BLEU(tokenize="none", force=True), CHRF()
        vocabulary = cast(Any, run.vocabulary)
        texts = [vocabulary.decode(ids) for ids in vocabulary.encode(references)]
        for metric in (bleu, chrf):
            score = metric.corpus_score(written, [references])
            print(f"{score.name} {score.score:.2f}  {metric.get_signature()}", file=sys.stderr)
        if texts != references:  # what the report of a run compares with
            known = bleu.corpus_score(written, [texts]).score
            print(f"BLEU {known:.2f}  with references in the model's vocabulary, as in its report", file=sys.stderr)


def _json(source: Any, texts: Sequence[tuple[str, float]]) -> str:
    known = {"source": source} if isinstance(source, str) else {}
    best = [{"text": text, "log_p": round(score, 4)} for text, score in texts]
    return json.dumps({**known, "n_best": best}, ensure_ascii=False)


if __name__ == "__main__":
    main()
