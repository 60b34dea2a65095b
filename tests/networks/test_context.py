"""Decoders that see the last words only: what they see, and that scoring, stepping and writing agree."""

from __future__ import annotations

import itertools

import pytest
import torch
from helpers import Command, Compose, checked, plain

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.special import BOS, EOS, PAD, UNK
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError
from lvexp.networks.dcnn import SIZES, DilatedDecoder
from lvexp.networks.window import WindowDecoder
from lvexp.networks.writing import Decoding, write

V, W = 200, 3
TEXTS = [[BOS, 4, 5, 6, EOS], [BOS, 7, EOS], [BOS, 9, 8, 7, 6, 5, EOS]]
#: name → (class, arguments, tokens it sees)
DECODERS = {
    "dcnn": (DilatedDecoder, {}, 15),
    "dcnn-medium": (DilatedDecoder, {"size": "medium"}, 63),
    "dcnn-large": (DilatedDecoder, {"size": "large"}, 125),
    "dcnn-own": (DilatedDecoder, {"dilations": [1, 3], "kernel": 2}, 5),
    "dcnn-kernel-1": (DilatedDecoder, {"kernel": 1}, 1),
    "window-0": (WindowDecoder, {"window": 0}, 0),
    "window-1": (WindowDecoder, {"window": 1}, 1),
    "window-4": (WindowDecoder, {"window": 4}, 4),
}
each = pytest.mark.parametrize("name", DECODERS)


def made(name: str, code: int = W, **more):
    """The decoder in evaluation mode, its weights larger than usual so that everything matters."""
    kind, arguments, _ = DECODERS[name]
    torch.manual_seed(0)
    decoder = kind(V, code, embedding=16, hidden=24, **arguments, **more).eval()
    with torch.no_grad():
        decoder.embedding.weight *= 10
        decoder.output.weight *= 3
        for block in getattr(decoder, "blocks", []):
            for layer in (block.shrink, block.convolve, block.grow):
                layer.weight *= 2  # the token furthest back is seen through one tap of each block
    return decoder


@each
def test_a_position_sees_the_tokens_it_is_said_to_see_and_no_others(name: str):
    decoder, sees = made(name), DECODERS[name][2]
    inputs = torch.arange(4, 4 + 150)[None]  # each token once: the gradient of its vector is that of its position
    for position in (0, 3, 129, 149):
        decoder.zero_grad(set_to_none=False)
        decoder.states(inputs, torch.randn(1, 1, W))[0, 0, position].square().sum().backward()
        gradient = torch.zeros(150) if not sees else decoder.embedding.weight.grad[4:154].abs().sum(-1)
        seen = gradient.nonzero()[:, 0].tolist()
        within = list(range(max(0, position + 1 - sees), position + 1))
        assert set(seen) <= set(within), "the future, or what lies too far back"
        if sees:
            assert {seen[0], seen[-1]} == {within[0], within[-1]}
    if name.startswith("dcnn"):
        assert decoder.receptive_field == sees
        assert f"receptive_field={sees}" in repr(decoder)


@each
def test_changing_a_token_changes_only_what_sees_it(name: str):
    decoder, sees = made(name).double(), DECODERS[name][2]
    tokens = torch.randint(4, V, (1, 151))
    inputs, targets, code = tokens[:, :-1], tokens[:, 1:], torch.randn(1, 1, W, dtype=torch.double)
    changed = inputs.clone()
    changed[0, 10] = (changed[0, 10] - 3) % (V - 4) + 4
    # log p of the first n targets, for every n; the differences are the losses of the positions
    rows = torch.arange(2, 152)
    before, after = (
        decoder(read.expand(150, -1), targets.expand(150, -1), rows, code.expand(1, 150, W))[0].diff()
        for read in (inputs, changed)
    )
    moved = ((after - before).abs() > 1e-9).nonzero()[:, 0] + 1  # diff starts at position 1
    if not sees:
        assert not len(moved)
    else:
        assert moved[0] == 10
        assert moved[-1] == min(149, 10 + sees - 1)


@pytest.mark.parametrize(("name", "code"), [(n, c) for n in DECODERS for c in (0, W) if (n, c) != ("window-0", 0)])
def test_step_by_step_scores_are_the_scores_of_the_whole(name: str, code: int):
    decoder = made(name, code)
    text = [BOS, *torch.randint(4, V, (30,)).tolist(), EOS]
    batch, z = Batch.of([text] * 2), torch.randn(2, code)
    state, total = decoder.start(z), torch.zeros(2)
    for read, written in itertools.pairwise(text):
        log_p, state = decoder.step(torch.tensor([read, read]), state)
        assert all(len(part) == 2 for part in state)
        assert torch.allclose(log_p.exp().sum(-1), torch.ones(2), atol=1e-5)
        total += log_p[:, written]
    assert torch.allclose(total, decoder(batch.inputs, batch.targets, batch.lengths, z[None])[0], atol=1e-3)


