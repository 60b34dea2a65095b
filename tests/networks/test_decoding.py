"""Writing texts with decoders whose every probability is known."""

from __future__ import annotations

import itertools
import math

import pytest
import scipy.stats
import torch

from lvexp.data.batch import Batch
from lvexp.data.special import BOS, EOS, PAD, UNK
from lvexp.errors import ConfigError
from lvexp.networks.base import NOTHING, AbstractDecoder
from lvexp.networks.recurrent import RecurrentDecoder
from lvexp.networks.writing import Decoding, write
from lvexp.reading import Memory

V = 6  # pad, bos, eos, unk and two words


class Table(AbstractDecoder):
    """A Markov chain for each code: the next token depends on the last one; the code picks the table, [C, V, V]."""

    def __init__(self, log_p):
        super().__init__()
        self.log_p = log_p

    def forward(self, inputs, targets, lengths, code, memories=NOTHING):
        raise NotImplementedError

    def start(self, code, memories=NOTHING):
        return (code[:, 0].long(),)

    def step(self, tokens, state):
        return self.log_p[state[0], tokens], state


def chain(seed=0, codes=3):
    """Random tables in which <pad> and <bos>, which must never be written, are often the likeliest; <eos> is rare."""
    logits = 2 * torch.randn(codes, V, V, generator=torch.Generator().manual_seed(seed))
    logits[..., EOS] -= 2
    return Table(logits.log_softmax(-1))


def codes(*which):
    return torch.tensor(which, dtype=torch.float32)[:, None]


def score(table, code, text, ended):
    tokens = [BOS, *text, *([EOS] if ended else [])]
    return sum(float(table.log_p[code, before, after]) for before, after in itertools.pairwise(tokens))


def test_greedy_is_the_argmax_step_by_step():
    table = chain()
    for code in range(3):
        by_hand, token = [], BOS
        while len(by_hand) < 7:
            row = table.log_p[code, token].clone()
            row[[PAD, BOS]] = -math.inf
            token = int(row.argmax())
            if token == EOS:
                break
            by_hand.append(token)
        assert write(table, codes(code), Decoding(max_length=7)) == [by_hand]


def test_texts_of_a_batch_do_not_touch():
    table = chain(1)
    for method in ("greedy", "beam"):
        together = write(table, codes(0, 1, 2, 1), Decoding(method, beam=3, max_length=6))
        assert together == [write(table, codes(c), Decoding(method, beam=3, max_length=6))[0] for c in (0, 1, 2, 1)]


class Remembering(Table):
    """A chain whose table is that of the memory ``table``, whatever the code."""

    def start(self, code, memories=NOTHING):
        return (memories["table"].summary[:, 0].long(),)


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_each_text_is_written_with_a_memory_of_its_own(method):
    table = chain(1)
    which, how = codes(2, 0, 1), Decoding(method, beam=3, max_length=6)
    memory = Memory(torch.zeros(3, 1, 1), torch.ones(3, 1, dtype=torch.bool), which)
    assert write(Remembering(table.log_p), codes(0, 0, 0), how, {"table": memory}) == write(table, which, how)


@pytest.mark.parametrize("seed", range(5))
def test_beam_of_one_is_greedy(seed):
    table = chain(seed)
    greedy = write(table, codes(0, 1, 2), Decoding(max_length=8))
    assert write(table, codes(0, 1, 2), Decoding("beam", beam=1, max_length=8)) == greedy


def test_the_tables_try_the_rules():
    """<pad> and <bos> are often the likeliest; the best texts are neither all empty nor all greedy."""
    tables = [chain(seed) for seed in range(8)]
    assert sum(int((table.log_p[:, 1:].argmax(-1) < EOS).sum()) for table in tables) > 20
    beams = [write(table, codes(0, 1, 2), Decoding("beam", beam=81, max_length=4)) for table in tables]
    greedy = [write(table, codes(0, 1, 2), Decoding(max_length=4)) for table in tables]
    pairs = [pair for both in zip(beams, greedy, strict=True) for pair in zip(*both, strict=True)]
    assert sum(best != quick for best, quick in pairs) > 5
    assert {len(best) for best, _ in pairs} >= {0, 1, 2, 4}


