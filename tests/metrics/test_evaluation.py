from __future__ import annotations

import dataclasses
import json
import math

import pytest
import tiny
import torch
from helpers import Compose
from helpers import plain as values

from lvexp import build
from lvexp.data.vocabulary import Vocabulary
from lvexp.errors import ConfigError, DataError
from lvexp.instruments.evaluate import Evaluation, evaluate, shipped
from lvexp.instruments.exhibits import pairs, spread
from lvexp.instruments.settings import EvaluationSettings
from lvexp.loading import Run
from lvexp.networks.writing import Decoding
from lvexp.regularizers.free_bits import FreeBits
from lvexp.regularizers.word_dropout import WordDropout

SMALL = EvaluationSettings(iw_samples=5, samples=6, max_decode=8)
PRICED = {
    "rate",
    "rate_exact",
    "hole",
    "nll_iw",
    "nll_iw_se",
    "iw_samples",
    "iw_draws",
    "iw_effective",
    "iw_few",
    "ppl_iw",
    "mi",
    "mi_se",
    "mi_n",
    "mi_exact",
    "mi_cap",
    "mi_near_cap",
    "mi_batch",
} | {"mi_batch_size"}
CODED = {"code_perplexity", "code_values", "cluster_accuracy", "cluster_nmi", "cluster_ari", "class_accuracy"} | {
    "ppl_marginal"
}
REFINED = {"elbo_refined", "rate_refined", "rate_floor", "rate_floor_by", "hole_fitted"}
ASKED = {"sample_perplexity", "iw_tail_se"}  # which need a language model, and iw_words
PROBED = {"probe_accuracy", "majority_accuracy", "probe_n", "probe_fitted"}
WRITTEN = {"distinct_1", "distinct_2", "self_bleu", "samples", "samples_unk"}
EVERYWHERE = {"distortion", "sentences", "tokens", "unk", "text_unit"}
#: what every report has, as a figure or as None
NAMED = ASKED | PRICED | CODED | REFINED | PROBED | WRITTEN | EVERYWHERE
NAMED |= {"elbo", "ppl", "nll", "nll_kind", "active_units", "latent_dim", "recon_bleu", "recon_bleu_sentences"}
#: the same, in the order of the instruments
SCORES = tuple(dict.fromkeys(name for instrument in shipped() for name in instrument.figures))


def texts(found, title):
    """The rows of a part of samples.txt; none without the part."""
    return next((part.rows for part in found.sections if part.title == title), [])


def lines(found):
    """Interpolated texts by path, with the texts at both ends."""
    paths = {}
    for number, _, text, *ends in texts(found, "Interpolations"):
        paths.setdefault((number, *ends), []).append(text)
    return [(ends, path) for (_, *ends), path in paths.items()]


def plain(found: Evaluation):
    """All that was found, comparable."""
    pictures = {stem: (drawn.func, drawn.args) for stem, drawn in found.pictures.items()}
    return {field.name: getattr(found, field.name) for field in dataclasses.fields(found)} | {"pictures": pictures}


@pytest.fixture(scope="module")
def found():
    return {latent: evaluate(tiny.model(latent), tiny.corpus(), SMALL) for latent in tiny.LATENTS}


@pytest.mark.parametrize(
    ("latent", "missing"),
    [
        ("gaussian", ASKED | REFINED | CODED | PROBED),
        ("point", ASKED | REFINED | CODED | PROBED | PRICED | WRITTEN | {"elbo", "ppl", "nll", "nll_kind"}),
        (
            "none",
            ASKED
            | REFINED
            | CODED
            | PROBED
            | PRICED
            | {"active_units", "latent_dim", "recon_bleu", "recon_bleu_sentences"},
        ),
    ],
)
def test_none_where_a_figure_does_not_exist(found, latent, missing):
    scores = found[latent].scores
    assert tuple(scores) == SCORES
    assert set(SCORES) == NAMED
    assert {name for name, score in scores.items() if score is None} == missing
    assert json.loads(json.dumps(dict(scores), allow_nan=False)) == scores


