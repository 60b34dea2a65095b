"""Texts of which some show their class."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import tiny
import torch
from helpers import Compose, plain

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.settings import DataSettings
from lvexp.data.source import check
from lvexp.data.special import EOS
from lvexp.draws import expect
from lvexp.errors import ConfigError
from lvexp.estimators.enumerate import Enumerate


@pytest.fixture
def made(composed: Compose, small: list[str]):
    def make(*more: str):
        config = plain(composed("model=m2", "latent=categorical", "latent.categories=3", *small, *more))
        data = build.data(config)
        torch.manual_seed(0)
        return build.training(config, build.model(config, data.vocabulary)), data

    return make


def labelled(model, labels: list[int]) -> Batch:
    batch = Batch.of(model.vocabulary.encode(["the cat", "the dog and hat", "the box"]))
    batch.labels = torch.tensor(labels)
    return batch


def test_the_loss_is_that_of_the_paper(made):
    """Text by text: D(y) - log p(y) - alpha log q(y|x) where y is shown, the plain bound where it is not."""
    training, _ = made("model.alpha=2.5", "decoder.dropout_in=0.0", "decoder.dropout_out=0.0")
    model = training.model
    batch = labelled(model, [1, -1, 2])
    read = model.read(batch)
    params = model.params(read)
    log_q = params.log_softmax(-1)
    every = Enumerate()(model.latent.posterior(params), 1)
    cost = -model.log_likelihood(batch, read, model.latent.code(every.value))  # [3, B]
    kl = (log_q.exp() * (log_q + math.log(3))).sum(-1)
    known = torch.stack([
        cost[1, 0] + math.log(3) - 2.5 * log_q[0, 1],
        expect(cost, every)[1] + kl[1],
        cost[2, 2] + math.log(3) - 2.5 * log_q[2, 2],
    ])  # fmt: skip
    torch.testing.assert_close(training.training_step(batch, 0), known.mean())
    batch.labels = None
    torch.testing.assert_close(training.training_step(batch, 0), (expect(cost, every) + kl).mean())


def test_labels_are_learned_and_a_report_never_sees_them(made):
    training, _ = made("model.alpha=20.0", "optimizer.lr=0.02")
    model = training.model
    shown, hidden = labelled(model, [1, 0, 2]), labelled(model, [-1, -1, -1])
    optimizer = training.configure_optimizers()
    for _ in range(60):
        training.training_step(shown, 0).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert model.class_logits(model.params(model.read(hidden)))[0].argmax(-1).tolist() == [1, 0, 2]
    model.eval()
    torch.testing.assert_close(model.terms(shown).distortion, model.terms(hidden).distortion)
    torch.testing.assert_close(model.terms(shown).rate, model.terms(hidden).rate)


def test_more_classes_than_values_are_refused(made, composed: Compose, small: list[str]):
    """Up front, by the number of the corpus, under the name that was typed."""
    training, data = made("latent.categories=2")
    model = training.model
    model.check(data.classes)
    four = {"label": [*data.labels, "plant", "place"]}
    with pytest.raises(
        ConfigError, match=r"latent\.categories=2: .* has 4 \(animal, thing.*\ntry  latent\.categories=4$"
    ):
        model.check(four)
    mixed = plain(composed("model=m2", "latent.c.categories=3", *small))
    model = build.model(mixed, data.vocabulary)
    with pytest.raises(ConfigError, match=r"latent\.c\.categories=3: (.|\n)*\ntry  latent\.c\.categories=4$"):
        model.check(four)
    with pytest.raises(ConfigError, match=r"2 attributes \(label, tense\), and the latent variable has 1"):
        model.check({**data.classes, "tense": ["past", "present"]})


def seen(data) -> dict[int, int]:
    return {
        row: label
        for batch in data.train_dataloader()
        for row, label in zip(batch.index.tolist(), batch.labels.tolist(), strict=True)
    }


def test_a_share_or_a_number_of_labels_is_shown(made):
    _, whole = made()
    every = seen(whole)
    assert all(label >= 0 for label in every.values())
    for typed, count in (("0.25", round(0.25 * len(every))), ("7", 7), ("0", 0), ("1", 1)):
        _, data = made(f"data.labelled={typed}")
        found = seen(data)
        shown = {row for row, label in found.items() if label >= 0}
        assert len(shown) == count
        assert all(found[row] == every[row] for row in shown)
        assert shown == {row for row, label in seen(data).items() if label >= 0}, "the same in the next epoch"
        for batch in data.test_dataloader():
            assert (batch.labels >= 0).all(), "what is reported is reported on all"
    _, other = made("data.labelled=7", "seed=2")
    assert {row for row, label in seen(other).items() if label >= 0} != {
        row for row, label in seen(made("data.labelled=7")[1]).items() if label >= 0
    }


def test_labelled_texts_come_as_often_as_asked_for(made):
    _, plain_ = made("data.labelled=7")
    _, data = made("data.labelled=7", "data.balance=0.5")
    loader, total = data.train_dataloader(), len(data.corpus.splits["train"])
    assert data.steps_per_epoch == len(loader) > plain_.steps_per_epoch
    for _ in range(2):
        shown, hidden = Counter(), Counter()
        for batch in loader:
            assert (batch.lengths == batch.tokens.shape[1]).all()
            assert (batch.tokens[:, -1] == EOS).all(), "all of one length"
            for row, label in zip(batch.index.tolist(), batch.labels.tolist(), strict=True):
                assert data.corpus.splits["train"].row(row).tolist() in batch.tokens.tolist()
                (shown if label >= 0 else hidden)[row] += 1
        assert len(shown) == 7
        assert len(hidden) == total - 7
        assert set(hidden.values()) == {1}, "every other text once"
        assert max(shown.values()) - min(shown.values()) <= 1, "copies are shared out equally"
        assert shown.total() - 1 < hidden.total() <= shown.total()
    _, enough = made("data.labelled=0.5", "data.balance=0.3")
    assert enough.steps_per_epoch == plain_.steps_per_epoch, "they are that share already"
    with pytest.raises(ConfigError, match=r"data\.balance=0\.5: no training text"):
        made("data.labelled=0", "data.balance=0.5")[1].train_dataloader()


def test_labels_that_are_not_there(made, composed: Compose, small: list[str]):
    with pytest.raises(ConfigError, match="training texts have a label"):
        made("data.labelled=5000")[1].train_dataloader()
    with pytest.raises(ConfigError, match=r"at most 1\.0"):
        check(DataSettings.of(plain(composed("model=m2", *small, "data.labelled=1.5"))["data"]))


def test_a_run_from_the_command_line(lvexp, small: list[str], tmp_path: Path):
    import json

    typed = [*small, "model=m2", "latent.c.categories=2", "latent.z.dim=3", "data.labelled=0.5", "model.alpha=20.0"]
    done = lvexp(*typed, "trainer.max_epochs=4", "optimizer.lr=0.01", "estimator=blocks")
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "outputs").rglob("result.json")
    scores = json.loads(file.read_text())["test"]
    assert scores["class_accuracy"] > 0.8, "the words give the class away"
    assert scores["cluster_accuracy"] == pytest.approx(scores["class_accuracy"])
    assert scores["nll_kind"] == "importance-weighted"
    assert scores["active_units"] is not None
    assert "class" in done.stdout
    assert (file.parent / "figures" / "codes.png").exists()


def test_a_tiny_mixed_model_reads_both_blocks():
    model = tiny.model("mixed").eval()
    batch = tiny.encode("a b c", "c b")
    terms = model.terms(batch, 2)
    assert terms.code.shape == (6, 2, 3 + 32), "two draws of z with each of three values of c"
    assert terms.rate_per_dimension.shape == (2, 4)
