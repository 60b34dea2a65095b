"""What `scripts/bench` measures, one side a process: `python bench_sides.py KIND SETTINGS`.

A side prepares itself, prints one JSON line, and then does one window of work for each line it reads, printing what the
window took. The two sides of a pair thus alternate on the machine. `KIND` is `lvexp` (the first such package on the
path, complete, with Lightning), `bare` (its model and optimiser in a loop without Lightning), or `textbook` (the same
model written plainly in torch, the reference).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

_ANSWERS = os.fdopen(os.dup(1), "w")  # standard output is for answers only
os.dup2(2, 1)

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402


def answer(**what: Any) -> None:
    print(json.dumps(what), file=_ANSWERS, flush=True)


#: where all sides of this process work
DEVICE = torch.device("cpu")


def clock() -> float:
    """Seconds, when the device has done what was asked of it."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def wait() -> None:
    """Waits until the other side has had its turn; ends the process when nothing more is requested. The peak is that of
    the process or, on a GPU, of its memory."""
    if not sys.stdin.readline():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        answer(peak_mib=torch.cuda.max_memory_allocated() / 2**20 if DEVICE.type == "cuda" else peak)
        os._exit(0)


def gemm() -> float:
    """GFLOP/s of a float32 matrix product of 1536 × 1536, the best of eight."""
    a, b, out = (torch.rand(1536, 1536, device=DEVICE) for _ in range(3))
    best = float("inf")
    for _ in range(8):
        began = clock()
        torch.mm(a, b, out=out)
        best = min(best, clock() - began)
    return 2 * 1536**3 / best / 1e9


def composed(overrides: list[str]) -> dict[str, Any]:
    from hydra import compose, initialize_config_dir

    import lvexp
    from lvexp.checks import refusals
    from lvexp.job import identity

    here = Path(lvexp.__file__).parent
    menu = next(path for path in (here / "conf", here.parent / "conf") if path.is_dir())
    identity.register()
    with initialize_config_dir(str(menu), version_base="1.3"):
        return refusals.resolved(compose("config", overrides))


class Textbook(nn.Module):
    """A sentence VAE as in a textbook: nn.LSTM, nn.Linear over all logits, F.cross_entropy."""

    def __init__(self, like: nn.Module, dropout: tuple[float, float]):
        super().__init__()
        self.encoder = nn.Embedding.from_pretrained(like.encoder.embedding.weight.detach().clone(), freeze=False)
        self.reader = _copy(like.encoder.rnn)
        self.latent = _linear(like.latent.linear)
        self.words = nn.Embedding.from_pretrained(like.decoder.embedding.weight.detach().clone(), freeze=False)
        self.initial = _linear(like.decoder.initial)
        self.writer = _copy(like.decoder.rnn)
        self.output = _linear(like.decoder.output)
        self.drop_in, self.drop_out = (nn.Dropout(share) for share in dropout)

    def posterior(self, tokens):
        states, _ = self.reader(self.encoder(tokens))
        return self.latent(states[:, -1]).chunk(2, -1)

    def nll(self, tokens, z):
        words = self.drop_in(self.words(tokens[:, :-1]))
        words = torch.cat([words, z[:, None].expand(-1, words.shape[1], -1)], -1)
        cell = self.initial(z)[None]
        states, _ = self.writer(words, (cell.tanh(), cell))
        logits = self.output(self.drop_out(states))
        nll = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
        return nll.view(len(tokens), -1).sum(1)

    def forward(self, tokens, beta: float, noise=None):
        mu, log_variance = self.posterior(tokens)
        noise = torch.randn_like(mu) if noise is None else noise
        z = mu + (0.5 * log_variance).exp() * noise
        rate = 0.5 * (mu**2 + log_variance.exp() - 1 - log_variance).sum(1)
        return (self.nll(tokens, z) + beta * rate).mean()

    @torch.no_grad()
    def nll_iw(self, texts, samples: int, rows: int):
        """Text by text, draws in the batch dimension, `rows` of them at a time, all their logits at once."""
        found = []
        for text in texts:
            mu, log_variance = self.posterior(text[None])
            sigma, weights = (0.5 * log_variance).exp(), []
            for start in range(0, samples, rows):
                noise = torch.randn(min(rows, samples - start), mu.shape[1], device=mu.device)
                z = mu + sigma * noise
                prior, posterior = (-0.5 * z**2).sum(1), (-0.5 * noise**2 - sigma.log()).sum(1)
                weights.append(prior - posterior - self.nll(text.expand(len(z), -1), z))
            found.append(-torch.cat(weights).logsumexp(0) + torch.tensor(float(samples)).log())
        return torch.stack(found)

    @torch.no_grad()
    def nll_exact(self, texts, codes, log_prior, rows: int):
        """Text by text, the sum over all values of z, whose codes are given, `rows` of them at a time."""
        found = []
        for text in texts:
            parts = [-self.nll(text.expand(len(some), -1), some) for some in codes.split(rows)]
            found.append(-(torch.cat(parts) + log_prior).logsumexp(0))
        return torch.stack(found)


