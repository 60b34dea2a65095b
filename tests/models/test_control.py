"""Wake–sleep learning of p(x|z, c): whose loss each turn minimises, against losses written out by hand."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from torch import nn

from lvexp.anneal.constant import Constant
from lvexp.data.batch import Batch
from lvexp.data.special import BOS, EOS, PAD
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, RunError
from lvexp.estimators.pathwise import Pathwise
from lvexp.instruments.attributes import Attributes
from lvexp.instruments.base import Context, Look
from lvexp.instruments.settings import EvaluationSettings
from lvexp.latents.categorical import Categorical
from lvexp.latents.gaussian import Gaussian
from lvexp.latents.mixed import Mixed
from lvexp.loading import Run
from lvexp.models.control import BASE, CYCLE, ControlModel
from lvexp.networks.cnn import ConvolutionalEncoder
from lvexp.networks.none import NoEncoder
from lvexp.networks.recurrent import RecurrentDecoder, RecurrentEncoder
from lvexp.networks.writing import Decoding, write
from lvexp.training.module import Training

WORDS = Vocabulary.train(["a b c d e f"], kind="words", max_size=100, min_count=1, lowercase=False)
GROUP = {"discriminator": "discriminator", "generator": "generative", "encoder": "inference"}
TEXTS = ["a b c", "d e f", "f e d", "c c a"]


def made(attributes: int = 1, seed: int = 0, **options: Any) -> ControlModel:
    torch.manual_seed(seed)
    names = [f"c{at}" for at in range(attributes)]
    encoder = RecurrentEncoder(WORDS.size, embedding=6, hidden=7)
    latent = Mixed(
        7,
        z=functools.partial(Gaussian, dim=3),
        **{name: functools.partial(Categorical, categories=2 + at, embedding=3) for at, name in enumerate(names)},
    )
    model = ControlModel(
        functools.partial(ConvolutionalEncoder, embedding=5, kernels=(2, 3), channels=4, hidden=6, dropout=0.0),
        encoder=encoder,
        decoder=RecurrentDecoder(WORDS.size, latent.width, embedding=6, hidden=7, dropout_in=0, dropout_out=0),
        vocabulary=WORDS,
        latent=latent,
        estimator=Pathwise(),
        **{"max_length": 6, "base_epochs": 1, **options},
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 3
    return model


def batch(attributes: int = 1) -> Batch:
    found = Batch.of(WORDS.encode(TEXTS))
    found.labels = torch.tensor([1, 0, -1, 1])
    if attributes > 1:
        found.attributes = torch.tensor([[2], [-1], [0], [1]])
    return found


def classes(attributes: int) -> torch.Tensor:
    found = batch(attributes)
    return found.labels[:, None] if attributes == 1 else torch.cat([found.labels[:, None], found.attributes], 1)


def train(model: ControlModel, turn: Any, attributes: int, step: int = 7) -> torch.Tensor:
    """The backward pass of one step, as the trainer takes it."""
    training = Training(model, Constant(0.5), functools.partial(torch.optim.Adam, lr=0.01))
    model.turn(step, 5)  # sets the temperature
    model.turn = lambda *_: turn
    torch.manual_seed(3)
    loss = training.training_step(batch(attributes), 0)
    loss.backward()
    return loss


def log_p(model: ControlModel, tokens: torch.Tensor, lengths: torch.Tensor) -> list[torch.Tensor]:
    """log q_D(c|x) of each attribute, written out."""
    found = []
    for name, parts in model.discriminators.items():
        features = parts["fit"](parts["read"](tokens, lengths)).clamp(min=0)
        logits = model.latent.blocks[name].linear(features)
        found.append(logits - logits.exp().sum(-1, keepdim=True).log())
    return found


def picked(log_q: list[torch.Tensor], known: torch.Tensor) -> torch.Tensor:
    """-Σ log q of the classes that are known."""
    total = torch.zeros(len(known))
    for part, column in zip(log_q, known.T, strict=True):
        total = total - torch.where(column >= 0, part[torch.arange(len(known)), column.clamp(min=0)], 0.0)
    return total


def bound(model: ControlModel, attributes: int, beta: float = 0.5) -> torch.Tensor:
    """-E log p(x|z, c) + beta (KL of z + KL of c), c the label where it is shown and a draw elsewhere."""
    read, known = batch(attributes), classes(attributes)
    mean, log_var = model.latent.blocks["z"].linear(model.encoder(read.tokens, read.lengths)).chunk(2, -1)
    kl = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
    z = mean + (0.5 * log_var).exp() * torch.randn(1, *mean.shape)[0]
    code = [z]
    for at, (name, logits) in enumerate(
        zip(model.discriminators, log_p(model, read.tokens, read.lengths), strict=True)
    ):
        shown, block = known[:, at] >= 0, model.latent.blocks[name]
        point = torch.where(
            shown[:, None], -1e4 * (1 - nn.functional.one_hot(known[:, at].clamp(min=0), block.categories)), logits
        )
        q = torch.distributions.OneHotCategorical(logits=point.detach()[:, None])
        kl = kl + (q.probs * (q.logits + math.log(block.categories))).clamp(min=-9).sum((1, 2))
        code.append(q.sample((1,))[0][:, 0] @ block.embedding[0])
    cost = -model.decoder(read.inputs, read.targets, read.lengths, torch.cat(code, -1)[None])[0]
    return cost + beta * kl


def prior_draw(model: ControlModel, count: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """z, the classes, and the code, all from the prior."""
    z, code, drawn = torch.randn(count, 3), [], []
    code.append(z)
    for name in model.discriminators:
        block = model.latent.blocks[name]
        c = torch.distributions.OneHotCategorical(logits=torch.zeros(1, block.categories)).sample((count,))[:, 0]
        code.append(c @ block.embedding[0])
        drawn.append(c.argmax(-1))
    return z, torch.stack(drawn, 1), torch.cat(code, -1)


def soft(model: ControlModel, code: torch.Tensor, tau: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The relaxed texts, word by word."""
    state = model.decoder.start(code)
    words, ended, lengths = [nn.functional.one_hot(torch.full((len(code),), BOS), WORDS.size).float()], [], []
    ended = torch.zeros(len(code), dtype=torch.bool)
    lengths = torch.ones(len(code), dtype=torch.long)
    for _ in range(6):
        scores, state = model.decoder.step(words[-1], state)
        scores = scores.index_fill(1, torch.tensor([PAD, BOS]), -torch.inf)
        word = torch.softmax(scores / tau, -1)
        pad = nn.functional.one_hot(torch.full((len(code),), PAD), WORDS.size).float()
        words.append(torch.where(ended[:, None], pad, word))
        lengths = lengths + ~ended
        ended = ended | (word.argmax(-1) == EOS)
    return torch.stack(words, 1), lengths


