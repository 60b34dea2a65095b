"""The transformer against torch's own layers, loops by hand, and its own steps; where z enters; what it attends to."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from helpers import F32, Command, Compose, checked, plain
from torch import nn
from torch.nn import functional as F

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.special import BOS, EOS, PAD, UNK
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, Refusal
from lvexp.models.conditional import ConditionalModel
from lvexp.networks.transformer import ENTRIES, TransformerDecoder, TransformerEncoder
from lvexp.networks.writing import Decoding, write
from lvexp.reading import Memory

V, W, H, M = 40, 3, 12, 5
TEXTS = [[BOS, 4, 5, 6, EOS], [BOS, 7, EOS], [BOS, 9, 8, 7, 6, 5, EOS]]
#: name → arguments of the decoder, the memories that it is given
KINDS = {
    **{entry: ({"entry": entry}, ()) for entry in ENTRIES},
    "language model": ({"code": 0}, ()),
    "source": ({"memories": ("source",)}, ("source",)),
    "prefix, both": ({"entry": "prefix", "attends": "both"}, ("tags", "source")),
    "deep": ({"layers": 4, "heads": 2, "embedding": 7}, ()),
    "one layer": ({"layers": 1, "heads": 1, "tie": True, "entry": "addend"}, ()),
}
each = pytest.mark.parametrize("name", KINDS)
WORDS = Vocabulary.train(["a b c d e f"], kind="words", max_size=100, min_count=1, lowercase=False)
PAIRS = Batch.of(WORDS.encode(["a b c", "d e f", "f e d"]), WORDS.encode(["a", "b c d e", "d f"]))
SIZES = [f"{part}.{size}=8" for part in ("encoder", "decoder") for size in ("hidden", "embedding")]


def made(name: str, **more: Any) -> TransformerDecoder:
    """The decoder in evaluation mode, its weights larger than usual so that everything matters."""
    torch.manual_seed(0)
    arguments = (
        {"code": W, "embedding": H, "hidden": H, "heads": 3, "expansion": 2, "states": M} | KINDS[name][0] | more
    )
    decoder = TransformerDecoder(V, **arguments).eval()
    with torch.no_grad():
        for module in decoder.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                module.weight *= 3
    return decoder


def codes(decoder: TransformerDecoder, *shape: int) -> torch.Tensor:
    width = 0 if decoder.code is None else W
    return torch.randn(*shape, width, generator=torch.Generator().manual_seed(1))


def remembered(name: str, texts: int = 3, seed: int = 2) -> dict[str, Memory]:
    draw, found = torch.Generator().manual_seed(seed), {}
    for memory, length in zip(KINDS[name][1], (4, 6), strict=False):
        mask = torch.arange(length) < torch.tensor([length, 1, 3])[:texts, None]
        states = torch.randn(texts, length, M, generator=draw)
        found[memory] = Memory(states, mask, states.sum(1))
    return found


def alone(memories: dict[str, Memory], row: int) -> dict[str, Memory]:
    return {name: memory[slice(row, row + 1)] for name, memory in memories.items()}


# --- against torch's own layers ----------------------------------------------------------------------------------


def theirs(layer: Any, states: int | None = None) -> nn.Module:
    """torch's layer with the parameters of ours: an encoder layer, or a decoder layer if it attends to states."""
    kind = nn.TransformerEncoderLayer if states is None else nn.TransformerDecoderLayer
    other: Any = kind(H, 3, 2 * H, 0.0, batch_first=True, norm_first=True).eval()
    copies = [(other.self_attn.out_proj, layer.out), (other.norm1, layer.norm)]
    copies += [(other.linear1, layer.wide[1]), (other.linear2, layer.wide[4])]
    copies += [(other.norm2 if states is None else other.norm3, layer.wide[0])]
    with torch.no_grad():
        other.self_attn.in_proj_weight.copy_(layer.given.weight)
        other.self_attn.in_proj_bias.copy_(layer.given.bias)
        if states is not None:
            (look,) = layer.looks.values()
            copies += [(other.norm2, look.norm), (other.multihead_attn.out_proj, look.out)]
            other.multihead_attn.in_proj_weight.copy_(torch.cat([look.query.weight, look.given.weight]))
            other.multihead_attn.in_proj_bias.copy_(torch.cat([look.query.bias, look.given.bias]))
        for new, old in copies:
            new.load_state_dict(old.state_dict())
    return other