def test_gaussian_figures_fit_together(found):
    scores = found["gaussian"].scores
    assert scores["hole"] == pytest.approx(scores["rate"] - scores["mi"])
    assert scores["rate_exact"] is True
    assert scores["elbo"] == pytest.approx(-(scores["distortion"] + scores["rate"]))
    assert scores["nll"] == scores["nll_iw"] < -scores["elbo"]
    assert scores["nll_kind"] == "importance-weighted"
    assert scores["ppl"] == pytest.approx(math.exp(-scores["elbo"] * 11 / scores["tokens"]))
    assert scores["ppl_iw"] == pytest.approx(math.exp(scores["nll_iw"] * 11 / scores["tokens"]))
    assert scores["sentences"] == scores["mi_n"] == scores["recon_bleu_sentences"] == 11
    assert scores["mi_cap"] == pytest.approx(math.log(11))
    assert scores["latent_dim"] == 3
    rates, variances = found["gaussian"].pictures["rate_per_dimension"].args
    assert sum(rates) == pytest.approx(scores["rate"], rel=1e-4)
    assert sum(v > 0.01 for v in variances) == scores["active_units"]
    means = found["gaussian"].pictures["projection"].args[0]
    assert len(means) == 11
    assert len(means[0]) == 3


def test_language_model_is_exact(found):
    scores = found["none"].scores
    assert scores["nll"] == scores["distortion"] == -scores["elbo"]
    assert scores["nll_kind"] == "exact"
    assert not found["none"].pictures
    assert len(texts(found["none"], "Samples")) == 6


def test_autoencoder_has_no_samples(found):
    assert not texts(found["point"], "Samples")
    assert texts(found["point"], "Reconstructions")
    assert texts(found["point"], "Interpolations")


def test_no_dropout_and_true_texts():
    """Against the model's own likelihood in evaluation mode, text by text."""
    model = tiny.model("none")
    scores = evaluate(model, tiny.corpus(), SMALL).scores
    model.eval()
    with torch.no_grad():
        nll = torch.cat([model.terms(batch).distortion for batch in tiny.corpus()])
    assert scores["nll"] == pytest.approx(float(nll.mean()), rel=1e-6)
    model.train()
    with torch.no_grad():
        noisy = torch.cat([model.terms(batch).distortion for batch in tiny.corpus()])
    assert abs(float(noisy.mean()) - scores["nll"]) > 1e-3  # dropout would have shown


@pytest.mark.parametrize("latent", tiny.LATENTS)
def test_leaves_no_trace(latent):
    model = tiny.model(latent)
    model.decoder.eval()  # a mixture of modes
    modes = [module.training for module in model.modules()]
    before = torch.get_rng_state()
    evaluate(model, tiny.corpus(), SMALL)
    assert torch.equal(torch.get_rng_state(), before)
    assert [module.training for module in model.modules()] == modes
    assert len(set(modes)) == 2
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()


def test_restores_the_mode_after_an_error():
    model = tiny.model()
    with pytest.raises(DataError, match="no texts"):
        evaluate(model, [], SMALL)
    assert model.training


def test_same_seed_same_figures_whatever_came_before(found):
    torch.manual_seed(99)
    torch.rand(17)
    again = evaluate(tiny.model(), tiny.corpus(), SMALL)
    assert plain(again) == plain(found["gaussian"])
    other = evaluate(tiny.model(), tiny.corpus(), EvaluationSettings(iw_samples=5, samples=6, max_decode=8, seed=1))
    assert other.scores["distortion"] != again.scores["distortion"]
    assert texts(other, "Samples") != texts(again, "Samples")


def test_more_iw_samples_move_nothing_else(found):
    more = evaluate(tiny.model(), tiny.corpus(), EvaluationSettings(iw_samples=50, samples=6, max_decode=8))
    moved = {name for name in SCORES if more.scores[name] != found["gaussian"].scores[name]}
    assert moved == {"nll", "nll_iw", "nll_iw_se", "ppl_iw", "iw_samples", "iw_draws", "iw_effective"}
    assert texts(more, "Samples") == texts(found["gaussian"], "Samples")