def _copy(rnn: nn.LSTM) -> nn.LSTM:
    new = nn.LSTM(rnn.input_size, rnn.hidden_size, batch_first=True)
    new.load_state_dict(rnn.state_dict())
    return new


def _linear(layer: nn.Linear) -> nn.Linear:
    new = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    new.load_state_dict(layer.state_dict())
    return new


def prepared(settings: dict[str, Any]) -> SimpleNamespace:
    """Configuration, data, a model with parameters from seed 1, and what trains it."""
    global DEVICE
    from lvexp import build

    config = composed(settings["overrides"])
    if config["trainer"]["accelerator"] in ("gpu", "cuda"):
        DEVICE = torch.device("cuda")
    if config["trainer"]["threads"]:
        torch.set_num_threads(config["trainer"]["threads"])
    data = build.data(config)
    data.prepare_data()
    torch.manual_seed(1)
    model = build.model(config, data.vocabulary, data.sources)
    training = build.training(config, model, data.steps_per_epoch)
    return SimpleNamespace(config=config, data=data, model=model, training=training)


def flops(side: SimpleNamespace) -> int:
    """Operations of the matrix products of one training step, per target token: 6 for each weight they use."""
    decoder, encoder = side.model.decoder, side.model.encoder
    weights = sum(p.numel() for p in [*encoder.rnn.parameters(), *decoder.rnn.parameters()] if p.dim() == 2)
    return 6 * (weights + decoder.output.weight.numel())


def batches(side: SimpleNamespace) -> Iterator[Any]:
    loader = side.data.train_dataloader()
    while True:
        for batch in loader:
            yield batch.to(DEVICE)


class Window:
    """Counts the batches of a window, reports at its end, and waits for the next."""

    def __init__(self, size: int, per_token: int):
        self.size, self.per_token = size, per_token
        self.start()

    def start(self) -> None:
        wait()
        self.rate = gemm()
        self.tokens, self.steps, self.began = 0, 0, clock()

    def count(self, tokens: int, **more: Any) -> None:
        self.tokens, self.steps = self.tokens + tokens, self.steps + 1
        if self.steps == self.size:
            speed = self.tokens / (clock() - self.began)
            if self.per_token:  # otherwise it is not known
                more["of_gemm"] = speed * self.per_token / self.rate / 1e9
            answer(speed=speed, gemm=self.rate, **more)
            self.start()


def train_lvexp(settings: dict[str, Any]) -> None:
    """Complete training: Lightning's loop, callbacks, progress bar, CSV logger."""
    import lightning as L

    from lvexp import run
    from lvexp.job.folder import Folder
    from lvexp.training.loggers.base import RunInfo, make_loggers
    from lvexp.training.progress import Progress

    side = prepared(settings)
    loading = Timed(side.data)

    class Gate(L.Callback):
        window: Window

        def on_train_start(self, *_: Any) -> None:
            self.window = Window(settings["steps"], flops(side))

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            last = self.window.steps + 1 == settings["steps"]
            waiting = {"waiting": loading.take() / (time.perf_counter() - self.window.began)} if last else {}
            self.window.count(batch.tokens[:, 1:].numel(), **waiting)

    run.quiet()
    with tempfile.TemporaryDirectory() as folder:
        loggers = make_loggers([], RunInfo(Path(folder), "b", "b", "b"))
        place = Folder(Path(folder), "b")
        trainer, *_ = run._trainer(side.config, place, side.training, loggers, Progress(bar=False))
        trainer.callbacks.append(Gate())
        answer(ready=True)
        trainer.fit(side.training, datamodule=loading.data)