def test_a_layer_is_torchs_with_a_causal_mask():
    decoder, x = made("addend"), torch.randn(2, 6, H)
    nothing = (torch.zeros(2, 3, 0, 4),) * 2
    for layer in decoder.layers:
        found, _ = layer(x, nothing, ())
        mask = nn.Transformer.generate_square_subsequent_mask(6)
        torch.testing.assert_close(found, theirs(layer)(x, src_mask=mask, is_causal=True), **F32)


def test_attention_to_a_source_is_torchs():
    decoder = made("source", states=H)
    x, states = torch.randn(2, 6, H), torch.randn(2, 4, H)
    memory = Memory(states, torch.tensor([[True] * 4, [True, False, False, False]]), states.sum(1))
    for layer in decoder.layers:
        found, _ = layer(x, (torch.zeros(2, 3, 0, 4),) * 2, layer.open({"source": memory}, 1))
        mask = nn.Transformer.generate_square_subsequent_mask(6)
        wanted = theirs(layer, H)(x, states, tgt_mask=mask, memory_key_padding_mask=~memory.mask)
        torch.testing.assert_close(found, wanted, **F32)


def test_positions_are_sines_and_cosines_and_words_are_scaled():
    decoder = made("addend", embedding=8, hidden=8, heads=2).double()
    vectors = torch.randn(1, 5, 8, dtype=torch.double)
    found = decoder.positions(vectors, 2)[0]
    for place, dim in itertools.product(range(5), range(8)):
        angle = (place + 2) / 10_000 ** (2 * (dim // 2) / 8)
        wanted = math.sqrt(8) * vectors[0, place, dim] + (math.cos(angle) if dim % 2 else math.sin(angle))
        assert float(found[place, dim]) == pytest.approx(float(wanted), rel=1e-6)


# --- by hand -----------------------------------------------------------------------------------------------------


def by_hand(decoder: TransformerDecoder, tokens: list[int], z: torch.Tensor) -> torch.Tensor:
    """log p of the words after each of ``tokens``, one position, one head and one key at a time; without memories."""
    assert decoder.code is not None
    given = decoder.code(z)
    inputs = [decoder.positions(decoder.embedding(torch.tensor([[token]])), place + (decoder.entry != "addend"))[0, 0]
              for place, token in enumerate(tokens)]  # fmt: skip
    if decoder.entry == "addend":
        inputs = [x + given for x in inputs]
    if decoder.entry == "prefix":
        inputs = [given, *inputs]
    for number, layer in enumerate(decoder.layers):
        keys, values, outputs = [], [], []
        if decoder.entry == "memory":
            keys.append(given.split(H)[2 * number])
            values.append(given.split(H)[2 * number + 1])
        for x in inputs:
            query, key, value = layer.given(layer.norm(x)).split(H)
            keys.append(key)
            values.append(value)
            heads = []
            for part in range(3):
                own = slice(4 * part, 4 * part + 4)
                weights = torch.stack([query[own] @ key[own] / 2 for key in keys]).softmax(0)
                heads.append(sum(w * value[own] for w, value in zip(weights, values, strict=True)))
            x = x + layer.out(torch.cat(heads))
            norm, wide, _, _, narrow = layer.wide
            outputs.append(x + narrow(wide(norm(x)).clamp(min=0)))
        inputs = outputs
    return torch.stack([decoder.output(decoder.norm(x)).log_softmax(-1) for x in inputs[-len(tokens) :]])


@pytest.mark.parametrize("entry", ENTRIES)
def test_the_likelihood_is_that_of_a_loop(entry: str):
    decoder, batch = made(entry), Batch.of(TEXTS)
    code = codes(decoder, 2, 3)
    with torch.no_grad():
        found = decoder(batch.inputs, batch.targets, batch.lengths, code)
        for s, b in itertools.product(range(2), range(3)):
            text = TEXTS[b]
            log_p = by_hand(decoder, text[:-1], code[s, b])
            wanted = sum(log_p[place, word] for place, word in enumerate(text[1:]))
            torch.testing.assert_close(found[s, b], wanted, rtol=1e-4, atol=1e-4)


# --- scoring, stepping, writing ----------------------------------------------------------------------------------


@each
def test_step_by_step_scores_are_the_scores_of_the_whole(name: str):
    decoder, memories = made(name), remembered(name)
    text = torch.randint(4, V, (3, 40), generator=torch.Generator().manual_seed(3))
    z = codes(decoder, 3)
    with torch.no_grad():
        state = decoder.start(z, memories)
        whole = decoder.output(decoder.states(text, z[None], memories)[0]).log_softmax(-1)
        for place in range(40):
            log_p, state = decoder.step(text[:, place], state)
            torch.testing.assert_close(log_p, whole[:, place], rtol=1e-4, atol=1e-4)
            assert all(len(part) == 3 for part in tensors(state))


def tensors(state: Any) -> list[torch.Tensor]:
    return [state] if isinstance(state, torch.Tensor) else [part for inner in state for part in tensors(inner)]


@each
def test_a_position_sees_all_words_before_it_and_none_after(name: str):
    decoder, memories = made(name), remembered(name, 1)
    inputs = torch.arange(4, 4 + 30)[None]
    for position in (0, 3, 29):
        decoder.zero_grad(set_to_none=False)
        decoder.embedding.weight.grad = torch.zeros(V, decoder.embedding.embedding_dim)
        decoder.states(inputs, codes(decoder, 1, 1), memories)[0, 0, position].square().sum().backward()
        seen = decoder.embedding.weight.grad[4:34].abs().sum(-1).nonzero()[:, 0].tolist()
        assert seen == list(range(position + 1))


@each
def test_many_draws_score_as_each_alone(name: str):
    decoder, batch, memories = made(name), Batch.of(TEXTS), remembered(name)
    code = codes(decoder, 5, 3)
    with torch.no_grad():
        together = decoder(batch.inputs, batch.targets, batch.lengths, code, memories)
        apart = [decoder(batch.inputs, batch.targets, batch.lengths, draw[None], memories) for draw in code]
    torch.testing.assert_close(together, torch.cat(apart), rtol=1e-4, atol=1e-4)
    assert (name == "language model") == torch.allclose(together[0], together[1])


@each
def test_padding_changes_neither_a_loss_nor_a_gradient(name: str):
    decoder, batch, memories = made(name), Batch.of(TEXTS), remembered(name)
    code = codes(decoder, 1, 3)
    together = decoder(batch.inputs, batch.targets, batch.lengths, code, memories)[0]
    together.sum().backward()
    padded = [p.grad.clone() for p in decoder.parameters()]
    decoder.zero_grad()
    for row, text in enumerate(TEXTS):
        one = Batch.of([text])
        own = alone(memories, row)
        short = {key: Memory(m.states[:, : n], m.mask[:, : n], m.summary)
                 for key, m in own.items() for n in [int(m.mask.sum())]}  # fmt: skip
        found = decoder(one.inputs, one.targets, one.lengths, code[:, row : row + 1], short)[0]
        torch.testing.assert_close(found, together[row : row + 1], rtol=1e-4, atol=1e-4)
        found.sum().backward()
    for ours, parameter in zip(padded, decoder.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, rtol=1e-3, atol=1e-3)


@each
@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_texts_are_written_each_with_its_own_code_and_memory(name: str, method: str):
    decoder, memories = made(name), remembered(name)
    code, how = codes(decoder, 3), Decoding(method, max_length=9, beam=3)
    torch.manual_seed(1)
    texts = write(decoder, code, how, memories)
    assert all(len(text) <= 9 and not {PAD, BOS, EOS} & set(text) for text in texts)
    if method != "sample":
        assert texts == [write(decoder, code[row : row + 1], how, alone(memories, row))[0] for row in range(3)]
    if method == "greedy" and texts[0]:
        whole = Batch.of([[BOS, *texts[0], EOS]])
        best = decoder.output(decoder.states(whole.inputs, code[None, :1], alone(memories, 0)))[0, 0]
        best[:, [PAD, BOS]] = -torch.inf
        assert best.argmax(-1)[: len(texts[0])].tolist() == texts[0]


@pytest.mark.parametrize("entry", ENTRIES)
def test_gradient_flows_to_z_from_every_word_and_texts_depend_on_it(entry: str):
    decoder, batch = made(entry), Batch.of([[BOS, 4, 5, 6, 7, EOS]])
    for length in range(2, 7):
        code = codes(decoder, 1, 1).requires_grad_()
        decoder(batch.inputs, batch.targets, torch.tensor([length]), code).sum().backward()
        assert (code.grad != 0).all()
    found = write(decoder, 3 * torch.randn(30, W, generator=torch.Generator().manual_seed(4)), Decoding(max_length=8))
    assert len({tuple(text) for text in found}) > 10


def test_the_weights_shown_are_those_of_the_last_layer():
    for name in ("source", "prefix, both"):
        decoder, batch, memories = made(name), Batch.of(TEXTS), remembered(name)
        code, seen = codes(decoder, 2, 3), []
        look = decoder.layers[-1].looks["source"]
        look.register_forward_hook(lambda module, given, output, seen=seen: seen.append(given))
        with torch.no_grad():
            weights = decoder.attended(batch.inputs, code, memories)
            decoder.states(batch.inputs, code, memories)
        x, (key, _, mask) = seen[-1]
        query = look.query(look.norm(x)).unflatten(-1, (3, 4))
        for row, head_mean in enumerate(weights.flatten(0, 1)):
            energy = torch.einsum("thd,hld->htl", query[row], key[row]) / 2
            wanted = energy.masked_fill(~mask[row], -torch.inf).softmax(-1).mean(0)
            torch.testing.assert_close(head_mean, wanted, **F32)
        there = memories["source"].mask
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]), **F32)
        assert not weights[:, (~there)[:, None].expand(-1, weights.shape[2], -1)].any()
    assert made("memory").attended(Batch.of(TEXTS).inputs, torch.randn(1, 3, W), {}) is None