def test_sampled_words_move_the_likelihood_alone_and_are_mentioned():
    settings = EvaluationSettings(iw_samples=64, samples=6, max_decode=8)
    whole, found = (
        evaluate(tiny.model(), tiny.corpus(), dataclasses.replace(settings, iw_words=words)) for words in (None, 4)
    )
    moved = {name for name in SCORES if whole.scores[name] != found.scores[name]}
    assert moved == {"nll", "nll_iw", "nll_iw_se", "ppl_iw", "iw_tail_se", "iw_effective"}
    assert 0 < found.scores["iw_tail_se"] < found.scores["nll_iw_se"]
    said = [part for _, rows in found.groups for part in rows if "words sampled" in str(part)]
    assert [part[0] for part in said] == ["NLL ± s.e."]


def test_remedies_of_the_loss_do_not_act(found):
    remedies = [FreeBits(nats=50.0), WordDropout(keep=0.0)]
    model = tiny.model(remedies=remedies)
    acted = evaluate(model, tiny.corpus(), SMALL)
    assert (acted.scores["rate_floor"], acted.scores["rate_floor_by"]) == (50.0, "free_bits")
    told = {"rate_floor": None, "rate_floor_by": None}
    (title, rows), *others = acted.groups
    held = ("  floor", "50.00", "nats/text", "set by free_bits")
    assert held in rows
    kept = [(title, [row for row in rows if row != held]), *others]
    expected = found["gaussian"]
    same = dataclasses.replace(acted, scores={**acted.scores, **told}, verdict=expected.verdict, groups=kept)
    assert plain(same) == plain(expected)
    batch = next(iter(tiny.corpus()))
    with torch.no_grad():  # while in training they do
        terms = model.terms(batch)
        assert (tiny.training(model).loss(terms, 1.0) > terms.distortion + terms.rate + 1).all()


def test_texts_shown(found):
    shown, known = found["gaussian"], {"a b c", "c b", "d", "a b c d e f", "e f a b", "f f"}
    known |= {"a a a c", "b", "e d c b a", "c", "d e f"}
    assert len(texts(shown, "Reconstructions")) == 8
    assert {original for original, _ in texts(shown, "Reconstructions")} <= known
    assert len(lines(shown)) == 3
    model = tiny.model().eval()
    assert len({end for ends, _ in lines(shown) for end in ends}) == 6
    for ends, path in lines(shown):
        assert len(path) == 5
        for end, written in zip(ends, (path[0], path[-1]), strict=True):
            with torch.no_grad():
                mean = model.latent.posterior(model.params(model.read(tiny.encode(end)))).mean
                expected = model.write(mean, Decoding(max_length=8))
            assert model.vocabulary.decode(expected[0]) == written


def test_waits_for_no_other_process(found, monkeypatch):
    """After distributed training the first process evaluates alone."""
    monkeypatch.setattr("torchmetrics.metric.jit_distributed_available", lambda: True)
    assert plain(evaluate(tiny.model(), tiny.corpus(), SMALL)) == plain(found["gaussian"])


def test_labels_are_handed_on():
    batches = [tiny.encode("a b", "c"), tiny.encode("d")]
    batches = [
        type(batch)(batch.tokens, batch.lengths, labels=torch.tensor(labels))
        for batch, labels in zip(batches, ([1, -1], [0]), strict=True)
    ]
    found = evaluate(tiny.model(), batches, SMALL, label_names=("x", "y"))
    assert found.pictures["projection"].args[1:] == ([1, -1, 0], ("x", "y"))