@each
def test_the_state_does_not_grow(name: str):
    decoder = made(name)
    state = first = decoder.start(torch.randn(2, W))
    for token in range(5):
        _, state = decoder.step(torch.tensor([token, token]), state)
    assert [part.shape for part in state] == [part.shape for part in first]


@each
def test_many_draws_score_as_each_alone(name: str):
    decoder, batch, code = made(name), Batch.of(TEXTS), torch.randn(9, 3, W)
    with torch.no_grad():
        together = decoder(batch.inputs, batch.targets, batch.lengths, code)
        alone = torch.cat([decoder(batch.inputs, batch.targets, batch.lengths, draw[None]) for draw in code])
    assert together.shape == (9, 3)
    assert torch.allclose(together, alone, atol=1e-4)
    assert not torch.allclose(together[0], together[1])


@each
def test_padding_changes_neither_a_loss_nor_a_gradient(name: str):
    decoder, batch, code = made(name), Batch.of(TEXTS), torch.randn(1, 3, W)
    together = decoder(batch.inputs, batch.targets, batch.lengths, code)[0]
    together.sum().backward()
    padded = [p.grad.clone() for p in decoder.parameters() if p.grad is not None]
    decoder.zero_grad()
    for row, text in enumerate(TEXTS):
        one = Batch.of([text])
        alone = decoder(one.inputs, one.targets, one.lengths, code[:, row : row + 1])[0]
        assert torch.allclose(alone, together[row : row + 1], atol=1e-4)
        alone.sum().backward()
    for ours, parameter in zip(padded, (p for p in decoder.parameters() if p.grad is not None), strict=True):
        assert torch.allclose(ours, parameter.grad, atol=1e-4)
    longer = Batch(torch.cat([batch.tokens, torch.full((3, 4), PAD)], 1), batch.lengths)
    assert torch.allclose(decoder(longer.inputs, longer.targets, longer.lengths, code)[0], together, atol=1e-4)


@each
@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_texts_are_written(name: str, method: str):
    decoder, code = made(name), torch.randn(4, W)
    torch.manual_seed(1)
    texts = write(decoder, code, Decoding(method, max_length=12, beam=3))
    assert len(texts) == 4
    assert all(len(text) <= 12 and not {PAD, BOS, EOS} & set(text) for text in texts)
    if method == "beam":
        alone = [write(decoder, z[None], Decoding("beam", max_length=12, beam=3))[0] for z in code]
        assert texts == alone, "hypotheses keep the state that is theirs"


def test_greedy_follows_the_scores():
    decoder, code = made("dcnn-own"), torch.randn(1, W)
    (text,) = write(decoder, code, Decoding(max_length=6))
    batch = Batch.of([[BOS, *text, EOS]])
    best = decoder.output(decoder.states(batch.inputs, code[None]))[0, 0]
    best[:, [PAD, BOS]] = -torch.inf
    assert best.argmax(-1)[: len(text)].tolist() == text


def test_dropout_sits_on_vectors_and_outputs_and_rests_in_evaluation():
    for kind in (DilatedDecoder, WindowDecoder):
        decoder = kind(V, W, embedding=16, hidden=24, dropout_in=0.25, dropout_out=0.75)
        batch, code = Batch.of(TEXTS), torch.randn(1, 3, W)
        inputs = (batch.inputs, batch.targets, batch.lengths, code)
        assert (decoder.drop_in.share, decoder.drop_out.share) == (0.25, 0.75)
        assert not torch.equal(decoder(*inputs), decoder(*inputs))
        assert torch.equal(decoder.eval()(*inputs), decoder(*inputs))


def test_without_a_window_all_positions_of_a_text_have_one_distribution():
    decoder, code = made("window-0"), torch.randn(2, 3, W)
    states = decoder.states(Batch.of(TEXTS).inputs, code)
    assert states.shape[:3] == (2, 3, 6)
    assert torch.equal(states, states[:, :, :1].expand_as(states))


