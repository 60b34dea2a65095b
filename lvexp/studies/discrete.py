"""Discrete latent variables: a comparison of estimators, and the benefit of unlabelled texts beside few labels.

    scripts/discrete estimators            every estimator, at equal steps and at equal seconds; gradients
    scripts/discrete labels                model=m2 against its own encoder trained on the labels alone
    scripts/discrete draw                  tables and figures again, from the files of the others

Everything is small, to run in minutes: see FIXED, and --help of each. The decoder sees z only (`decoder=window
decoder.window=0`), which makes p(x) a mixture of K bags of words, so that z is needed. Seconds are CPU seconds of one
thread, so that other load on the machine does not count.

Gradients are those of the distortion with respect to the logits of q(z|x), text by text, at parameters trained for a
while by enumeration: the exact one from all K values, and R of each estimator. Bias is |E g - g*| / |g*|, variance
E|g - E g|^2 / |g*|^2; the squared bias is corrected for the error of a mean over R gradients, and so may be 0.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.storage import Split
from lvexp.draws import expect
from lvexp.estimators.enumerate import Enumerate
from lvexp.metrics.clustering import clustering
from lvexp.metrics.likelihood import marginal
from lvexp.models.base import LatentModel
from lvexp.models.m2 import M2
from lvexp.report.style import COLOURS, dress
from lvexp.studies.composed import composed
from lvexp.training.module import Training

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
FIXED = [
    *("regularizer=none", "encoder.norm=false"),
    *("encoder.embedding=32", "encoder.hidden=64", "decoder=window", "decoder.window=0", "decoder.embedding=1"),
    *("decoder.hidden=64", "decoder.dropout_in=0.0", "decoder.dropout_out=0.0", "data.batch_size=32"),
    *("data.vocabulary.max_size=1000", "optimizer.lr=0.003", "optimizer.fused=false", "logger=csv"),
]
ESTIMATORS = {
    "enumerate": "estimator=enumerate",
    "score, no baseline": "estimator=score estimator.baseline=none",
    "score, running mean": "estimator=score estimator.baseline=mean",
    "score, running mean, normalised": "estimator=score estimator.baseline=mean estimator.normalise=true",
    "score, of the text (NVIL)": "estimator=score estimator.baseline=input",
    "score, leave-one-out, S = 4": "estimator=score estimator.baseline=leave_one_out model.samples=4",
    "subset, S = 4": "estimator=subset model.samples=4",
    "straight-through": "estimator=straight_through",
    "gumbel, tau 0.5": "estimator=gumbel",
    "gumbel, tau 1 to 0.5": "estimator=gumbel estimator.rate=0.005",
    "gumbel, tau 0.5, hard": "estimator=gumbel estimator.hard=true",
}
TEMPERATURES = (0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.5, 2.5, 5.0)


class Stepper:
    """Training steps without a trainer, and their CPU seconds."""

    def __init__(self, training: Training, seed: int):
        self.training, self.model = training, training.model
        self.seed, self.steps, self.seconds = seed, 0, 0.0
        self.optimizer = training.configure_optimizers()

    def __call__(self, batch: Batch, supervised: bool = False) -> None:
        torch.manual_seed(self.seed * 1_000_003 + self.steps)
        began = time.process_time()
        self.model.estimator.begin(self.steps)
        if supervised:
            loss = torch.as_tensor(self.model.observe(batch, self.model.params(self.model.read(batch)))[1]).mean()
        else:
            loss = self.training.training_step(batch, 0)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 5.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.steps += 1
        self.seconds += time.process_time() - began


@torch.no_grad()
def judged(model: LatentModel, batches: list[Batch]) -> dict[str, float]:
    """Exact NLL and agreement of clusters with labels, on the test set."""
    model.eval()
    nll, assigned, labels = 0.0, [], []
    for batch in batches:
        nll += float(marginal(model, batch).sum())
        q = model.latent.posterior(model.params(model.read(batch)))
        marginals = model.latent.marginals(q)
        assert marginals is not None
        assert batch.labels is not None
        assigned += marginals.argmax(-1).tolist()
        labels += batch.labels.tolist()
    model.train()
    return {"nll": nll / len(labels), **(clustering(assigned, labels) or {})}


def endless(loader: Any) -> Iterator[Batch]:
    while True:
        yield from loader


# --- estimators ------------------------------------------------------------------------------------------------------


def estimators(folder: Path, corpora: list[str], sizes: list[int], steps: int, seeds: int, repeats: int) -> None:
    """Trains with each estimator and measures its gradient; writes a file for each corpus and K."""
    for corpus, categories in itertools.product(corpora, sizes):
        texts = _corpus(corpus, folder)
        found: dict[str, Any] = {"corpus": corpus, "steps": steps, "seeds": seeds, "repeats": repeats}
        found |= {"runs": [], "gradients": []}
        for seed in range(1, seeds + 1):
            budget = None
            for name, typed in ESTIMATORS.items():
                size = f"latent.categories={categories}"
                config = composed(*FIXED, "latent=categorical", size, f"seed={seed}", *typed.split(), *texts)
                data = build.data(config)
                torch.manual_seed(seed)
                model = build.model(config, data.vocabulary)
                step, batches, test = (
                    Stepper(build.training(config, model), seed),
                    endless(data.train_dataloader()),
                    list(data.test_dataloader()),
                )
                while step.steps < steps:
                    step(next(batches))
                run = {"categories": categories, "seed": seed, "name": name, "per_step": step.seconds / steps}
                run["equal_steps"] = judged(model, test)
                if budget is None:
                    budget = step.seconds
                    found["gradients"] += gradients(model, next(batches), categories, seed, repeats)
                while step.seconds < budget:
                    step(next(batches))
                run |= {"steps_in_budget": step.steps, "budget": budget, "equal_seconds": judged(model, test)}
                found["runs"].append(run)
                print(json.dumps(run), flush=True)
                (folder / f"estimators_{corpus}_{categories}.json").write_text(json.dumps(found, indent=1))


def gradients(model: LatentModel, batch: Batch, categories: int, seed: int, repeats: int) -> list[dict[str, Any]]:
    """Bias and variance of each estimator's gradient at the model's current parameters."""
    batch = batch[:16]
    reading = model.read(batch)
    params = model.params(reading).detach()
    with torch.no_grad():
        draw = Enumerate().draw(model.latent.posterior(params), 1)
        cost = -model.log_likelihood(batch, reading, model.latent.code(draw.value))  # of each value
    exact = _gradient(Enumerate(), model, batch, params, cost, 1)
    kinds = [(name, typed, None) for name, typed in ESTIMATORS.items() if "tau" not in name and "normal" not in name]
    kinds += [
        (f"gumbel{', hard' * hard}", f"estimator=gumbel estimator.temperature={tau} estimator.hard={hard}", tau)
        for hard in (False, True) for tau in TEMPERATURES
    ]  # fmt: skip
    rows = []
    for name, typed, tau in kinds:
        config = composed(*FIXED, "latent=categorical", f"latent.categories={categories}", *typed.split())
        estimator = build.model(config, model.vocabulary).estimator
        torch.manual_seed(seed)
        if any(True for _ in estimator.parameters()) or "mean" in name:  # a trained baseline
            optimizer = torch.optim.Adam(estimator.parameters(), 0.01) if list(estimator.parameters()) else None
            for _ in range(150):
                control = estimator.control(cost, batch)
                if optimizer is not None:
                    torch.as_tensor(control.fit).mean().backward()
                    optimizer.step()
                    optimizer.zero_grad()
        samples = config["model"]["samples"]
        many = torch.stack([_gradient(estimator, model, batch, params, cost, samples) for _ in range(repeats)])
        mean, length = many.mean(0), exact.square().sum()
        variance = (many - mean).square().sum((1, 2)).sum() / (repeats - 1) / length
        bias = ((mean - exact).square().sum() / length - variance / repeats).clamp(min=0).sqrt()
        rows.append({
            "name": name, "tau": tau, "categories": categories, "seed": seed,
            "bias": float(bias), "variance": float(variance), "error": float((variance / repeats).sqrt()),
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    return rows


def _gradient(estimator: Any, model: LatentModel, batch: Batch, params: Any, cost: Any, samples: int) -> torch.Tensor:
    """The gradient of the batch's mean distortion with respect to the logits, [B, K]."""
    params = params.clone().requires_grad_()
    draw = estimator.draw(model.latent.posterior(params), samples)
    if draw.value.requires_grad:
        cost = -model.log_likelihood(batch, model.read(batch), model.latent.code(draw.value))
    else:  # one of the K costs that are already known
        cost = cost.T[torch.arange(len(batch)), draw.value[:, :, 0].argmax(-1)]
    control = estimator.control(cost, batch)
    return torch.autograd.grad(expect(cost, draw, control.baseline, control.scale).mean(), params)[0]


