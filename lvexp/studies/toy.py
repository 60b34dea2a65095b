"""The toy of He et al. 2019 ("Lagging inference networks and posterior collapse", figures 2, 3): does q(z|x) keep up?

    scripts/toy                                            basic training, one strip of plots
    scripts/toy --row '' --row regularizer=aggressive      one strip for each row of overrides, one below the other
    scripts/toy --row '' --iterations 400 --every 100      shorter
    scripts/toy --draw                                     only draws again, from the last call's points

A VAE with one latent dimension learns sentences that are generated from a known latent variable. At regular intervals
500 training sentences are plotted by the mean of q(z|x), the approximate posterior, and the mean of p(z|x), the model's
own posterior, computed on a grid of z in [-20, 20] with step 0.1. If points move up while their mean of q stays near 0,
inference lags behind the model; if both are 0 the model has collapsed; on the diagonal the two agree.

Sentences: 16,000 to train on, 2,000 each to validate and test, of 10 words among 1,000. As in the authors' released
generator, where the paper is silent: a two-dimensional latent variable from four Gaussians of unit variance at
(±2, ±2); an LSTM of 100 units over word vectors of 100, all its weights from U(-1, 1), that reads the latent variable
at each step, starts from it (cell W z, state tanh W z) and adds a linear map of it, weights from U(-3, 3), to the
logits; the first word uniform over all words. The seed, and so the sentences, are ours.

Training: encoder and decoder of 50 units, batches of 16, SGD with rate 1, clipping at 5, dropout 0.5, beta = 1, all
weights from U(-0.01, 0.01) except word vectors from U(-0.1, 0.1), as theirs. An iteration is a step that trains the
decoder; steps that train the encoder alone do not count.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import shlex
import warnings
from pathlib import Path
from typing import Any, cast

import lightning as L
import numpy as np
import torch
from torch import nn

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.instruments.settings import EvaluationSettings
from lvexp.models.base import LatentModel
from lvexp.studies.composed import composed
from lvexp.training.module import Training
from lvexp.training.steps import Seeds
from lvexp.training.validation import Validation

WORDS, LENGTH, POINTS = 1000, 10, 500
SPLITS = {"train": 16_000, "valid": 2_000, "test": 2_000}
GRID = torch.arange(-200, 201) / 10
FIXED = [
    *("model=svae", "regularizer=none", "encoder.norm=false", "latent.dim=1"),
    *("encoder.embedding=50", "encoder.hidden=50", "decoder.embedding=50"),
    *("decoder.hidden=50", "optimizer=sgd", "data=text", "data.batch_size=16", "data.vocabulary.min_count=1"),
    *("logger=csv", "trainer.patience=0", "init=uniform"),
]


class Generator(nn.Module):
    """The random, fixed language that the sentences are generated from."""

    def __init__(self, width: int = 100):
        super().__init__()
        self.embedding, self.initial = nn.Embedding(WORDS, width), nn.Linear(2, width, bias=False)
        self.cell = nn.LSTMCell(width + 2, width)
        self.output, self.direct = nn.Linear(width, WORDS, bias=False), nn.Linear(2, WORDS, bias=False)
        for weight in self.parameters():
            nn.init.uniform_(weight, -1, 1)
        nn.init.uniform_(self.direct.weight, -3, 3)

    @torch.no_grad()
    def sentences(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Words, [N, 10], and the number of the Gaussian of each sentence's latent variable, [N]."""
        component = torch.randint(4, (count,))
        z = torch.tensor([[-2.0, -2], [-2, 2], [2, -2], [2, 2]])[component] + torch.randn(count, 2)
        cell = self.initial(z)
        state, words = (cell.tanh(), cell), [torch.randint(WORDS, (count,))]
        while len(words) < LENGTH:
            state = self.cell(torch.cat([self.embedding(words[-1]), z], -1), state)
            words.append((self.output(state[0]) + self.direct(z)).softmax(-1).multinomial(1)[:, 0])
        return torch.stack(words, 1), component


def corpus(folder: Path, seed: int) -> tuple[list[str], list[int]]:
    """Writes train.txt, valid.txt and test.txt; returns the sentences to plot and their Gaussians."""
    torch.manual_seed(seed)
    words, component = Generator().sentences(sum(SPLITS.values()))
    lines = [" ".join(f"w{word}" for word in row) for row in words.tolist()]
    at = 0
    for name, count in SPLITS.items():
        (folder / f"{name}.txt").write_text("\n".join(lines[at : at + count]) + "\n")
        at += count
    return lines[:POINTS], component[:POINTS].tolist()


@torch.no_grad()
def model_means(model: Any, batch: Batch) -> torch.Tensor:
    """E[z|x] under p(z|x) ∝ p(x|z) p(z) on the grid, [B]."""
    prior = model.latent.prior()
    assert prior is not None
    found = []
    for start in range(0, len(batch), 2):  # few at a time, so that they fit in the processor's cache
        part = batch[slice(start, start + 2)]
        z = GRID[:, None, None].expand(-1, len(part), 1)
        reading = model.read(part)
        weight = (model.log_likelihood(part, reading, model.latent.code(z)) + prior.log_prob(z)).softmax(0)
        found.append((weight * GRID[:, None]).sum(0))
    return torch.cat(found)