@pytest.mark.parametrize(
    ("kind", "arguments", "named"),
    [
        (DilatedDecoder, {"size": "huge"}, "small, medium, large"),
        (DilatedDecoder, {"dilations": []}, "dilations"),
        (DilatedDecoder, {"dilations": [1, 0]}, "dilations"),
        (DilatedDecoder, {"kernel": 0}, "kernel=0"),
        (WindowDecoder, {"window": -1}, "window=-1"),
        (WindowDecoder, {"window": 0, "code": 0}, "nothing to predict from"),
    ],
)
def test_bad_values_are_said(kind, arguments: dict, named: str):
    with pytest.raises(ConfigError, match=named):
        kind(**{"vocabulary": V, "code": W, **arguments})


FINE = [
    "decoder=dcnn",
    "decoder=window",
    "decoder=window decoder.window=0",
    "decoder=window decoder.window=0 model=ae",
    "decoder=dcnn decoder.dilations=[1,2,9] decoder.kernel=2 decoder.bottleneck=5",
    "decoder=dcnn model=rnnlm regularizer=word_dropout",
    "decoder=window model=rnnlm regularizer=word_dropout",
    "decoder=window encoder=gru regularizer=[free_bits,word_dropout] anneal=linear",
    *(f"decoder=dcnn decoder.size={size}" for size in SIZES),
]
REFUSED = [
    ("decoder=window decoder.window=0 regularizer=word_dropout", ["decoder.window=0", "decoder.window=2"]),
    ("decoder=window decoder.window=0 model=rnnlm", ["decoder.window=0", "model=rnnlm"]),
    ("decoder=window decoder.window=-1", ["decoder.window=-1", "at least 0"]),
    ("decoder=dcnn decoder.size=huge", ["small, medium, large"]),
    ("decoder=dcnn decoder.kernel=0", ["at least 1"]),
    ("decoder=dcnn decoder.kernel=1.5", ["whole number"]),
    ("decoder=dcnn decoder.bottleneck=half", ["whole number", "decoder.bottleneck=128"]),
    ("decoder=dcnn decoder.dilations=[1,0]", ["decoder.dilations=[1,0]", "at least 1"]),
    ("decoder=dcnn decoder.dropout_in=1", ["below 1"]),
    ("decoder=dcnn encoder=none", ["encoder=none", "encoder=lstm"]),
    ("decoder=window model=ae anneal=linear", ["latent=point", "anneal=linear"]),
]
SIZE = ("latent.dim=4", "encoder.hidden=8", "decoder.hidden=8", "encoder.embedding=8", "decoder.embedding=8")


@pytest.mark.parametrize("typed", FINE)
def test_what_works_composes_and_takes_a_finite_step(typed: str, composed: Compose):
    words = Vocabulary.train(["a b c d e f"], kind="words", max_size=100, min_count=1, lowercase=False)
    config = composed(*typed.split(), *SIZE)
    checked(config)
    torch.manual_seed(0)
    model = build.model(plain(config), words)
    batch = Batch.of(words.encode(["a b c", "d e f", "f e d a", "c"]))
    training = build.training(plain(config), model)
    optimizer = training.configure_optimizers()
    before = model.decoder.output.weight.detach().clone()
    loss = training.training_step(batch, 0)
    loss.backward()
    optimizer.step()
    assert 0 < loss.item() < 1000
    assert not torch.equal(before, model.decoder.output.weight)
    if "word_dropout" in typed:
        code = torch.zeros(1, 4, model.latent.width)
        reading = model.eval().read(batch)
        read, hidden = (
            model.log_likelihood(batch, reading, code, x) for x in (None, torch.full_like(batch.inputs, UNK))
        )
        assert not torch.equal(read, hidden), "hidden words are not read"


@pytest.mark.parametrize(("typed", "named"), REFUSED)
def test_what_cannot_work_is_refused_by_name(typed: str, named: list[str], composed: Compose):
    with pytest.raises(ConfigError) as caught:
        checked(composed(*typed.split()))
    for words in named:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    "typed", ["decoder=dcnn", pytest.param("decoder=window decoder.window=1", marks=pytest.mark.slow)]
)
def test_a_job_runs_from_the_command_line_to_its_report(typed: str, small: list[str], lvexp: Command, tmp_path):
    done = lvexp(*small, *typed.split(), "trainer.max_steps=3")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "outputs").rglob("result.json"))


@pytest.mark.parametrize("key", ["tie", "inputless", "entry", "cell", "layers"])
@pytest.mark.parametrize("decoder", ["dcnn", "window"])
def test_an_option_of_the_recurrent_decoders_is_unknown_here(decoder: str, key: str, composed: Compose):
    with pytest.raises(Exception, match=key):
        composed(f"decoder={decoder}", f"decoder.{key}=true")