def by_hand(model: ControlModel, turn: str, attributes: int) -> torch.Tensor:
    torch.manual_seed(3)
    read, known = batch(attributes), classes(attributes)
    if turn == "discriminator":
        loss = picked(log_p(model, read.tokens, read.lengths), known)
        _, drawn, code = prior_draw(model)
        with torch.no_grad():
            written = write(model.decoder, code, Decoding("sample", max_length=6))
        texts = Batch.of([[BOS, *ids, EOS] for ids in written])
        log_q = log_p(model, texts.tokens, texts.lengths)
        entropy = sum(-(part.exp() * part).sum(-1) for part in log_q)
        return (loss + 0.4 * (picked(log_q, drawn) + 0.3 * entropy)).mean()
    loss = bound(model, attributes)
    if turn == "generator":
        z, drawn, code = prior_draw(model)
        tokens, lengths = soft(model, code, max(0.1, math.exp(-0.05 * 4)))
        mean, log_var = model.latent.blocks["z"].linear(model.encoder(tokens, lengths)).chunk(2, -1)
        found = -0.5 * ((z - mean).square() / log_var.exp() + log_var + math.log(2 * math.pi)).sum(-1)
        loss = loss + 0.6 * picked(log_p(model, tokens, lengths), drawn) - 0.2 * found
    return loss.mean()


WEIGHTS = {"lambda_c": 0.6, "lambda_z": 0.2, "lambda_u": 0.4, "entropy": 0.3, "temperature_rate": 0.05}


@pytest.mark.parametrize("attributes", [1, 2])
@pytest.mark.parametrize("turn", CYCLE, ids=lambda turn: turn.name)
def test_a_turn_has_the_gradients_of_its_own_loss_and_they_reach_no_other_group(turn: Any, attributes: int):
    model, twin = made(attributes, **WEIGHTS), made(attributes, **WEIGHTS)
    loss, expected = train(model, turn, attributes), by_hand(twin, turn.name, attributes)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-4)
    wanted = {id(parameter) for parameter in twin.groups()[GROUP[turn.name]]}
    names = [name for name, parameter in twin.named_parameters() if id(parameter) in wanted]
    there = dict(twin.named_parameters())
    gradients = dict(zip(names, torch.autograd.grad(expected, [there[name] for name in names]), strict=True))
    assert all((gradient != 0).any() for gradient in gradients.values())
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-4, msg=name)
        else:
            assert parameter.grad is None, f"{turn.name} reached {name}"


