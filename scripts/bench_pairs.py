"""The sides of `scripts/bench pairs`, `decode` and `beam`, see bench_sides.py: texts given their sources.

The textbook is what tutorials write: random batches, padded on both sides and packed for the encoder; the decoder reads
one word after the other, attends, and adds up a cross-entropy for each step. Its parameters and its function are those
of `model=seq2seq decoder.attention=additive`: without dropout both have the same loss.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from bench_sides import Window, _linear, answer, gemm, prepared, score, stepper, wait
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

BEAM, LENGTH = 5, 15  # hypotheses; tokens of a text


class Textbook(nn.Module):
    """A bidirectional LSTM, an LSTM decoder, additive attention, Luong's output layer."""

    def __init__(self, like: Any, config: dict[str, Any]):
        super().__init__()
        encoder, decoder, attention = like.encoder, like.decoder, like.decoder.attention
        self.read, self.say = (_embedding(part.embedding) for part in (encoder, decoder))
        forwards, backwards = encoder.rnn
        self.encoder = nn.LSTM(forwards.input_size, forwards.hidden_size, batch_first=True, bidirectional=True)
        turned = {f"{name}_reverse": value for name, value in backwards.state_dict().items()}
        self.encoder.load_state_dict({**forwards.state_dict(), **turned})
        self.cell = nn.LSTMCell(decoder.rnn.input_size, decoder.rnn.hidden_size)
        self.cell.load_state_dict({name.removesuffix("_l0"): part for name, part in decoder.rnn.state_dict().items()})
        self.initial, self.output = _linear(decoder.initial), _linear(decoder.output)
        self.key, self.query = _linear(attention.key), _linear(attention.query)
        self.score, self.out = _linear(attention.score), _linear(attention.out)
        self.drop_read = nn.Dropout(config["encoder"]["dropout"])
        self.drop_in = nn.Dropout(config["decoder"]["dropout_in"])
        self.drop_out = nn.Dropout(config["decoder"]["dropout_out"])

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The mean loss of a text; 0 is padding."""
        states, code = self.encode(source)
        c = self.initial(code)
        h, keys, there, loss = c.tanh(), self.key(states), source != 0, torch.zeros(())
        for t in range(target.shape[1] - 1):
            logits, h, c = self.step(target[:, t], code, h, c, keys, states, there)
            loss = loss + F.cross_entropy(logits, target[:, t + 1], ignore_index=0, reduction="sum")
        return loss / len(target)

    def encode(self, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        words = pack_padded_sequence(
            self.drop_read(self.read(source)), (source != 0).sum(1), batch_first=True, enforce_sorted=False
        )  # fmt: skip
        packed, (last, _) = self.encoder(words)
        states, _ = pad_packed_sequence(packed, batch_first=True)
        return states, torch.cat([last[0], last[1]], -1)

    def step(self, word, code, h, c, keys, states, there):
        h, c = self.cell(torch.cat([self.drop_in(self.say(word)), code], -1), (h, c))
        energy = self.score(torch.tanh(keys + self.query(h)[:, None]))[..., 0]
        weights = energy.masked_fill(~there, -torch.inf).softmax(-1)
        context = torch.bmm(weights[:, None], states)[:, 0]
        return self.output(self.drop_out(torch.tanh(self.out(torch.cat([context, h], -1))))), h, c

    def nll(self, text: torch.Tensor, code: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
        """Of one text under several codes, given the states of its source, nats."""
        c, states = self.initial(code), states.expand(len(code), -1, -1)
        h, keys, nll = c.tanh(), self.key(states), torch.zeros(len(code))
        there = torch.ones(states.shape[:2], dtype=torch.bool)
        for t in range(len(text) - 1):
            logits, h, c = self.step(text[t].expand(len(code)), code, h, c, keys, states, there)
            nll = nll + F.cross_entropy(logits, text[t + 1].expand(len(code)), reduction="none")
        return nll

    @torch.no_grad()
    def write(self, source: torch.Tensor, width: int, length: int, special: Any) -> list[int]:
        """The best text that beam search finds for one source, all its hypotheses in a batch."""
        states, code = self.encode(source[None, : int((source != 0).sum())])
        states, code = states.expand(width, -1, -1), code.expand(width, -1)
        c = self.initial(code)
        h, keys, there = c.tanh(), self.key(states), torch.ones(states.shape[:2], dtype=torch.bool)
        texts, score = torch.full((width, 1), special.bos), torch.full((width,), -torch.inf)
        score[0], kept = 0, torch.full((width, len(self.output.weight)), -torch.inf)
        kept[:, special.eos] = 0
        for _ in range(length):
            logits, h, c = self.step(texts[:, -1], code, h, c, keys, states, there)
            log_p = logits.log_softmax(-1)
            log_p[:, [special.pad, special.bos]] = -torch.inf
            log_p = torch.where((texts[:, -1] == special.eos)[:, None], kept, log_p)
            score, best = (score[:, None] + log_p).flatten().topk(width)
            parent, word = best // log_p.shape[1], best % log_p.shape[1]
            texts, h, c = torch.cat([texts[parent], word[:, None]], 1), h[parent], c[parent]
            if texts[0, -1] == special.eos:
                break
        return [word for word in texts[0, 1:].tolist() if word != special.eos]


def _embedding(like: nn.Embedding) -> nn.Embedding:
    return nn.Embedding.from_pretrained(like.weight.detach().clone(), freeze=False)


def random_batches(side: SimpleNamespace) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of pairs of any lengths, padded."""
    split, size = side.data.corpus.splits["train"], side.config["data"]["batch_size"]
    texts = [torch.from_numpy(split.row(row).astype("int64")) for row in range(len(split))]
    sources: dict[int, torch.Tensor] = {}
    for batch in side.data.in_order("train"):
        sources |= dict(zip(batch.index.tolist(), batch.source, strict=True))
    while True:
        for rows in torch.randperm(len(split)).split(size):
            pairs = [(sources[row], texts[row]) for row in rows.tolist()]
            source, target = (
                nn.utils.rnn.pad_sequence(list(part), batch_first=True) for part in zip(*pairs, strict=True)
            )
            yield source[:, : int((source != 0).sum(1).max())], target