def test_dropout_rests_in_evaluation_and_acts_in_every_place_in_training():
    batch = Batch.of(TEXTS)
    for place in ("dropout", "dropout_in", "dropout_out"):
        off = dict.fromkeys(("dropout", "dropout_in", "dropout_out"), 0.0)
        decoder = made("memory", **{**off, place: 0.5})
        given = (batch.inputs, batch.targets, batch.lengths, torch.randn(1, 3, W))
        assert torch.equal(decoder(*given), decoder(*given))
        assert not torch.equal(decoder.train()(*given), decoder(*given))
        assert torch.equal(made("memory", **off).train()(*given), made("memory", **off).eval()(*given))


# --- the encoder -------------------------------------------------------------------------------------------------


def encoder(**more: Any) -> TransformerEncoder:
    torch.manual_seed(0)
    return TransformerEncoder(V, **{"embedding": 8, "hidden": H, "heads": 3, "expansion": 2, "dropout": 0.0} | more)


@pytest.mark.parametrize("training", [False, True])
def test_padding_changes_no_feature_and_a_relaxed_text_is_read_as_its_ids(training: bool):
    made = encoder().train(training)
    texts, lengths = torch.randint(4, V, (4, 7)), torch.tensor([7, 5, 1, 3])
    found = made(texts, lengths)
    assert found.shape == (4, H)
    torch.testing.assert_close(made(F.pad(texts, (0, 6), value=PAD), lengths), found, **F32)
    for row, length in enumerate(lengths):
        torch.testing.assert_close(made(texts[row : row + 1, :length], lengths[row : row + 1])[0], found[row], **F32)
    torch.testing.assert_close(made(F.one_hot(texts, V).float(), lengths), found, **F32)
    with torch.no_grad():  # where torch may take a faster way
        torch.testing.assert_close(made(texts, lengths), found, **F32)


