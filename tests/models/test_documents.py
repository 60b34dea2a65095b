"""Document models: the likelihood and the latents against closed forms, the report, loading, alternate training."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from helpers import Command, Compose, plain
from scipy.sparse import csr_array
from torch.distributions import Dirichlet, Multinomial, Normal, kl_divergence

from lvexp import build
from lvexp.data.bag import batch
from lvexp.data.batch import Batch
from lvexp.data.special import BOS, EOS, PAD, UNK
from lvexp.distributions.rate import rate
from lvexp.draws import Draw
from lvexp.errors import RunError
from lvexp.estimators.pathwise import Pathwise
from lvexp.latents import dirichlet, logistic_normal
from lvexp.loading import load
from lvexp.metrics.document import DocumentPerplexity
from lvexp.networks.bow import BowDecoder, BowEncoder
from lvexp.reading import Reading
from lvexp.regularizers.alternate import Alternate
from lvexp.regularizers.base import Progress
from lvexp.terms import Terms

COUNTS = torch.tensor([[2.0, 0, 1, 0, 3], [0, 1, 0, 0, 1], [0, 0, 0, 4, 0]])


def coefficient(counts: torch.Tensor) -> torch.Tensor:
    """log of the number of orders that a bag of words can stand in."""
    return (counts.sum(-1) + 1).lgamma() - (counts + 1).lgamma().sum(-1)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_logits_score_a_bag_as_a_multinomial_does(batch_norm: bool):
    torch.manual_seed(0)
    decoder = BowDecoder(5, 3, batch_norm=batch_norm).eval()
    decoder.bias.data.normal_()
    if batch_norm:
        decoder.norm.running_var.fill_(4.0)
        decoder.norm.running_mean.fill_(0.5)
    code = torch.randn(7, 3, 3)
    logits = code @ decoder.weight
    logits = ((logits - 0.5) / (4 + 1e-3) ** 0.5 if batch_norm else logits) + decoder.bias
    for text, counts in enumerate(COUNTS):
        expected = Multinomial(int(counts.sum()), logits=logits[:, text]).log_prob(counts) - coefficient(counts)
        assert torch.allclose(decoder(COUNTS, code)[:, text], expected, atol=1e-5)


def test_a_mixture_of_words_scores_as_a_multinomial_of_the_mean():
    torch.manual_seed(0)
    decoder = BowDecoder(5, 3, mixture="words")
    code = torch.rand(2, 3, 3).softmax(-1)
    probabilities = torch.einsum("sbk,kv->sbv", code, decoder.weight.softmax(-1))
    for text, counts in enumerate(COUNTS):
        expected = Multinomial(int(counts.sum()), probabilities[:, text]).log_prob(counts) - coefficient(counts)
        assert torch.allclose(decoder(COUNTS, code)[:, text], expected, atol=1e-5)
    assert torch.allclose(decoder.topics().sum(-1), torch.ones(3))


def test_the_encoder_reads_tokens_as_their_counts():
    torch.manual_seed(0)
    encoder = BowEncoder(8, hidden=4, reads="log")
    tokens = torch.tensor([[BOS, 5, 5, UNK, EOS], [BOS, 7, EOS, PAD, PAD]])
    counts = torch.zeros(2, 8)
    counts[0, 5], counts[0, UNK], counts[1, 7] = 2, 1, 1
    assert torch.equal(encoder(tokens, torch.tensor([5, 3])), encoder.read(counts))
    assert torch.allclose(encoder.read(counts), torch.tanh(encoder.stack[0](torch.log1p(counts))))


def test_the_logistic_normal_prior_is_the_laplace_approximation():
    alpha, topics = 0.4, 7
    prior = logistic_normal.LogisticNormal(3, topics, alpha=alpha).prior()
    variance = (1 - 2 / topics) / alpha + topics / alpha / topics**2
    assert prior.mean.tolist() == [0.0] * topics
    assert prior.variance.tolist() == pytest.approx([variance] * topics)


def test_the_rate_of_a_dirichlet_is_torchs_and_agrees_with_its_draws():
    torch.manual_seed(0)
    latent = dirichlet.Dirichlet(3, 4, alpha=0.5)
    params = latent.params(torch.randn(5, 3))
    q, p = latent.posterior(params), latent.prior()
    total, split = rate(q, p, Draw.equal(q.sample((1,))))
    assert split is None
    assert torch.allclose(total, kl_divergence(Dirichlet(params), Dirichlet(torch.full((4,), 0.5))))
    value = q.sample((20000,))
    assert (q.log_prob(value) - p.log_prob(value)).mean(0).tolist() == pytest.approx(total.tolist(), abs=0.05)


def test_the_gradient_of_a_dirichlets_mean_is_the_closed_forms():
    params = torch.tensor([[0.7, 1.5, 3.0]], requires_grad=True)
    torch.manual_seed(0)
    draw = Pathwise()(dirichlet.Dirichlet(2, 3).posterior(params), 100000)
    sampled = torch.autograd.grad(draw.value[..., 0].mean(), params)[0]
    exact = torch.autograd.grad(params[0, 0] / params.sum(), params)[0]
    assert torch.allclose(sampled, exact, atol=0.005)


def test_small_concentrations_keep_a_finite_density():
    torch.manual_seed(0)
    q = dirichlet.Dirichlet(2, 50).posterior(torch.full((4, 50), 0.02))
    assert q.log_prob(q.sample((50,))).isfinite().all()


def test_alternate_begins_with_the_decoder_and_takes_turns():
    remedy = Alternate(passes=2)
    turns = [remedy.plan(Progress(0, epoch, 1, {})) for epoch in range(6)]
    assert turns == [("generative",)] * 2 + [("inference",)] * 2 + [("generative",)] * 2


@pytest.mark.parametrize(
    "model",
    [
        "nvdm",
        *(
            pytest.param(model, marks=pytest.mark.slow)
            for model in ("prodlda regularizer=alternate", "neurallda latent=dirichlet")
        ),
    ],
)
def test_a_run_of_documents(model: str, lvexp: Command, tmp_path: Path, corpus: Path):
    small = ["latent.dim=4", "encoder.hidden=8", "evaluation.iw_samples=30", "model.map=20", "data.batch_size=8"]
    data = [f"data.files.train={corpus}", "data.columns.text=1", "data.columns.label=0"]
    data += ["data=text", "data.counts.stop_words=english"]
    share = ["data.split.valid=0.1", "data.split.test=0.2", "trainer.max_epochs=4", "logger=csv"]
    done = lvexp(f"model={model.split()[0]}", *model.split()[1:], *data, *share, *small)
    assert done.returncode == 0, done.stderr
    (folder,) = (path for path in (tmp_path / "outputs" / "default").iterdir() if path.is_dir())
    result = json.loads((folder / "result.json").read_text())
    scores = result["test"]
    assert scores["ppl"] == pytest.approx(math.exp(-scores["elbo"] * scores["sentences"] / scores["tokens"]))
    assert scores["elbo"] == pytest.approx(-scores["distortion"] - scores["rate"])
    assert scores["nll_iw"] < -scores["elbo"] + 0.05
    for key in ("ppl_document", "ppl_iw_document", "npmi_5", "topic_diversity", "accuracy", "retrieval_10", "mi"):
        assert math.isfinite(scores[key])
    assert scores["recon_bleu"] is None
    for told in ("Perplexity", "per document", "of the corpus", "NPMI", "accuracy", "Use of z"):
        assert told in done.stdout
    assert "Topics" in (folder / "samples.txt").read_text()
    assert (folder / "figures" / "map.png").stat().st_size > 0
    rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
    history = [row for row in rows if row["val/ppl_document"]]
    assert len(history) == 4
    for row in history:
        assert f"val ppl/doc. {float(row['val/ppl_document']):.2f}" in done.stdout
    best = min(history, key=lambda row: float(row["val/ppl_document"]))
    assert result["valid"]["ppl_document"] == pytest.approx(float(best["val/ppl_document"]), rel=1e-4)
    assert result["valid"]["nelbo"] == pytest.approx(float(best["val/nelbo"]), rel=1e-4)
    run = load(folder)
    assert run.encode(["the cat and the dog", "a box"]).shape == (2, 4)
    topics = run.topics(3)
    assert [len(topic) for topic in topics] == [3] * 4
    assert {word for topic in topics for word in topic} <= {"cat", "dog", "bird", "cup", "box", "hat"}
    assert all(math.isfinite(score) for score in run.score(["cat dog", "hat"]))
    assert run.offers == ("topics",)
    with pytest.raises(RunError, match="writes no texts"):
        run.sample(2)


def bag(counts: torch.Tensor) -> Batch:
    return batch(csr_array(counts.numpy()))


def terms(counts: torch.Tensor, distortion: list[float], rated: list[float]) -> Terms:
    texts, prior = len(counts), Normal(torch.zeros(1), 1.0)
    params, draw = torch.zeros(texts, 1), Draw.equal(torch.zeros(1, texts, 1))
    given = torch.tensor(distortion), torch.tensor(rated)
    return Terms(bag(counts), Reading(params), *given, None, draw, draw.value, params, prior, prior)


def test_perplexity_per_document_by_hand_and_whatever_the_batches():
    whole, parts = DocumentPerplexity(), DocumentPerplexity()
    distortion, rated = [9.0, 5.0, 8.0], [1.5, 0.5, 2.0]
    whole.update(terms(COUNTS, distortion, rated))
    parts.update(terms(COUNTS[:2], distortion[:2], rated[:2]))
    parts.update(terms(COUNTS[2:], distortion[2:], rated[2:]))
    known = math.exp((10.5 / 6 + 5.5 / 2 + 10.0 / 4) / 3)
    assert whole.compute()["ppl_document"] == pytest.approx(known)
    assert parts.compute()["ppl_document"] == pytest.approx(known)
    whole.update(terms(COUNTS[:1], [1e6], [0.0]))
    assert whole.compute()["ppl_document"] == math.inf


def test_per_word_every_document_weighs_the_same(composed: Compose, corpus: Path):
    data = [f"data.files.train={corpus}", "data.columns.text=1", "data.columns.label=0", "data=text"]
    found = {}
    for per_word in (False, True):
        config = plain(composed("model=nvdm", *data, "latent.dim=3", "encoder.hidden=4", f"model.per_word={per_word}"))
        module = build.data(config)
        torch.manual_seed(0)
        model = build.model(config, module.vocabulary)
        counts = torch.randint(0, 4, (5, module.vocabulary.size)).float() + 1
        torch.manual_seed(1)
        found[per_word] = build.training(config, model).loss(model.terms(bag(counts)), 0.5)
    assert torch.allclose(found[True], found[False] / counts.sum(-1))