class Watch(L.Callback):
    """Records both means of the points at regular intervals, and ends training after the last."""

    def __init__(self, batch: Batch, every: int, last: int):
        self.batch, self.every, self.last = batch, every, last
        self.iteration, self.seen = 0, []

    def note(self, model: LatentModel) -> None:
        model.eval()
        with torch.no_grad():
            terms = model.terms(self.batch)
        self.seen.append(
            {
                "iteration": self.iteration,
                "approximate": terms.q.mean[:, 0].tolist(),
                "model": model_means(model, self.batch).tolist(),
                "rate": float("nan") if terms.rate is None else terms.rate.mean().item(),
            }
        )
        model.train()
        print(f"  iteration {self.iteration:5d}  rate {self.seen[-1]['rate']:.3f} nats", flush=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, Training)
        self.note(pl_module.model)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, *_: Any) -> None:
        self.iteration = trainer.global_step
        if self.iteration % self.every == 0:
            self.note(pl_module.model)
        trainer.should_stop = self.iteration >= self.last


def train(row: str, points: list[str], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The records made while training a row."""
    files = [f"data.files.{name}={(arguments.out / f'{name}.txt').resolve()}" for name in SPLITS]
    config = composed(*FIXED, *files, *shlex.split(row))
    L.seed_everything(config["seed"], verbose=False)
    data = build.data(config)
    training = build.training(config, build.model(config, data.vocabulary), data.steps_per_epoch)
    watch = Watch(Batch.of(cast(Vocabulary, data.vocabulary).encode(points)), arguments.every, arguments.iterations)
    # validation is needed: its mutual information ends aggressive training
    callbacks = [Seeds(config["seed"]), Validation(EvaluationSettings(**config["evaluation"]), "val/nelbo"), watch]
    L.Trainer(
        accelerator="cpu", devices=1, max_epochs=-1, gradient_clip_val=5.0, logger=False, callbacks=callbacks,
        num_sanity_val_steps=0, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        use_distributed_sampler=False, default_root_dir=arguments.out,
    ).fit(training, datamodule=data)  # fmt: skip
    return watch.seen


def draw(kept: dict[str, Any], file: Path, columns: int) -> None:
    """A strip of plots per row: q's mean horizontally, the model's mean vertically, coloured by the true Gaussian."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from lvexp.report.style import COLOURS

    rows = kept["rows"]
    columns = min(columns, *(len(seen) for seen in rows.values()))
    figure = Figure(figsize=(0.6 + 1.8 * columns, 0.1 + 2.45 * len(rows)), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    colours = np.array(COLOURS)[kept["component"]]
    means = [seen[i][kind] for seen in rows.values() for i in range(len(seen)) for kind in ("approximate", "model")]
    edge = max(2, math.ceil(np.quantile(np.abs(means), 0.999)))
    ticks = [-edge, -edge / 2, 0, edge / 2, edge]
    for part, (row, seen) in zip(np.atleast_1d(cast(Any, figure.subfigures(len(rows)))), rows.items(), strict=True):
        part.suptitle(row or "basic training", x=0.01, ha="left", fontsize=10, fontweight="bold")
        strip = part.subplots(1, columns, sharey=True, squeeze=False)[0]
        for axes, at in zip(strip, np.linspace(0, len(seen) - 1, columns).round().astype(int), strict=True):
            found = seen[at]
            axes.axhline(0, color="#DADADA", linewidth=0.6)
            axes.axvline(0, color="#DADADA", linewidth=0.6)
            axes.plot([-edge, edge], [-edge, edge], color="#A8A8A8", linewidth=1, linestyle="--")
            axes.scatter(found["approximate"], found["model"], s=6, c=colours, alpha=0.6, linewidths=0)
            axes.set(xlim=(-edge, edge), ylim=(-edge, edge), aspect="equal", xticks=ticks, yticks=ticks)
            axes.set_title(f"iteration {found['iteration']:,}, rate {found['rate']:.2f}", fontsize=7.5, loc="left")
            axes.tick_params(labelsize=7)
            axes.set_xlabel("mean of q(z|x)", fontsize=8)
        strip[0].set_ylabel("mean of p(z|x)", fontsize=8)
    figure.savefig(file)
    print(f"drawn in {file}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row", action="append", help="overrides of one row, as on lvexp's command line; repeatable")
    parser.add_argument("--iterations", type=int, default=2000)
    parser.add_argument("--every", type=int, default=200, help="iterations between two pictures")
    parser.add_argument("--columns", type=int, default=6, help="pictures in a row, evenly chosen, first and last too")
    parser.add_argument("--seed", type=int, default=20190501, help="of the sentences (seed=… in a row: of training)")
    parser.add_argument("--out", type=Path, default=Path("outputs/toy"))
    parser.add_argument("--draw", action="store_true", help="only draw again")
    arguments = parser.parse_args()
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    kept = arguments.out / "points.json"
    if not arguments.draw:
        arguments.out.mkdir(parents=True, exist_ok=True)
        points, component = corpus(arguments.out, arguments.seed)
        rows = {}
        for row in arguments.row or [""]:
            print(row or "basic training", flush=True)
            rows[row] = train(row, points, arguments)
            kept.write_text(json.dumps({"component": component, "rows": rows}))
    draw(json.loads(kept.read_text()), arguments.out / "toy.png", arguments.columns)
