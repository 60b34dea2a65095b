"""z in every layer of the decoder: the formula, and that all ways through the decoder agree."""

from __future__ import annotations

import itertools

import pytest
import tiny
import torch
from helpers import Compose, checked
from torch import nn

from lvexp.data.batch import Batch
from lvexp.data.special import BOS, EOS
from lvexp.errors import Refusal
from lvexp.networks.recurrent import RecurrentDecoder
from lvexp.networks.writing import Decoding, write
from lvexp.regularizers.skip import Skip

CELLS = pytest.mark.parametrize("cell", ["lstm", "gru"])
LAYERS = pytest.mark.parametrize("layers", [1, 3])
TEXT = [BOS, 4, 9, 5, 6, EOS]


def decoder(cell: str, layers: int, **options) -> RecurrentDecoder:
    torch.manual_seed(0)
    made = RecurrentDecoder(10, 3, cell, 4, 5, layers=layers, **options).eval()
    made.join(3)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter *= 2  # so that z matters
    return made


@CELLS
@LAYERS
def test_each_layer_hands_on_its_state_plus_its_share_of_z(cell: str, layers: int):
    ours, batch, z = decoder(cell, layers, entry="initial"), Batch.of([TEXT]), torch.randn(1, 3)
    cells = []
    for layer in range(layers):
        made = (nn.LSTMCell if cell == "lstm" else nn.GRUCell)(4 if layer == 0 else 5, 5)
        kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        made.load_state_dict({kind: getattr(ours.rnn, f"{kind}_l{layer}") for kind in kinds})
        cells.append(made)
    c0 = [ours.initial(z), *[torch.zeros(1, 5)] * (layers - 1)]
    state, total = [(c.tanh(), c) for c in c0], 0.0
    for read, written in itertools.pairwise(TEXT):
        x = ours.embedding(torch.tensor([read]))
        for layer, made in enumerate(cells):
            if cell == "lstm":
                state[layer] = made(x, state[layer])
            else:
                state[layer] = (made(x, state[layer][0]), state[layer][1])
            x = state[layer][0] + z @ ours.skip[layer].weight.T
        total += (x @ ours.output.weight.T).log_softmax(-1)[0, written].item()
    found = ours(batch.inputs, batch.targets, batch.lengths, z[None])
    assert found.item() == pytest.approx(total, abs=1e-4)


@CELLS
@LAYERS
@pytest.mark.parametrize("inputless", [False, True])
@pytest.mark.parametrize("entry", ["initial", "every_step", "both"])
def test_one_by_one_many_draws_and_step_by_step_agree(cell: str, layers: int, inputless: bool, entry: str):
    ours = decoder(cell, layers, inputless=inputless, entry=entry)
    batch, code = Batch.of([TEXT, [*TEXT[:3], EOS], [BOS, EOS]]), torch.randn(7, 3, 3)
    with torch.no_grad():
        together = ours(batch.inputs, batch.targets, batch.lengths, code)
        alone = torch.cat([ours(batch.inputs, batch.targets, batch.lengths, draw[None]) for draw in code])
        state, total = ours.start(code[0, :1]), 0.0
        for read, written in itertools.pairwise(TEXT):
            log_p, state = ours.step(torch.tensor([read]), state)
            total += log_p[0, written].item()
    assert torch.allclose(together, alone, atol=1e-5)
    assert total == pytest.approx(together[0, 0].item(), abs=1e-4)
    with_gradient = ours(batch.inputs, batch.targets, batch.lengths, code)
    assert torch.allclose(with_gradient, together, atol=1e-5)
    with_gradient.sum().backward()
    assert all(parameter.grad is not None and (parameter.grad != 0).any() for parameter in ours.skip.parameters())


def test_without_it_the_decoder_is_what_it_was():
    ours = decoder("lstm", 2)
    torch.manual_seed(0)
    plain = RecurrentDecoder(10, 3, "lstm", 4, 5, layers=2).eval()
    assert {name for name in ours.state_dict() if "skip" in name} == set(ours.state_dict()) - set(plain.state_dict())
    with torch.no_grad():
        for share in ours.skip:
            share.weight.zero_()
    plain.load_state_dict({name: value for name, value in ours.state_dict().items() if "skip" not in name})
    batch, code = Batch.of([TEXT]), torch.randn(1, 1, 3)
    scores = [each(batch.inputs, batch.targets, batch.lengths, code) for each in (ours, plain)]
    assert torch.allclose(*scores, atol=1e-6)


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_it_writes_texts(method: str):
    torch.manual_seed(0)
    code = torch.randn(4, 3)
    ours = decoder("lstm", 2)
    texts = write(ours, code, Decoding(method=method, beam=2, max_length=6))
    assert len(texts) == 4
    if method != "sample":
        assert texts == [write(ours, z[None], Decoding(method=method, beam=2, max_length=6))[0] for z in code]


@pytest.mark.parametrize("latent", ["gaussian", "point"])
def test_the_remedy_joins_z_to_the_decoder_and_trains_it_with_the_generative_parameters(latent: str):
    model = tiny.model(latent, remedies=[Skip()])
    training = tiny.training(model, optimizer=torch.optim.Adam)
    groups = {group["name"]: {id(p) for p in group["params"]} for group in training.configure_optimizers().param_groups}
    joined = list(model.decoder.skip.parameters())
    assert len(joined) == 1
    assert {id(parameter) for parameter in joined} <= groups["generative"]
    training.training_step(tiny.encode("a b c", "d"), 0).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in joined)


def test_what_it_cannot_work_with_is_refused(composed: Compose):
    checked(composed("regularizer=skip", "decoder.inputless=true", "decoder.layers=2"))
    with pytest.raises(Refusal, match=r"(?s)latent=none.*no latent variable.*regularizer=skip"):
        checked(composed("model=rnnlm", "regularizer=skip"))
    with pytest.raises(Refusal, match=r"(?s)decoder=dcnn.*no layers for z.*decoder=gru \| decoder=lstm"):
        checked(composed("regularizer=skip", "decoder=dcnn"))