class Timed:
    """The training batches, and the time the loop waited for them."""

    def __init__(self, data: Any):
        self.data, self.seconds = data, 0.0
        original = data.train_dataloader
        data.train_dataloader = lambda: Watched(original(), self)

    def take(self) -> float:
        seconds, self.seconds = self.seconds, 0.0
        return seconds


class Watched:
    """A loader that records the time of each batch."""

    def __init__(self, loader: Any, clock: Timed):
        self.loader, self.clock = loader, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Any]:
        given = iter(self.loader)
        while True:
            began = time.perf_counter()
            batch = next(given, None)
            self.clock.seconds += time.perf_counter() - began
            if batch is None:
                return
            yield batch


def stepper(side: SimpleNamespace) -> Callable[[Any], None]:
    """lvexp's training step without Lightning."""
    training = side.training.to(DEVICE)
    optimizer = training.configure_optimizers()

    def step(batch: Any) -> None:
        optimizer.zero_grad()
        training.training_step(batch, 0).backward()
        training.on_before_optimizer_step(optimizer)
        training.configure_gradient_clipping(optimizer, side.config["trainer"]["gradient_clip_val"])
        optimizer.step()

    return step


def train_bare(settings: dict[str, Any]) -> None:
    """The difference to this is the cost of Lightning's loop."""
    side = prepared(settings)
    bare(side, settings["steps"], flops(side))


def train_textbook(settings: dict[str, Any]) -> None:
    side = prepared(settings)
    textbook(side, Textbook(side.model, dropout(side)), settings["steps"], flops(side))


def dropout(side: SimpleNamespace) -> tuple[float, float]:
    return side.config["decoder"]["dropout_in"], side.config["decoder"]["dropout_out"]


def bare(side: SimpleNamespace, steps: int, per_token: int = 0) -> None:
    """Windows of lvexp's training steps without Lightning."""
    step = stepper(side)
    answer(ready=True)
    window = Window(steps, per_token)
    for batch in batches(side):
        step(batch)
        window.count(batch.tokens[:, 1:].numel())


def textbook(side: SimpleNamespace, model: nn.Module, steps: int, per_token: int = 0) -> None:
    """Windows of plain training steps of a model that returns its loss."""
    model = model.to(DEVICE)
    optimizer = torch.optim.Adam(model.parameters(), lr=side.config["optimizer"]["lr"])
    answer(ready=True)
    window = Window(steps, per_token)
    for batch in batches(side):
        optimizer.zero_grad()
        model(batch.tokens, 0.5).backward()
        nn.utils.clip_grad_norm_(model.parameters(), side.config["trainer"]["gradient_clip_val"])
        optimizer.step()
        window.count(batch.tokens[:, 1:].numel())


def losses(side: SimpleNamespace, book: nn.Module, steps: int) -> list[tuple[float, float]]:
    """Of some batches, ours and the textbook's, with the same noise and without dropout."""
    side.model.eval()
    book.eval()
    found: list[tuple[float, float]] = []
    with torch.no_grad():
        for batch, _ in zip(batches(side), range(steps), strict=False):
            torch.manual_seed(len(found))
            terms = side.model.terms(batch)
            torch.manual_seed(len(found))
            found.append((float((terms.distortion + 0.5 * terms.rate).mean()), float(book(batch.tokens, 0.5))))
    return found


def score(settings: dict[str, Any], scorer: Callable[[SimpleNamespace, Any], torch.Tensor]) -> None:
    """IW-NLL of some test texts a window: of any lengths, or of one length, which differs from window to window."""
    from lvexp.data.batch import Batch
    from lvexp.data.loader import BatchLoader

    side = prepared(settings)
    side.model.eval().to(DEVICE)
    split, size = side.data.corpus.splits["test"], settings["texts"]

    def mixed() -> Iterator[Any]:
        for rows in torch.randperm(len(split), generator=torch.Generator().manual_seed(0)).split(size):
            yield Batch.of([split.row(row).tolist() for row in rows.tolist()])

    def alike() -> Iterator[Any]:
        batches = list(BatchLoader(split, size))
        for row in torch.randperm(len(batches), generator=torch.Generator().manual_seed(0)).tolist():
            yield batches[row]

    answer(ready=True)
    while True:
        for batch in mixed() if settings["mixed"] else alike():
            wait()
            batch, rate = batch.to(DEVICE), gemm()
            began, busy = clock(), time.process_time()
            nll = scorer(side, batch)
            spent, busy = clock() - began, time.process_time() - busy
            answer(speed=len(batch) / spent, gemm=rate, cpu=len(batch) / busy, mean=float(nll.mean()))