def test_the_order_of_words_counts_and_all_are_seen_by_all():
    made, lengths = encoder(), torch.tensor([3])
    assert not torch.allclose(made(torch.tensor([[4, 5, 6]]), lengths), made(torch.tensor([[6, 5, 4]]), lengths))
    states = made.states(torch.tensor([[4, 5, 6]]), lengths)
    for position in range(3):
        made.zero_grad()
        states[0, position].square().sum().backward(retain_graph=True)
        assert (made.embedding.weight.grad[4:7].abs().sum(-1) > 0).all()


def test_layers_start_from_different_values():
    first, second = encoder().layers
    assert not torch.equal(first.linear1.weight, second.linear1.weight)


# --- in models ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "typed",
    [
        *(f"decoder.entry={entry} encoder=transformer" for entry in ENTRIES),
        "model=rnnlm regularizer=word_dropout",
        "model=ae encoder=transformer regularizer=none",
        "decoder.tie=true encoder=cnn",
        "regularizer=[free_bits,word_dropout,embedding_dropout,bag_of_words] anneal=linear",
        "regularizer=[semi_amortized] regularizer.semi_amortized.steps=2",
        "regularizer=pretrain",
        "latent=categorical regularizer=none",
        "model=m2 encoder=transformer latent.c.categories=2",
    ],
)
def test_what_works_composes_and_takes_a_finite_step(typed: str, composed: Compose):
    dim = ["latent.dim=4"] if "latent=" not in typed and "m2" not in typed else []
    config = composed("decoder=transformer", *typed.split(), *SIZES, *dim)
    checked(config)
    torch.manual_seed(0)
    model = build.model(plain(config), WORDS)
    batch = Batch.of(WORDS.encode(["a b c", "d e f", "f e d a", "c"]))
    batch.labels = torch.tensor([0, 1, 1, 0])
    training = build.training(plain(config), model)
    optimizer = training.configure_optimizers()
    before = {name: part.detach().clone() for name, part in model.decoder.named_parameters()}
    loss = training.training_step(batch, 0)
    loss.backward()
    optimizer.step()
    assert 0 < loss.item() < 1000
    still = [name for name, part in model.decoder.named_parameters() if torch.equal(part, before[name])]
    assert not [name for name in still if not name.endswith("given.bias")], "the bias of keys has no gradient"
    if "word_dropout" in typed:
        model.eval()
        reading, code = model.read(batch), torch.zeros(1, 4, model.latent.width)
        read, hidden = (
            model.log_likelihood(batch, reading, code, x) for x in (None, torch.full_like(batch.inputs, UNK))
        )
        assert not torch.equal(read, hidden), "hidden words are not read"