@pytest.mark.parametrize("seed", range(8))
def test_a_wide_beam_finds_the_best_text(seed):
    """All texts of up to four tokens are scored; 3^4 hypotheses keep every one."""
    table, length = chain(seed), 4
    found = write(table, codes(0, 1, 2), Decoding("beam", beam=81, max_length=length))
    for code in range(3):
        texts = {}
        for size in range(length + 1):
            for text in itertools.product((3, 4, 5), repeat=size):
                texts[text] = score(table, code, text, ended=size < length)  # the longest are cut, without <eos>
        assert found[code] == list(max(texts, key=texts.get))


def test_beam_beats_greedy_on_a_garden_path():
    """The likelier first word leads nowhere: 0.6 * 0.3 against 0.4 * 0.9."""
    p = torch.full((1, V, V), 1e-6)
    p[0, BOS, 4], p[0, BOS, 5] = 0.6, 0.4
    p[0, 4, EOS], p[0, 4, 3], p[0, 4, 5] = 0.3, 0.35, 0.35
    p[0, 5, EOS] = 0.9
    p[0, 3, EOS] = 0.5
    table = Table(p.log())
    assert write(table, codes(0), Decoding("greedy", max_length=3))[0][0] == 4
    assert write(table, codes(0), Decoding("beam", beam=2, max_length=3)) == [[5]]


@pytest.mark.parametrize(
    "how", [Decoding("sample", top_k=1), Decoding("sample", top_p=1e-6), Decoding("sample", temperature=1e-4)]
)
def test_limits_of_sampling_are_greedy(how):
    table = chain(2)
    torch.manual_seed(0)
    assert write(table, codes(0, 1, 2), how) == write(table, codes(0, 1, 2), Decoding())


FIRST = torch.tensor([0.0, 0.0, 0.1, 0.4, 0.3, 0.2])  # of the first token; <eos> 0.1, <unk> 0.4, words 0.3 and 0.2