def iw_lvexp(settings: dict[str, Any]) -> None:
    from lvexp.metrics.likelihood import importance_weighted

    def scorer(side: SimpleNamespace, batch: Any) -> torch.Tensor:
        with torch.no_grad():
            return importance_weighted(side.model, batch, settings["samples"], words=settings.get("words")).nll

    score(settings, scorer)


def iw_textbook(settings: dict[str, Any]) -> None:
    def scorer(side: SimpleNamespace, batch: Any) -> torch.Tensor:
        if not hasattr(side, "textbook"):
            side.textbook = Textbook(side.model, (0.0, 0.0)).eval().to(DEVICE)
        texts = [text[:length] for text, length in zip(batch.tokens, batch.lengths.tolist(), strict=True)]
        return side.textbook.nll_iw(texts, settings["samples"], 50)

    score(settings, scorer)


def discrete_lvexp(settings: dict[str, Any]) -> None:
    from lvexp.metrics.likelihood import marginal

    def scorer(side: SimpleNamespace, batch: Any) -> torch.Tensor:
        with torch.no_grad():
            return marginal(side.model, batch)

    score(settings, scorer)


def discrete_textbook(settings: dict[str, Any]) -> None:
    from lvexp.distributions.support import support

    def scorer(side: SimpleNamespace, batch: Any) -> torch.Tensor:
        if not hasattr(side, "textbook"):
            side.textbook = Textbook(side.model, (0.0, 0.0)).eval().to(DEVICE)
        prior = side.model.latent.prior(None)
        values = support(prior.expand(torch.Size((1,))))
        codes, log_prior = side.model.latent.code(values)[:, 0], prior.log_prob(values)[:, 0]
        texts = [text[:length] for text, length in zip(batch.tokens, batch.lengths.tolist(), strict=True)]
        return side.textbook.nll_exact(texts, codes, log_prior, 50)

    score(settings, scorer)


def curve(settings: dict[str, Any]) -> None:
    """Losses of lvexp's step and of the textbook's from the same parameters, batches and noise, without dropout."""
    side = prepared(settings)
    ours, theirs = side.training, Textbook(side.model, (0.0, 0.0))
    optimizers = ours.configure_optimizers(), torch.optim.Adam(theirs.parameters(), lr=side.config["optimizer"]["lr"])
    clip = side.config["trainer"]["gradient_clip_val"]
    losses: list[tuple[float, float]] = []
    for batch, _ in zip(batches(side), range(settings["steps"]), strict=False):
        for optimizer in optimizers:
            optimizer.zero_grad()
        torch.manual_seed(len(losses))
        mine = ours.training_step(batch, 0)
        torch.manual_seed(len(losses))
        other = theirs(batch.tokens, ours.scheduled)
        mine.backward()
        other.backward()
        ours.configure_gradient_clipping(optimizers[0], clip)
        nn.utils.clip_grad_norm_(theirs.parameters(), clip)
        for optimizer in optimizers:
            optimizer.step()
        losses.append((float(mine), float(other)))
    answer(losses=losses)


def profile_step(settings: dict[str, Any]) -> None:
    """Share of each operation in ten training steps without Lightning, and the seconds they took."""
    from torch.profiler import ProfilerActivity, profile

    side = prepared(settings)
    step = stepper(side)
    taken = batches(side)
    for _ in range(20):
        step(next(taken))
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(10):
            step(next(taken))
    spent = {event.key: event.self_cpu_time_total / 1e6 for event in profiler.key_averages()}
    answer(seconds=sum(spent.values()), shares={name: part / sum(spent.values()) for name, part in spent.items()})