@pytest.fixture
def conditional(composed: Compose):
    def make(*overrides: str) -> ConditionalModel:
        torch.manual_seed(0)
        typed = ["data=multi30k", *overrides, *SIZES, "latent.dim=3"]
        model = build.model(plain(composed(*typed)), WORDS).eval()
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, nn.Linear | nn.Embedding):
                    module.weight *= 3
        assert isinstance(model, ConditionalModel)
        return model

    return make


@pytest.mark.parametrize("name", ["seq2seq", "cvae", "aevnmt", "cvae decoder.entry=prefix"])
def test_a_source_is_attended_to_and_its_padding_changes_nothing(conditional: Any, name: str):
    model = conditional(*f"model={name} encoder=transformer decoder=transformer".split())
    assert model.decoder.names == ("source",)
    longer = Batch(PAIRS.tokens, PAIRS.lengths, source=F.pad(PAIRS.source, (0, 4)))
    figures = []
    for batch in (PAIRS, longer):
        torch.manual_seed(1)
        with torch.no_grad():
            terms = model.terms(batch)
            written = model.write(model.code(terms.reading), Decoding("beam", max_length=6), terms.reading)
        figures.append((terms.distortion, written))
    (one, first), (other, second) = figures
    torch.testing.assert_close(one, other, **F32)
    assert first == second
    if name == "aevnmt":
        assert model.retold.names == ()
        return
    reading = model.read(PAIRS)
    silent = Memory(torch.zeros_like(reading.memories["source"].states), *(
        getattr(reading.memories["source"], part) for part in ("mask", "summary")))  # fmt: skip
    code = terms.code
    heard, unheard = (
        model.decoder(PAIRS.inputs, PAIRS.targets, PAIRS.lengths, model._beside(code, reading), {"source": memory})
        for memory in (reading.memories["source"], silent)
    )
    assert not torch.allclose(heard, unheard), "the states matter, not the summary alone"
    weights = model.attended(PAIRS, reading, code[0])
    assert weights.shape == (3, PAIRS.inputs.shape[1], PAIRS.source.shape[1])