def test_the_groups_are_the_parts_and_the_first_phase_trains_all():
    model = made(2)
    groups = {name: {id(part) for part in parts} for name, parts in model.groups().items()}
    assert sum(map(len, groups.values())) == len(set().union(*groups.values())) == len(list(model.parameters()))
    named = {id(parameter): name for name, parameter in model.named_parameters()}
    judge = {named[part] for part in groups["discriminator"]}
    assert {name.split(".")[0] for name in judge} == {"discriminators", "latent"}
    assert {name for name in judge if name.startswith("latent")} == {
        f"latent.blocks.{c}.linear.{kind}" for c in ("c0", "c1") for kind in ("weight", "bias")
    }
    assert {name.split(".")[0] for name in map(named.get, groups["inference"])} == {"encoder", "latent"}
    assert [model.turn(step, 0) for step in range(3)] == [BASE] * 3
    assert [model.turn(step, 1) for step in range(3, 7)] == [*CYCLE, CYCLE[0]]
    assert model.prepares(0)
    assert not model.prepares(1)
    found = []
    for epoch in range(7):
        model.turn(11, epoch)
        found.append(model.relaxation)
    assert found == pytest.approx([1, 1, math.exp(-0.7), math.exp(-1.4), math.exp(-2.1), 0.1, 0.1])
    train(model, BASE, 2)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_in_the_first_phase_the_bound_does_not_train_the_discriminator():
    model, alone = made(), made()
    train(model, BASE, 1)
    read = batch()
    expected = picked(log_p(alone, read.tokens, read.lengths), classes(1)).mean()
    expected.backward()
    for part, other in zip(model.groups()["discriminator"], alone.groups()["discriminator"], strict=True):
        torch.testing.assert_close(part.grad, other.grad)


def test_a_weight_of_zero_leaves_its_term_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lvexp.models.control.relax", None)
    monkeypatch.setattr("lvexp.models.control.write", None)
    for turn in CYCLE:
        train(made(lambda_c=0.0, lambda_z=0.0, lambda_u=0.0), turn, 1)
    only_z, both = made(**{**WEIGHTS, "lambda_c": 0.0}), made(**WEIGHTS)
    monkeypatch.undo()
    difference = (train(both, CYCLE[1], 1) - train(only_z, CYCLE[1], 1)).detach()
    assert float(difference) == pytest.approx(0.6 * float(both.watch()["attribute"]), rel=1e-4)


def test_a_text_of_the_posterior_gets_another_class_and_keeps_its_z(monkeypatch: pytest.MonkeyPatch):
    """With codes=posterior what is relaxed has z of the bound's own draw, and c of the prior."""
    model, seen = made(codes="posterior", **WEIGHTS), []
    from lvexp.networks import relaxed

    monkeypatch.setattr("lvexp.models.control.relax", lambda *given: seen.append(given) or relaxed.relax(*given))
    others = torch.tensor([[0], [1], [0], [0]])  # of the texts with a label, the other one
    monkeypatch.setattr(model, "_drawn", lambda count: (torch.full((count, 5), torch.nan), others))
    train(model, CYCLE[1], 1)
    code = seen[0][1]
    torch.manual_seed(3)
    twin = made(codes="posterior", **WEIGHTS)
    read = batch()
    torch.manual_seed(3)
    mean, log_var = twin.latent.blocks["z"].linear(twin.encoder(read.tokens, read.lengths)).chunk(2, -1)
    z = mean + (0.5 * log_var).exp() * torch.randn(1, *mean.shape)[0]
    torch.testing.assert_close(code[:, :3], z)
    torch.testing.assert_close(code[:, 3:], twin.latent.blocks["c0"].embedding[0][others[:, 0]])


def test_what_the_discriminator_is_unsure_of_costs_the_entropy():
    """β H is smallest where q_D is sure, whatever the class."""
    sure, unsure = made(**WEIGHTS), made(**WEIGHTS)
    for model, scale in ((sure, 50.0), (unsure, 0.0)):
        with torch.no_grad():
            model.latent.blocks["c0"].linear.weight *= scale
            model.latent.blocks["c0"].linear.bias *= 0
        model.entropy = 1.0
    cost = {}
    for name, model in {"sure": sure, "unsure": unsure}.items():
        torch.manual_seed(0)
        with_entropy = model._written(200)
        model.entropy = 0.0
        torch.manual_seed(0)
        cost[name] = (with_entropy - model._written(200)).mean().item()
    assert cost["unsure"] == pytest.approx(math.log(2), abs=1e-4)
    assert 0 <= cost["sure"] < 0.2