# --- labels ----------------------------------------------------------------------------------------------------------


def labels(
    folder: Path, corpora: list[str], counts: list[int], steps: int, seeds: int, latent: str, alpha: float
) -> None:
    """Accuracy with and without the unlabelled texts; writes labels.json."""
    found: dict[str, Any] = {"steps": steps, "latent": latent, "alpha": alpha, "runs": []}
    for corpus, count, seed in itertools.product(corpora, counts, range(1, seeds + 1)):
        data = _corpus(corpus, folder)
        classes = 7 if corpus == "snips" else 2
        size = f"latent.{'c.' if latent == 'mixed' else ''}categories={classes}"
        config = composed(
            *FIXED,
            "model=m2",
            f"model.alpha={alpha}",
            f"latent={latent}",
            size,
            f"seed={seed}",
            f"data.labelled={count}",
            "data.batch_size=16",
            *data,
        )
        module = build.data(config)
        split, test = module.corpus.splits["train"], list(module.test_dataloader())
        assert isinstance(split, Split)
        assert module.shown is not None
        assert split.labels is not None
        known = np.flatnonzero(module.shown)
        for supervised in (True, False):
            torch.manual_seed(seed)
            model = build.model(config, module.vocabulary)
            step, drawn = Stepper(build.training(config, model), seed), random.Random(seed)
            others = endless(module.train_dataloader())
            while step.steps < steps:
                rows = [drawn.choice(known) for _ in range(16)]
                shown = [(split.row(row), split.labels[row]) for row in rows]
                if not supervised:  # sixteen labelled texts, and sixteen of the whole set
                    other = next(others)
                    shown += [(text[:n], -1) for text, n in zip(other.tokens.tolist(), other.lengths, strict=True)]
                batch = Batch.of([list(text) for text, _ in shown])
                batch.labels = torch.tensor([int(label) for _, label in shown])
                step(batch, supervised)
            run = {"corpus": corpus, "labels": count, "seed": seed, "supervised": supervised}
            run |= {"accuracy": accuracy(model, test), "per_step": step.seconds / steps}
            found["runs"].append(run)
            print(json.dumps(run), flush=True)
            (folder / "labels.json").write_text(json.dumps(found, indent=1))