def test_without_attention_only_the_summary_is_heard(conditional: Any):
    model = conditional("model=seq2seq", "decoder=transformer", "decoder.attends=none")
    assert model.decoder.names == ()
    reading = model.read(PAIRS)
    assert model.attended(PAIRS, reading, model.code(reading)) is None


def test_tags_are_attended_to(composed: Compose):
    tags = {"case": ["none", "nom", "dat"], "num": ["none", "pl"]}
    for attends, names in (("tags", ("tags",)), ("both", ("tags", "source")), ("auto", ("tags", "source"))):
        typed = ("model=msved", "decoder=transformer", f"decoder.attends={attends}", *SIZES, "latent.dim=4")
        config = composed(*typed)
        checked(config)
        torch.manual_seed(0)
        model = build.model(plain(config), WORDS, attributes=tags)
        assert model.decoder.names == names
        batch = Batch(
            PAIRS.tokens, PAIRS.lengths, source=PAIRS.source, attributes=torch.tensor([[1, 0], [2, 1], [-1, -1]])
        )
        loss = build.training(plain(config), model).training_step(batch, 0)
        loss.backward()
        assert loss.isfinite()
        for name in names:
            assert (model.decoder.layers[0].looks[name].query.weight.grad != 0).any()


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("decoder.heads=0", ["decoder.heads=0", "at least 1"]),
        ("decoder.entry=initial", ["memory, addend, prefix"]),
        ("decoder.attends=source", ["decoder.attends=source", "model=svae"]),
        ("model=seq2seq data=multi30k decoder.attends=tags", ["decoder.attends=tags"]),
        ("decoder.tie=true decoder.embedding=8", ["decoder.embedding=256"]),
        ("regularizer=skip", ["decoder=transformer", "decoder=lstm"]),
        ("regularizer=semi_amortized regularizer.semi_amortized.through=exact", ["finite_difference"]),
        ("encoder=transformer regularizer=lm_init", ["encoder=transformer", "encoder=lstm"]),
        ("model=nvdm", ["decoder=transformer", "decoder=bow"]),
        ("model=game encoder=transformer decoder=lstm", ["encoder=transformer", "encoder=linear"]),
    ],
)
def test_what_cannot_work_is_refused_by_name(typed: str, named: list[str], composed: Compose):
    with pytest.raises((ConfigError, Refusal)) as caught:
        checked(composed("decoder=transformer", *typed.split()))
    for words in named:
        assert words in str(caught.value)


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_heads_that_do_not_share_the_width_are_named(part: str, composed: Compose):
    config = plain(composed("encoder=transformer", "decoder=transformer", f"{part}.hidden=10", f"{part}.heads=4"))
    with pytest.raises(ConfigError, match=rf"{part}\.heads=4 with {part}\.hidden=10(.|\n)*heads=1 \| 2 \| 5"):
        build.model(config, WORDS)


@pytest.mark.slow
def test_a_job_runs_from_the_command_line_to_its_report(small: list[str], lvexp: Command, tmp_path: Any):
    done = lvexp(*small, "encoder=transformer", "decoder=transformer", "trainer.max_steps=3")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "outputs").rglob("result.json"))