# --- validations ------------------------------------------------------------------------------------------------------


def validated_batches() -> list[Batch]:
    """Four texts and one, with two attributes; some classes are not known."""
    first, last = (
        Batch.of(WORDS.encode(["a b c d", "d e f a", "f e d c", "c c a b"])),
        Batch.of(WORDS.encode(["b c d e f"])),
    )
    first.labels, last.labels = torch.tensor([1, 0, -1, 1]), torch.tensor([1])
    first.attributes, last.attributes = torch.tensor([[2], [-1], [0], [1]]), torch.tensor([[2]])
    return [first, last]


@torch.no_grad()
def test_the_loss_of_the_generator_is_the_mean_over_all_texts_of_the_bound_and_its_guidance(
    monkeypatch: pytest.MonkeyPatch,
):
    model = made(2).eval()
    monkeypatch.setattr(model, "guidance", lambda terms: 100.0 + terms.batch.lengths)
    instrument, parts = Attributes(Context(model, EvaluationSettings(), alone=False)), []
    for batch in validated_batches():
        terms = model.terms(batch)
        instrument.update(Look(terms, None, 0))
        assert terms.rate is not None
        parts.append(terms.distortion + terms.rate + 100 + batch.lengths)
    assert instrument.measure()["generator_loss"] == pytest.approx(torch.cat(parts).mean().item(), rel=1e-5)


@torch.no_grad()
def test_a_validation_judges_transferred_texts_by_the_discriminator_of_their_attribute(monkeypatch: pytest.MonkeyPatch):
    model, asked = made(2, seed=2, best="transfer").eval(), []
    instrument = Attributes(Context(model, EvaluationSettings(), alone=False))
    # of each batch, attribute by attribute: the known classes, the next ones, and what is written
    wanted = [
        (0, [0, 1, 0], ["a b c d", "d", "f f f f"]), (1, [0, 1, 2], ["a b c d", "f e d c", "a"]),
        (0, [0], ["b c d e f"]), (1, [0], ["b c d e f"]),
    ]  # fmt: skip

    def write(value: torch.Tensor, to: torch.Tensor) -> list[str]:
        at, classes, texts = wanted[len(asked)]
        asked.append(to)
        assert to[:, at].tolist() == classes
        assert (to[:, 1 - at] == -1).all()
        return texts

    monkeypatch.setattr(instrument, "_write", write)
    for batch in validated_batches():
        instrument.update(Look(model.terms(batch), None, 0))

    def share(own: bool) -> float:
        """Of the class wanted, according to the discriminator of this attribute, or to the first."""
        right = 0
        for at, classes, texts in wanted:
            for c, text in zip(classes, texts, strict=True):
                read = Batch.of(WORDS.encode([text]))
                right += log_p(model, read.tokens, read.lengths)[at if own else 0].argmax(-1).item() == c
        return right / 8

    accuracy, kept = share(own=True), 100 * 5 / 8  # five of the eight are copies, the others share no four words
    found = instrument.measure()
    assert 0 < accuracy != share(own=False), "or this test says little"
    assert found["transfer_accuracy"] == pytest.approx(accuracy)
    assert found["transfer_self_bleu"] == pytest.approx(kept)
    assert found["transfer_loss"] == pytest.approx(100 - math.sqrt(100 * accuracy * kept))


# --- a finished run --------------------------------------------------------------------------------------------------

NAMES = {"sentiment": ["negative", "positive"], "tense": ["future", "past", "present"]}


@pytest.fixture
def run() -> Run:
    model = made(2).eval()
    model.attribute_names = NAMES
    return Run(model, {})


def test_samples_of_a_class_have_it_and_share_the_rest(run: Run, monkeypatch: pytest.MonkeyPatch):
    seen, write_ = [], run.model.write
    monkeypatch.setattr(run.model, "write", lambda code, *more: seen.append(code) or write_(code, *more))
    assert len(run.sample(6, seed=1, c="positive")) == 6
    run.sample(6, seed=1, c={"sentiment": "positive", "tense": "past"})
    run.sample(6, seed=1)
    one, both, free = seen
    first, second = (run.model.latent.blocks[name].embedding[0] for name in ("c0", "c1"))
    torch.testing.assert_close(one[:, 3:6], first[1].expand(6, -1))
    torch.testing.assert_close(one[:, 6:], free[:, 6:])
    torch.testing.assert_close(both[:, 6:], second[1].expand(6, -1))
    torch.testing.assert_close(one[:, :3], free[:, :3])
    assert run.sample(6, seed=1, c="positive") == run.sample(6, seed=1, c={"sentiment": "positive"})