def pairs_lvexp(settings: dict[str, Any]) -> None:
    """lvexp's training step without Lightning."""
    side = prepared(settings)
    step = stepper(side)
    answer(ready=True)
    window = Window(settings["steps"], 0)
    while True:
        for batch in side.data.train_dataloader():
            step(batch)
            window.count(batch.predicted())


def pairs_textbook(settings: dict[str, Any]) -> None:
    side = prepared(settings)
    model = Textbook(side.model, side.config)
    optimizer = torch.optim.Adam(model.parameters(), lr=side.config["optimizer"]["lr"])
    given = random_batches(side)
    next(given)  # gathers the texts
    answer(ready=True)
    window = Window(settings["steps"], 0)
    for source, target in given:
        optimizer.zero_grad()
        model(source, target).backward()
        nn.utils.clip_grad_norm_(model.parameters(), side.config["trainer"]["gradient_clip_val"])
        optimizer.step()
        window.count(int((target != 0).sum()) - len(target))


def same(settings: dict[str, Any]) -> None:
    """The loss of some batches without dropout, and what beam search writes: ours and the textbook's."""
    side = prepared(settings)
    model, book = side.model.eval(), Textbook(side.model, side.config).eval()
    losses, texts = [], []
    with torch.no_grad():
        for batch, _ in zip(side.data.val_dataloader(), range(settings["steps"]), strict=False):
            losses.append([float(model.terms(batch).distortion.mean()), float(book(batch.source, batch.tokens))])
            theirs = [book.write(source, BEAM, LENGTH, model.vocabulary.special) for source in batch.source]
            texts.append([_written(model, batch, "beam"), theirs])
    answer(losses=losses, texts=texts)


def _written(model: Any, batch: Any, method: str) -> list[list[int]]:
    from lvexp.networks.writing import Decoding

    reading, beam = model.read(batch), {"beam": BEAM} if method == "beam" else {}
    return model.write(model.code(reading), Decoding(method, max_length=LENGTH, **beam), reading)


def _decode(settings: dict[str, Any], write: Callable[[SimpleNamespace, Any], Any]) -> None:
    """Every fifth batch of the test set in a window, so that short and long sources, many and few at once, are as
    frequent as in the whole. Texts have a fixed length: an untrained model rarely ends a text by itself."""
    side = prepared(settings)
    side.model.eval()
    side.book = Textbook(side.model, side.config).eval()
    batches, part = list(side.data.in_order("test")), 5
    with torch.no_grad():
        for output in (side.model.decoder.output, side.book.output):
            output.weight[side.model.vocabulary.special.eos] = -10.0
        answer(ready=True)
        for window in itertools.count():
            wait()
            rate, began, texts = gemm(), time.perf_counter(), 0
            for batch in batches[window % part :: part]:
                write(side, batch)
                texts += len(batch)
            answer(speed=texts / (time.perf_counter() - began), gemm=rate)


def decode_beam(settings: dict[str, Any]) -> None:
    _decode(settings, lambda side, batch: _written(side.model, batch, "beam"))


def decode_greedy(settings: dict[str, Any]) -> None:
    _decode(settings, lambda side, batch: _written(side.model, batch, "greedy"))


beam_lvexp = decode_beam


def beam_loop(settings: dict[str, Any]) -> None:
    """lvexp's search, text by text."""
    _decode(
        settings, lambda side, batch: [_written(side.model, batch[row : row + 1], "beam") for row in range(len(batch))]
    )


def beam_textbook(settings: dict[str, Any]) -> None:
    def write(side: SimpleNamespace, batch: Any) -> None:
        for source in batch.source:
            side.book.write(source, BEAM, LENGTH, side.model.vocabulary.special)

    _decode(settings, write)


def conditional_lvexp(settings: dict[str, Any]) -> None:
    from lvexp.metrics.likelihood import importance_weighted

    def scorer(side: SimpleNamespace, batch: Any) -> torch.Tensor:
        return importance_weighted(side.model, batch, settings["samples"], words=settings.get("words")).nll

    score(settings, scorer)


def conditional_textbook(settings: dict[str, Any]) -> None:
    """Text by text, 50 draws at a time, all their logits at once."""

    @torch.no_grad()
    def one(side: SimpleNamespace, batch: Any) -> torch.Tensor:
        if not hasattr(side, "book"):
            side.book = Textbook(side.model, side.config).eval()
        reading, latent, weights = side.model.read(batch), side.model.latent, []
        q, p = latent.posterior(side.model.params(reading)), latent.prior(reading.condition)
        states, summary = reading.memories["source"].states, reading.memories["source"].summary
        for start in range(0, settings["samples"], 50):
            z = q.sample(torch.Size((min(50, settings["samples"] - start),)))
            code = torch.cat([z[:, 0], summary.expand(len(z), -1)], -1)
            nll = side.book.nll(batch.tokens[0, : int(batch.lengths[0])], code, states)
            weights.append((p.log_prob(z) - q.log_prob(z))[:, 0] - nll)
        return torch.tensor(float(settings["samples"])).log() - torch.cat(weights).logsumexp(0)

    score(settings, lambda side, batch: torch.stack([one(side, batch[row : row + 1]) for row in range(len(batch))]))


if __name__ == "__main__":
    globals()[sys.argv[1]](json.loads(sys.argv[2]))