def draws(number=5000, **how):
    """Frequencies of the first token, <eos> being the empty text."""
    p = torch.full((1, V, V), 1e-9)
    p[0, BOS] = FIRST + 1e-9
    p[0, 3:, EOS] = 1
    torch.manual_seed(0)
    written = write(Table(p.log()), codes(0).expand(number, 1), Decoding("sample", **how))
    counts = torch.zeros(V)
    for text in written:
        counts[text[0] if text else EOS] += 1
    return counts


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, FIRST),
        ({"temperature": 2.0}, FIRST.sqrt() / FIRST.sqrt().sum()),
        ({"temperature": 0.5}, FIRST.square() / FIRST.square().sum()),
        ({"top_k": 2}, torch.tensor([0, 0, 0, 4, 3, 0]) / 7),
        ({"top_p": 0.3}, torch.tensor([0, 0, 0, 1.0, 0, 0])),  # 0.4 suffices
        ({"top_p": 0.5}, torch.tensor([0, 0, 0, 4, 3, 0]) / 7),  # 0.4 does not, 0.7 does
        ({"top_p": 0.75}, torch.tensor([0, 0, 0, 4, 3, 2]) / 9),
        ({"top_k": 2, "top_p": 0.5}, torch.tensor([0, 0, 0, 1.0, 0, 0])),  # 4/7 of what top_k left
        ({"top_k": 100}, FIRST),
    ],
)
def test_sampling_frequencies(how, expected):
    """Chi-square on 5000 draws with a fixed seed; nothing outside the set is ever drawn."""
    counts = draws(**how)
    allowed = expected > 0
    assert counts[~allowed].sum() == 0
    if allowed.sum() > 1:
        expected = expected.double()[allowed] / expected.double().sum() * counts.sum().double()
        assert scipy.stats.chisquare(counts[allowed].double().numpy(), expected.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_never_pad_bos_or_eos_and_never_too_long(method):
    torch.manual_seed(0)
    table = chain(3)
    texts = write(table, codes(*[0, 1, 2] * 30), Decoding(method, max_length=5))
    assert len(texts) == 90
    assert all(len(text) <= 5 for text in texts)
    assert {token for text in texts for token in text} <= {3, 4, 5}
    assert any(texts)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("entry", ["initial", "every_step", "both", "state", "only state"])
@pytest.mark.parametrize("inputless", [False, True])
def test_recurrent_steps_agree_with_scoring(cell, entry, inputless):
    """Step by step the decoder gives the probabilities that it scores whole texts with, one draw or many."""
    torch.manual_seed(0)
    width = 3 if entry != "only state" else 0
    if "state" in entry:
        width += 16 if cell == "lstm" else 8
    decoder = RecurrentDecoder(V, width, cell, 8, 8, layers=2, entry=entry.split()[-1], inputless=inputless).eval()
    code, tokens = 5 * torch.randn(2, width), torch.tensor([[BOS, 4, 5, EOS], [BOS, 5, 3, EOS]])
    state, total = decoder.start(code), torch.zeros(2)
    for place in range(3):
        log_p, state = decoder.step(tokens[:, place], state)
        total = total + log_p.gather(1, tokens[:, place + 1 : place + 2])[:, 0]
    whole = decoder(tokens[:, :-1], tokens[:, 1:], torch.tensor([4, 4]), code[None])[0]
    torch.testing.assert_close(total, whole)
    with torch.no_grad():
        many = decoder(tokens[:, :-1], tokens[:, 1:], torch.tensor([4, 4]), torch.stack([-code, code]))
    torch.testing.assert_close(many[1], whole)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_code_may_be_the_state_itself(cell):
    """h, for an LSTM c, and what is left of z beside every word."""
    torch.manual_seed(0)
    parts, kind = ([8, 8], torch.nn.LSTM) if cell == "lstm" else ([8], torch.nn.GRU)
    decoder = RecurrentDecoder(V, sum(parts) + 3, cell, 5, 8, entry="state").eval()
    code, tokens = torch.randn(2, sum(parts) + 3), torch.tensor([[BOS, 4, 5], [BOS, 5, 3]])
    rnn = kind(8, 8, batch_first=True)
    rnn.load_state_dict(decoder.rnn.state_dict())
    *state, rest = code.split([*parts, 3], -1)
    words = torch.cat([decoder.embedding(tokens), rest[:, None].expand(-1, 3, -1)], -1)
    first = [part[None] for part in state]
    expected, _ = rnn(words, tuple(first) if cell == "lstm" else first[0])
    torch.testing.assert_close(decoder.states(tokens, code[None])[0], expected)
    with pytest.raises(ConfigError, match=r"a state of decoder.hidden=8 has (16|8) numbers, and z has 7\ntry"):
        RecurrentDecoder(V, 7, cell, 5, 8, entry="state")


def test_recurrent_beam_is_the_best_of_all_texts():
    """With a state that each hypothesis must carry along: 3^4 of them, all 121 texts scored by the decoder."""
    torch.manual_seed(4)
    decoder = RecurrentDecoder(V, 2, "lstm", 8, 8).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter *= 15
        decoder.output.weight[:UNK] *= 0.1  # <eos> is seldom the best, and <pad> and <bos> take little
    code = torch.randn(40, 2)
    texts = [text for size in range(5) for text in itertools.product((3, 4, 5), repeat=size)]
    batch = Batch.of([[BOS, *text, *([EOS] if len(text) < 4 else [])] for text in texts])
    with torch.no_grad():
        score = decoder(batch.inputs, batch.targets, batch.lengths, code[:, None].expand(-1, len(texts), -1))
    best = [list(texts[row]) for row in score.argmax(1)]
    assert sum(len(text) > 2 for text in best) > 10
    assert write(decoder, code, Decoding("beam", beam=81, max_length=4)) == best


@pytest.mark.parametrize("n_best", [1, 3])
@pytest.mark.parametrize("length_penalty", [0.0, 0.8])
def test_a_text_whose_beam_has_ended_leaves_the_batch(n_best: int, length_penalty: float, monkeypatch):
    torch.manual_seed(4)
    decoder = RecurrentDecoder(V, 2, "lstm", 8, 8).eval()
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter *= 15
    code, how = torch.randn(30, 2), Decoding("beam", beam=4, max_length=9, n_best=n_best, length_penalty=length_penalty)
    alone = [text for row in code for text in write(decoder, row[None], how)]
    rows, step = [], decoder.step
    monkeypatch.setattr(decoder, "step", lambda tokens, state: rows.append(len(tokens)) or step(tokens, state))
    assert write(decoder, code, how) == alone
    assert rows[0] == 4 * 30
    assert len(set(rows)) > 2
    assert rows == sorted(rows, reverse=True)
    assert len({len(text) for text in alone}) > 3


@pytest.mark.parametrize(
    "bad",
    [
        {"method": "best"},
        {"temperature": 0.0},
        {"temperature": math.nan},
        {"length_penalty": -0.1},
        {"length_penalty": math.nan},
        {"length_penalty": math.inf},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"top_k": -1},
        {"beam": 0},
        {"max_length": 0},
    ],
)
def test_settings_that_cannot_be_used(bad):
    with pytest.raises(ConfigError, match=r"decoding .*\ntry  "):
        Decoding(**bad)