def test_a_transferred_text_keeps_z_and_its_other_attributes(run: Run, monkeypatch: pytest.MonkeyPatch):
    seen, write_ = {}, run.model.write
    monkeypatch.setattr(
        run.model, "write", lambda code, *more: seen.setdefault("code", code) is None or write_(code, *more)
    )
    written = run.transfer(TEXTS, "negative", batch_size=10)
    assert len(written) == 4
    own = run.encode(TEXTS)
    by_length = seen["code"]  # all texts have the same length: in their order
    torch.testing.assert_close(by_length[:, :3], own[:, :3])
    torch.testing.assert_close(by_length[:, 6:], own[:, 6:])
    torch.testing.assert_close(by_length[:, 3:6], run.model.latent.blocks["c0"].embedding[0][0].expand(4, -1))
    mixed = ["a", "a b c d", "b c"]
    assert run.transfer(mixed, "negative") == [run.transfer([text], "negative")[0] for text in mixed]


def test_attributes_are_the_most_probable_classes(run: Run):
    found = run.attributes(TEXTS)
    read = Batch.of(WORDS.encode(TEXTS))
    for at, (name, labels) in enumerate(NAMES.items()):
        p, row = log_p(run.model, read.tokens, read.lengths)[at].exp().max(-1)
        assert [each[name][0] for each in found] == [labels[c] for c in row.tolist()]
        assert [each[name][1] for each in found] == pytest.approx(p.tolist(), abs=1e-5)


def test_classes_without_a_known_name_are_given_by_their_numbers(run: Run):
    wanted = run.attributes(TEXTS)
    run.model.attribute_names = {}
    for found, named in zip(run.attributes(TEXTS), wanted, strict=True):
        for (name, labels), other in zip(NAMES.items(), ("c1", "c2"), strict=True):
            assert (labels[int(found[other][0])], found[other][1]) == named[name]
    for known in (["future"], ["future", "past"]):  # a corpus may have fewer than the latent variable
        run.model.attribute_names = {**NAMES, "tense": known}
        numbers = {name: name if name in known else row for row, name in enumerate(NAMES["tense"])}
        some = [each["tense"][0] for each in run.attributes(TEXTS)]
        assert some == [numbers[str(named["tense"][0])] for named in wanted]


def test_a_class_of_several_attributes_needs_the_name_of_one(run: Run):
    run.model.attribute_names = {"taste": ["bad", "good"], "price": ["bad", "fair", "good"]}
    with pytest.raises(RunError, match=r"c='good': taste and price have such a class\ntry  one of taste=good, price=g"):
        run.transfer(["a"], "good")
    assert run.model.chosen({"price": "good"}).tolist() == [[-1, 2]]
    assert run.model.chosen("fair").tolist() == [[-1, 1]]


def test_a_class_that_does_not_exist_is_named_with_those_that_do(run: Run):
    with pytest.raises(RunError, match=r"c='neutral'.*\ntry  one of sentiment: negative, positive; tense: future"):
        run.sample(2, c="neutral")
    with pytest.raises(RunError, match=r"'mood'.*no such attribute"):
        run.transfer(["a"], {"mood": "positive"})
    with pytest.raises(RunError, match=r"'tense': 'positive'.*\ntry  one of future, past, present"):
        run.transfer(["a"], {"tense": "positive"})


def test_as_many_variables_as_attributes():
    model = made(2)
    model.check(NAMES)
    with pytest.raises(ConfigError, match=r"1 attributes \(sentiment\), and the latent variable has 2"):
        model.check({"sentiment": ["negative", "positive"]})
    with pytest.raises(ConfigError, match=r"latent\.c0\.categories=2: .*sentiment has 3"):
        model.check({**NAMES, "sentiment": ["a", "b", "c"]})
    with pytest.raises(ConfigError, match=r"latent\.c1\.categories=3: texts of each class.*tense has 2\ntry .*=2"):
        model.check({**NAMES, "tense": ["past", "present"]})


def test_a_discriminator_that_reads_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"tells no class\ntry  encoder@model\.discriminator=cnn"):
        ControlModel(
            lambda vocabulary: NoEncoder(vocabulary), encoder=made().encoder, decoder=made().decoder, vocabulary=WORDS,
            latent=made().latent, estimator=Pathwise(),
        )  # fmt: skip
