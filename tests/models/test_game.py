"""The games: what each side knows, rewards, and what is reported of them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Command, Compose, checked, plain

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.errors import ConfigError, Refusal
from lvexp.estimators.enumerate import Enumerate
from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.settings import EvaluationSettings
from lvexp.models.game import GameModel

TALK = ("latent.questions=2", "latent.answers=3", "latent.hidden=8", "latent.embedding=4")
SEND = ("latent=symbols", "latent.dim=2", "latent.categories=3", "latent.hidden=8", "latent.embedding=4")
SIZES = ("encoder.hidden=6", "decoder.hidden=8", "decoder.embedding=4")
KINDS = {"dialogue": TALK, "symbols": SEND}


def made(composed: Compose, *overrides: str) -> tuple[GameModel, Any, Batch]:
    """A model, its corpus and all training games."""
    config = plain(composed("model=game", *SIZES, *overrides))
    torch.manual_seed(0)
    data = build.data(config)
    model = build.model(config, data.vocabulary, data.sources)
    assert isinstance(model, GameModel)
    model.check({})
    (batch,) = data.in_order("train")
    return model, data, batch


@pytest.mark.parametrize("kind", KINDS)
def test_the_sender_sees_no_task_and_the_one_who_asks_no_object(kind: str, composed: Compose):
    model, _, batch = made(composed, *KINDS[kind])
    assert batch.source is not None
    reading = model.read(batch)
    q = model.latent.posterior(model.params(reading))
    log_p = q.read(q.sample()).log_p
    objects = [tuple(row.nonzero()[:, 0].tolist()) for row in batch.source[:, 0]]
    tasks = batch.source[:, 1].argmax(-1).tolist()
    first = {}
    for row, (thing, task) in enumerate(zip(objects, tasks, strict=True)):
        known = thing if kind == "symbols" else task
        torch.testing.assert_close(log_p[row, 0], first.setdefault(known, log_p[row, 0]))
    assert len({tuple(one.tolist()) for one in first.values()}) > 1


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_is_that_of_all_that_may_be_said(kind: str, composed: Compose):
    """The distortion of enumerated sequences, against single sequences one by one."""
    model, _, batch = made(composed, *KINDS[kind])
    model.estimator, batch = Enumerate(), batch[:5]
    terms = model.train().terms(batch)
    q, total = terms.q, torch.zeros(5)
    for value in q.enumerate_support():
        log_p = model.log_likelihood(batch, terms.reading, model.latent.code(value[None]))[0]
        total = total - q.log_prob(value).exp() * log_p
    torch.testing.assert_close(terms.distortion, total)


@pytest.mark.parametrize(
    ("latent", "passes"),
    [
        ("dialogue latent.questions=2 latent.answers=5", 100),
        ("dialogue latent.dim=1 latent.questions=3 latent.answers=4", 12),
        ("symbols latent.dim=3 latent.categories=2 latent.least=1", 14),
        ("symbols latent.dim=3 latent.categories=4 latent.fixed=true", 64),
    ],
)
def test_an_enumeration_has_as_many_passes_as_were_checked_before(latent: str, passes: int, composed: Compose):
    model, _, batch = made(composed, *f"latent={latent}".split(), "estimator=enumerate")
    assert len(model.train().terms(batch[:3]).draw.value) == passes
    for limit, fits in ((passes, True), (passes - 1, False)):
        typed = composed("model=game", *f"latent={latent}".split(), "estimator=enumerate", f"estimator.limit={limit}")
        if fits:
            checked(typed)
        else:
            with pytest.raises(Refusal, match=f"= {passes} values"):
                checked(typed)


@pytest.mark.parametrize("memory", ["true", "false"])
def test_without_memory_an_answer_is_to_the_last_question_alone(memory: str, composed: Compose):
    """The second answer, after dialogues that differ in their first half."""
    model, _, batch = made(composed, *TALK, f"latent.memory={memory}")
    batch = batch[:6]
    q = model.latent.posterior(model.params(model.read(batch)))
    every = q.enumerate_support()
    answers = q.read(every).log_p.view(*every.shape[:2], 4, -1)[:, :, 3]
    asked = every[:, 0, 2].argmax(-1)
    alike = [answers[asked == question].std(0).max() < 1e-6 for question in (0, 1)]
    assert alike == [memory == "false"] * 2


@pytest.mark.parametrize("entry", ["both", "state"])
@pytest.mark.parametrize("memory", ["true", "false"])
def test_what_is_told_depends_on_all_that_was_heard(memory: str, entry: str, composed: Compose):
    """The derivative of log p(y|z, t) along the parameters of the two that talk, against a difference quotient."""
    model, _, batch = made(composed, *TALK, f"latent.memory={memory}", f"decoder.entry={entry}")
    batch, parameters = batch[:40], [*model.double().latent.parameters()]
    batch.source = batch.source.double()
    value = model.latent.posterior(model.params(model.read(batch))).sample((3,))
    directions = [torch.randn_like(part) for part in parameters]

    def told() -> torch.Tensor:
        return model.log_likelihood(batch, model.read(batch), model.latent.code(value)).sum()

    def moved(step: float) -> torch.Tensor:
        for part, direction in zip(parameters, directions, strict=True):
            part += step * direction
        return told()

    gradients = torch.autograd.grad(told(), parameters, allow_unused=True)
    along = sum((one * to).sum() for one, to in zip(gradients, directions, strict=True) if one is not None)
    with torch.no_grad():
        quotient = (moved(1e-5) - moved(-2e-5)) / 2e-5
    torch.testing.assert_close(along, quotient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("baseline", "more"),
    [("none", ["latent.dim=1"]), ("mean", []), ("mean", ["latent.memory=true", "decoder.entry=state"])],
)
def test_the_reward_is_estimated_without_bias(baseline: str, more: list[str], composed: Compose):
    """Its value and gradient, with beta times the rate, against sums over all dialogues and answers."""
    model, data, batch = made(composed, *TALK, "model.loss=reward", "model.reward=2", "model.wrong=3", *more)
    batch, model.samples = batch[:4], 50
    turn = model.turn(0, 0)
    assert not turn.bound
    reading = model.read(batch)
    q = model.latent.posterior(model.params(reading))
    every = q.enumerate_support()
    heard = model._beside(model._listened(model.latent.code(every), reading), reading)
    states = model.decoder.states(batch.inputs, heard)
    first = 1 + max(data.vocabulary.special.silent)  # of the words
    wanted = batch.targets[:, :-1] - first  # without <eos>, which is not guessed
    log_p = model.decoder.output(states)[:, :, :-1, first:].log_softmax(-1)
    right = log_p.gather(-1, wanted.expand(len(every), -1, -1)[..., None])[..., 0].sum(-1).exp()
    log_q = q.log_prob(every)
    told = log_q - model.latent.prior().log_prob(every)
    exact = (log_q.exp() * (3 * 2 * (1 - right) - 2 * right + 0.7 * told)).sum(0)
    watched = [*model.latent.parameters(), *model.decoder.parameters()]
    known = torch.autograd.grad(exact.sum(), watched, allow_unused=True)
    estimator = made(composed, *TALK, "estimator=score", f"estimator.baseline={baseline}")[0].estimator
    model.estimator = estimator.train()
    values, gradients = [], []
    for _ in range(150):
        loss = model.added(turn, batch, None, 0.7)
        values.append(loss.detach())
        gradients.append([
            torch.zeros_like(part) if one is None else one
            for part, one in zip(watched, torch.autograd.grad(loss.sum(), watched, allow_unused=True), strict=True)
        ])  # fmt: skip
    spread = torch.stack(values)
    assert ((spread.mean(0) - exact).abs() <= 5 * spread.std(0) / 150**0.5 + 1e-6).all()
    for at, true in enumerate(known):
        if true is None or not true.any():
            continue
        found = torch.stack([one[at] for one in gradients])
        assert ((found.mean(0) - true).abs() <= 5.5 * found.std(0) / 150**0.5 + 1e-5).all()


def test_the_schedule_weighs_the_rate_beside_the_reward(composed: Compose):
    """The loss of a training step, against the reward alone and the rate of the same draws."""
    more = (*TALK, "estimator=score", "model.loss=reward", "~anneal.beta", "anneal=linear", "anneal.start=0.5")
    model, _, batch = made(composed, *more)
    training = build.training(plain(composed("model=game", *SIZES, *more, "anneal.warmup=10")), model, 1)
    torch.manual_seed(3)
    loss = training.training_step(batch, 0)
    torch.manual_seed(3)
    alone = model.added(model.turn(0, 0), batch, None, 0.0).mean()
    torch.manual_seed(3)
    q = model.latent.posterior(model.params(model.read(batch)))
    rate = q.rate(model.latent.prior(), model.estimator(q, model.samples))[0].mean()
    torch.testing.assert_close(loss - alone, 0.5 * rate)


@pytest.mark.parametrize("asked", ["data.asked=3", "data.asked=2"])
def test_an_answer_is_picked_among_those_of_the_same_task(asked: str, composed: Compose):
    """Against a loop over all pairs of games."""
    model, _, batch = made(composed, *SEND, "model.loss=pick", asked, "decoder.dropout_out=0")
    model.eval()
    batch = batch[torch.randperm(len(batch))[:12]]
    reading = model.read(batch)
    value = model.latent.posterior(model.params(reading)).sample((2,))
    code = model.latent.code(value)
    found = model.log_likelihood(batch, reading, code)
    model.loss = "likelihood"
    texts = batch.tokens.tolist()
    tasks = batch.source[:, 1].argmax(-1).tolist()
    for own in range(12):
        others = {tuple(texts[at]): at for at in range(12) if tasks[at] == tasks[own] and texts[at] != texts[own]}
        repeated = [at for at in range(12) if tasks[at] == tasks[own] and texts[at] != texts[own]]
        assert set(map(tuple, (texts[at] for at in repeated))) == set(others)
        one = torch.tensor([own])
        scores = [
            model.log_likelihood(
                dataclasses.replace(batch[torch.tensor([at])], source=batch.source[one]), reading[one], code[:, one]
            )[:, 0]
            for at in [own, *repeated]
        ]
        torch.testing.assert_close(found[:, own], torch.stack(scores).log_softmax(0)[0])
    model.loss = "pick"
    sure = model.latent.code(model.latent.point(model.latent.posterior(model.params(reading)))[None])
    best = model.log_likelihood(batch, reading, sure)[0]
    picked = model.picked(batch, reading)
    assert picked.any(), "or this test says little"
    assert not (picked & (best < -torch.tensor(12.0).log())).any()
    assert picked[best > -torch.tensor(2.0).log()].all()
    assert model.monitor == ("game_loss", "1−picked")


def test_objects_that_were_lost_are_drawn_more_often(composed: Compose):
    """As Kottur et al. (2017) draw: 80 % from all games of those objects, the others from all games."""
    model, _, batch = made(composed, *TALK, "model.hard=0.8")
    lost = torch.arange(len(batch)) == 7
    model.played = lambda *_: (None, ~lost[:, None])
    torch.manual_seed(0)
    drawn = [model.resampled(batch) for _ in range(40)]
    assert [found is not None and len(found) for found in drawn] == [len(batch)] * 40
    count = torch.zeros(len(batch))
    for found in drawn:
        same = (found.source[:, None] == batch.source).flatten(2).all(2)
        assert (same.sum(1) == 1).all()
        assert (found.tokens == batch.tokens[same.int().argmax(1)]).all()
        count += same.sum(0)
    mine = (batch.source[:, 0] == batch.source[7, 0]).all(1)
    assert mine.sum() == 6
    n = 40 * len(batch)
    share = 0.8 + 0.2 * 6 / len(batch)
    assert count[mine].sum() / n == pytest.approx(share, abs=5 * (share * (1 - share) / n) ** 0.5)
    assert (count[mine] / n - share / 6).abs().max() < 5 * (share / 6 / n) ** 0.5
    assert count[~mine].max() < 0.2 * 40 + 5 * 8**0.5
    model.games = 11
    assert len(model.resampled(batch) or ()) == 11
    model.played = lambda *_: (None, torch.ones(len(batch), 1, dtype=torch.bool))
    assert model.resampled(batch) is None, "nothing is left to learn"
    model.played = lambda *_: (None, ~lost[:, None])
    model.hard, model.games = 0.0, 4000
    found = model.resampled(batch)
    assert found is not None
    share = (found.source[:, 0] == batch.source[7, 0]).all(1).float().mean()
    assert share == pytest.approx(6 / len(batch), abs=5 * (6 / len(batch) / 4000) ** 0.5), "all games alike"
    model.games = 0
    assert model.resampled(batch) is batch


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_reported_is_what_is_played(kind: str, composed: Compose, tmp_path: Path):
    model, data, _ = made(composed, *KINDS[kind])
    splits = {split: data.in_order(split) for split in ("train", "valid")}
    found = evaluate(model, data.test_dataloader(), EvaluationSettings(iw_samples=2), (), splits)
    (batch,) = data.test_dataloader()
    with torch.no_grad():
        value, right = model.eval().played(batch, model.read(batch))
    assert found.scores["game_both"] == pytest.approx(right.all(1).float().mean().item())
    assert found.scores["game_one"] == pytest.approx(right.any(1).float().mean().item())
    assert found.scores["messages"] >= 1
    assert 0 <= found.scores["message_entropy"] <= torch.tensor(64.0).log()
    if kind == "dialogue":
        assert found.scores["message_length"] == 4
    else:
        lengths = model.latent.prior().lengths(value)
        assert lengths.min() >= 0
        assert lengths.max() <= 2
    found.pictures["protocol"](tmp_path / "protocol.png")
    assert (tmp_path / "protocol.png").read_bytes().startswith(b"\x89PNG")
    assert found.monitor[0] == "game_loss"


@pytest.mark.parametrize("loss", ["likelihood", "reward"])
def test_a_told_answer_is_right_word_by_word(loss: str, composed: Compose):
    """A receiver that always says the same, and with the reward never anything but words."""
    model, data, batch = made(composed, *SEND, f"model.loss={loss}")
    _, red, star, end = data.vocabulary.encode(["red star"])[0]

    def step(words: torch.Tensor, state: object):
        said = torch.where(words == red, star, red)
        log_p = torch.nn.functional.one_hot(said, model.vocabulary.size).float()
        log_p[:, end] = 2.0 if loss == "reward" else 0.0
        return log_p.log_softmax(-1), state

    model.decoder.step = step
    _, right = model.played(batch, model.read(batch))
    texts = [data.vocabulary.decode(row).split() for row in batch.tokens.tolist()]
    assert right[:, 0].tolist() == [text[0] == "red" for text in texts]
    assert right[:, 1].tolist() == [text[1] == "star" for text in texts]


def test_sources_of_other_shapes_are_refused(composed: Compose):
    model = made(composed, *SEND)[0]
    model.sources = model.vocabulary
    with pytest.raises(ConfigError, match="two vectors for each text"):
        model.check({})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("model=game latent=gaussian", "is no sequence of symbols"),
        ("model=svae latent=dialogue", "has nobody to talk to"),
        ("model=game data=snips", "has no source texts"),
        ("model=game estimator=score model.loss=reward regularizer=free_bits", "is no bound\n.* changes one"),
        ("model=game latent=symbols latent.least=9", "is the largest"),
    ],
)
def test_what_does_not_go_together_is_refused(words: str, said: str, composed: Compose):
    with pytest.raises(Refusal, match=said):
        checked(composed(*words.split()))


def test_games_from_the_command_line_in_one_sweep(lvexp: Command, tmp_path: Path):
    few = ("trainer.max_epochs=3", "trainer.check_val_every_n_epoch=1", "logger=csv", "evaluation.iw_samples=2")
    done = lvexp("-m", "model=game", *SIZES, *SEND, *few, "latent.dim=1,2", "data.asked=3")
    assert done.returncode == 0, done.stderr
    results = [json.loads(file.read_text()) for file in (tmp_path / "outputs").rglob("result.json")]
    assert len(results) == 2
    for result in results:
        assert result["monitor"] == "game_loss"
        assert 0 <= result["test"]["game_both"] <= 1
        assert result["test"]["rate"] >= 0