def kernels(settings: dict[str, Any]) -> None:
    """Milliseconds of lvexp's own operations and of those they replace, alternating."""
    from lvexp.networks.dropout import Dropout
    from lvexp.networks.output import product
    from lvexp.networks.unroll import unroll

    rows, width, words, length = 700, settings["width"], 10_002, 22
    x, weight, p = torch.randn(rows, width), torch.randn(words, width), torch.rand(rows, words)
    drawn, given = torch.randn(372, length, width), torch.randn(372, length, 4 * width)
    rnn, state, out = nn.LSTM(width, width, batch_first=True), torch.randn(372, width), torch.empty(width, words)
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "logits, x Wᵀ": (lambda: product(x, weight), lambda: torch.mm(x, weight.T)),
        "states' gradient, p W": (
            lambda: product(p, torch.mul(weight.T, 1, out=out)),
            lambda: torch.mm(p, weight),
        ),
        "weight's gradient, pᵀ x": (lambda: product(x.T.contiguous(), p.T), lambda: torch.mm(p.T, x)),
        "dropout": (lambda: Dropout(0.5)(x), lambda: F.dropout(x, 0.5)),
        "LSTM on 372 rows": (
            lambda: unroll(given, state, state, rnn.weight_hh_l0, rnn.bias_hh_l0),
            lambda: rnn(drawn, (state[None], state[None])),
        ),
    }
    found: dict[str, Any] = {}
    with torch.no_grad():
        for name, pair in pairs.items():
            times: tuple[list[float], list[float]] = ([], [])
            for number in range(settings["windows"] + 1):
                for run, kept in zip(pair, times, strict=True):
                    began = time.perf_counter()
                    run()
                    if number:
                        kept.append(1e3 * (time.perf_counter() - began))
            found[name] = times
    answer(**found)


def chunks(settings: dict[str, Any]) -> None:
    """Speed of a training step for each number of logits held at once, alternating on the same batches."""
    from lvexp.networks import output

    side = prepared(settings)
    step = stepper(side)
    few = [batch for batch, _ in zip(batches(side), range(3), strict=False)]
    times: dict[str, list[float]] = {str(power): [] for power in range(20, 25)}
    for number in range(settings["windows"] + 1):
        for power, kept in times.items():
            output.CHUNK, output.ROWS = 2 ** int(power), 1
            began = time.perf_counter()
            for batch in few:
                step(batch)
            if number:
                kept.append(time.perf_counter() - began)
    answer(**times)


def corpus(settings: dict[str, Any]) -> None:
    """One stage over a corpus on disk: `import`, `encode` (opened if already encoded), or `epoch` of batches."""
    from lvexp.data.module import TextData

    began, tokens = time.perf_counter(), 0
    if settings["stage"] != "import":
        data = TextData(**settings["data"])
        data.prepare_data()
        if settings["stage"] == "epoch":
            tokens = sum(batch.tokens.numel() for batch in data.train_dataloader())
        else:
            tokens = sum(length * count for length, count in data.corpus.splits["train"].buckets)
    seconds = time.perf_counter() - began
    answer(tokens=tokens, seconds=seconds, peak_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def write(settings: dict[str, Any]) -> None:
    """A synthetic corpus: sentences of 3 to 20 words, frequencies falling as in Zipf's law; with ``all``, every word is
    also in one of further sentences of 20."""
    import numpy as np

    draw, words = np.random.default_rng(0), [f"w{number}" for number in range(settings["words"])]
    bounds = np.cumsum(1 / np.arange(1, len(words) + 1))
    with open(settings["path"], "w", encoding="utf-8") as file:
        for start in range(0, settings["sentences"], 10_000):
            lengths = draw.integers(3, 21, min(10_000, settings["sentences"] - start))
            ids = iter(np.searchsorted(bounds, draw.random(lengths.sum()) * bounds[-1]).tolist())
            file.writelines(" ".join([words[next(ids)] for _ in range(length)]) + "\n" for length in lengths)
        if settings.get("all"):
            file.writelines(" ".join(words[start : start + 20]) + "\n" for start in range(0, len(words), 20))
    answer(written=settings["sentences"])


if __name__ == "__main__":
    globals()[sys.argv[1]](json.loads(sys.argv[2]))