@torch.no_grad()
def accuracy(model: LatentModel, batches: list[Batch]) -> float:
    """Share of test texts whose most probable class is right."""
    model.eval()
    right = []
    for batch in batches:
        assert isinstance(model, M2)
        right.append(model.class_logits(model.params(model.read(batch)))[0].argmax(-1) == batch.labels)
    return float(torch.cat(right).float().mean())


def _corpus(name: str, folder: Path) -> list[str]:
    """Overrides for a corpus; yelp_shen2017 has a file for each label, some of which are joined."""
    if name == "snips":
        return []
    root, rng = Path(os.environ["LVEXP_DATA"]) / name, random.Random(0)
    files = {"train": ("train20", 20_000), "valid": ("dev", 1_000), "test": ("dev", 2_000)}
    for split, (part, count) in files.items():
        file = folder / f"{name}.{split}.tsv"
        if not file.exists():
            lines = [
                f"{label}\t{line}"
                for label in (0, 1)
                for line in (root / f"sentiment.{part}.{label}").read_text(encoding="utf-8").splitlines()
            ]
            rng.shuffle(lines)
            kept = lines[-count:] if split == "valid" else lines[:count]
            file.write_text("\n".join(kept) + "\n", encoding="utf-8")
    named = [f"data.files.{split}={folder / f'{name}.{split}.tsv'}" for split in files]
    return ["data=text", *named, "data.columns.text=1", "data.columns.label=0", "data.header=false"]