@pytest.mark.parametrize("latent", tiny.LATENTS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_is_a_verdict(latent, value):
    model = tiny.model(latent)
    with torch.no_grad():
        model.decoder.output.weight[5, 0] = value
    found = evaluate(model, tiny.corpus(), SMALL)
    assert found.verdict.startswith("diverged")
    assert found.scores["sentences"] == 11
    json.dumps(dict(found.scores), allow_nan=False)


def test_infinite_variance_is_divergence_too():
    """Finite weights, yet nothing can be drawn from such a posterior."""
    model = tiny.model()
    with torch.no_grad():
        model.latent.linear.weight *= 1e6
    found = evaluate(model, tiny.corpus(), SMALL)
    assert found.verdict.startswith("diverged: ")
    assert "rate" in found.verdict
    assert found.scores["rate"] is None


def test_undefined_features_are_divergence_too(monkeypatch):
    """Finite weights again, and an overflow inside the encoder: torch refuses to draw with such a variance."""
    model = tiny.model()
    whole = model.encoder.forward
    monkeypatch.setattr(model.encoder, "forward", lambda *inputs: whole(*inputs) * math.nan)
    found = evaluate(model, tiny.corpus(), SMALL)
    assert found.verdict.startswith("diverged: ")
    assert found.scores["sentences"] == 11
    assert not found.pictures


@pytest.mark.parametrize(
    "bad", [{"iw_samples": 0}, {"interpolation_steps": 1}, {"samples": 1}, {"max_decode": 0}, {"iw_words": 1}]
)
def test_settings_that_cannot_be_used(bad):
    with pytest.raises(ConfigError, match=rf"evaluation\.{next(iter(bad))}="):
        EvaluationSettings(**bad)


def test_one_text_is_enough():
    found = evaluate(tiny.model(), [tiny.encode("a b")], SMALL)
    assert not texts(found, "Interpolations")
    assert found.scores["mi"] == pytest.approx(0, abs=1e-6)
    assert found.scores["mi_near_cap"] is False


def test_pairs_differ_and_are_of_moderate_length():
    texts = [[5] * 9] * 4 + [[5, 6, number] for number in range(7, 17)] + [[5]] * 4
    found = pairs(texts, 3)
    rows = [row for pair in found for row in pair]
    assert len({tuple(texts[row]) for row in rows}) == 6
    assert {len(texts[row]) for row in rows} == {3}
    assert pairs(texts, 3) == found


def test_spread():
    assert spread(10, 5) == [0, 2, 4, 6, 8]
    assert spread(3, 8) == [0, 1, 2]
    assert spread(3, 0) == []


@pytest.mark.parametrize("latent", ["gaussian", "categorical", "none", "point"])
def test_each_text_is_scored_in_the_order_of_the_test_set(composed: Compose, latent: str):
    torch.manual_seed(0)
    sizes = [f"{part}.{size}=8" for part in ("encoder", "decoder") for size in ("hidden", "embedding")]
    kind = {"none": "rnnlm", "point": "ae"}.get(latent, "svae")
    chosen = [f"latent={latent}", "regularizer=none"] if kind == "svae" else []
    words = Vocabulary.train(["a b c d e"], kind="words", max_size=20, min_count=1, lowercase=False)
    model = build.model(values(composed(f"model={kind}", *chosen, *sizes)), words)
    whole = words.batch(["a b", "c", "d e a"])
    whole.index = torch.arange(3)
    found = evaluate(model, [whole[torch.tensor([2, 0])], whole[torch.tensor([1])]], EvaluationSettings(iw_samples=3))
    each = [json.loads(line) for line in found.files["scores.jsonl"].splitlines()]
    assert [text["index"] for text in each] == [0, 1, 2]
    assert [text["tokens"] for text in each] == [3, 2, 4]
    names = {"none": ("distortion", "nll"), "point": ("distortion",)}.get(latent, ("distortion", "rate", "nll"))
    assert set(each[0]) == {"index", "tokens", *names}
    for name in names:
        assert sum(text[name] for text in each) / 3 == pytest.approx(found.scores[name], abs=1e-4)
    if latent in ("none", "categorical"):
        exact = Run(model.eval(), {}).score(["a b", "c", "d e a"])
        assert [text["nll"] for text in each] == pytest.approx(exact, abs=1e-4)