# --- tables and pictures ---------------------------------------------------------------------------------------------


def draw(folder: Path) -> None:
    """Tables to standard output, figures to docs/."""
    kept = [json.loads(file.read_text()) for file in sorted(folder.glob("estimators_*.json"))]
    for found in kept:
        _estimator_table(found)
    if kept:
        _gradient_picture(kept)
    if (folder / "labels.json").exists():
        _label_picture(json.loads((folder / "labels.json").read_text()))


def _values(runs: list[dict], *path: str) -> list[float]:
    values = []
    for run in runs:
        value: Any = run
        for key in path:
            value = value[key]
        values.append(value)
    return values


def _mean(runs: list[dict], *path: str) -> float:
    return float(np.mean(_values(runs, *path)))


def _spread(runs: list[dict], *path: str) -> str:
    """The mean and, for more than one seed, the standard deviation."""
    values = _values(runs, *path)
    return f"{np.mean(values):.2f}" + (f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else "")


def _estimator_table(found: dict[str, Any]) -> None:
    runs = found["runs"]
    budget, head = _mean(runs, "budget"), f"{found['corpus']}, K = {runs[0]['categories']}, seeds {found['seeds']}"
    print(f"\n{head}: after {found['steps']} steps | {budget:.1f} CPU seconds\n")
    print("| estimator | ms/step | NLL | accuracy | NMI | steps | NLL | accuracy | NMI | variance | bias |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for name in ESTIMATORS:
        mine = [run for run in runs if run["name"] == name]
        if not mine:  # it was stopped before
            continue
        cells = [f"{1000 * _mean(mine, 'per_step'):.0f}"]
        for when in ("equal_steps", "equal_seconds"):
            cells += [f"{_mean(mine, 'steps_in_budget'):.0f}"] * (when == "equal_seconds")
            cells += [_spread(mine, when, key) for key in ("nll", "cluster_accuracy", "cluster_nmi")]
        kind, tau = ("gumbel, hard" if "hard" in name else "gumbel", 0.5) if "tau 0.5" in name else (name, None)
        rows = [row for row in found["gradients"] if (row["name"], row["tau"]) == (kind, tau)]
        cells += [f"{_mean(rows, key):.2g}" for key in ("variance", "bias")] if rows else ["–", "–"]
        print(f"| {name} | {' | '.join(cells)} |")


def _gradient_picture(kept: list[dict[str, Any]]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0 * len(kept), 6.4), layout="constrained")
    panels = figure.subplots(2, len(kept), squeeze=False, sharex=True)
    for column, found in enumerate(kept):
        mine = found["gradients"]
        where = f"{found['corpus']}, K = {mine[0]['categories']}"
        names = dict.fromkeys(row["name"] for row in mine)
        fixed = [name for name in names if "gumbel" not in name and name != "enumerate"]
        for line, key in enumerate(("variance", "bias")):
            axes = panels[line][column]
            dress(
                axes,
                f"{key.capitalize()} of the gradient, {where}",
                "temperature τ",
                "relative to the exact one",
            )
            for number, name in enumerate(("gumbel", "gumbel, hard")):
                values = {
                    tau: np.mean([row[key] for row in mine if row["name"] == name and row["tau"] == tau])
                    for tau in TEMPERATURES
                }
                axes.plot(values.keys(), values.values(), marker="o", color=COLOURS[number], label=name)
            for number, name in enumerate(fixed):
                value = np.mean([row[key] for row in mine if row["name"] == name])
                if key == "variance" or name in ("straight-through", "subset, S = 4"):
                    axes.axhline(value, color=COLOURS[2 + number % 6], linestyle="--", linewidth=1, label=name)
            if key == "bias":
                limit = np.mean([row["error"] for row in mine if row["tau"] == min(TEMPERATURES)])
                axes.axhline(limit, color="#A8A8A8", linestyle=":", label="error of the measurement at the lowest τ")
            axes.set_xscale("log")
            axes.set_yscale("log" if key == "variance" else "linear")
            axes.legend(fontsize=7, frameon=False)
    figure.savefig(DOCS / "discrete_gradients.png", dpi=130, facecolor="white")


def _label_picture(found: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    corpora = list(dict.fromkeys(run["corpus"] for run in found["runs"]))
    figure = Figure(figsize=(4.6 * len(corpora), 3.6), layout="constrained")
    print(
        "\n| corpus | labels | supervised only | with unlabelled texts | difference, seed by seed |"
        "\n|---|---|---|---|---|"
    )
    for place, corpus in enumerate(corpora, 1):
        axes = figure.add_subplot(1, len(corpora), place)
        dress(axes, f"{corpus}, {found['steps']} steps", "labelled texts", "accuracy on the test texts")
        mine = [run for run in found["runs"] if run["corpus"] == corpus]
        counts = sorted({run["labels"] for run in mine})
        table = {
            supervised: [
                [run["accuracy"] for run in mine if run["labels"] == count and run["supervised"] == supervised]
                for count in counts
            ]
            for supervised in (True, False)
        }
        for supervised, name in ((True, "labels alone"), (False, "and unlabelled texts (model=m2)")):
            means, errors = [np.mean(part) for part in table[supervised]], [np.std(part) for part in table[supervised]]
            axes.errorbar(counts, means, errors, marker="o", capsize=3, color=COLOURS[supervised], label=name)
        axes.set_xscale("log")
        axes.set_xticks(counts, [str(count) for count in counts])
        axes.minorticks_off()
        axes.legend(fontsize=8, frameon=False)
        for count, alone, both in zip(counts, table[True], table[False], strict=True):
            gains = ", ".join(f"{b - a:+.3f}" for a, b in zip(alone, both, strict=False))
            cells = [f"{np.mean(part):.3f} ± {np.std(part, ddof=len(part) > 1):.3f}" for part in (alone, both)]
            print(f"| {corpus} | {count} | {cells[0]} | {cells[1]} | {gains} |")
    figure.savefig(DOCS / "discrete_labels.png", dpi=130, facecolor="white")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("estimators", "labels", "draw"))
    parser.add_argument("--folder", type=Path, default=ROOT / "outputs" / "discrete")
    parser.add_argument("--steps", type=int, default=None, help="default: 300 for estimators, 200 for labels")
    parser.add_argument("--seeds", type=int, default=None, help="default: 1 for estimators, 3 for labels")
    parser.add_argument("--sizes", type=int, nargs="+", default=[7, 20], help="K")
    parser.add_argument("--repeats", type=int, default=400, help="gradients of each estimator")
    parser.add_argument("--corpora", nargs="+", help="default: snips for estimators, and yelp_shen2017 for labels")
    parser.add_argument("--counts", type=int, nargs="+", default=[100, 500, 2500])
    parser.add_argument("--latent", default="categorical", choices=("categorical", "mixed"))
    parser.add_argument("--alpha", type=float, default=60.0, help="weight of -log q(y|x)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.what == "estimators":
        corpora = given.corpora or ["snips"]
        estimators(given.folder, corpora, given.sizes, given.steps or 300, given.seeds or 1, given.repeats)
    elif given.what == "labels":
        corpora, steps, seeds = given.corpora or ["snips", "yelp_shen2017"], given.steps or 200, given.seeds or 3
        labels(given.folder, corpora, given.counts, steps, seeds, given.latent, given.alpha)
    draw(given.folder)
