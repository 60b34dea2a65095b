"""Compression: what a pointer can say, its prior, the pairs that it learns from, and what is reported."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from helpers import Compose, checked, finished_run, plain
from rouge_score import rouge_scorer

from lvexp import build
from lvexp.data.batch import Batch
from lvexp.data.vocabulary import Vocabulary
from lvexp.distributions.sequences import Sequences
from lvexp.errors import ConfigError, Refusal, RunError
from lvexp.estimators.enumerate import Enumerate
from lvexp.instruments.evaluate import evaluate
from lvexp.instruments.settings import EvaluationSettings
from lvexp.loading import load
from lvexp.metrics.compression import f1, rouge
from lvexp.models.codec import PAIRS, Codec
from lvexp.networks.pointer import Given

SIZES = (
    *("encoder.hidden=6", "encoder.embedding=5", "decoder.hidden=8", "decoder.embedding=5"),
    *("encoder.dropout=0", "decoder.dropout_in=0", "decoder.dropout_out=0"),
    *(
        "latent.hidden=7",
        "latent.embedding=4",
        "latent.dim=3",
        "latent.language.hidden=8",
        "latent.language.embedding=6",
    ),
)
WORDS = Vocabulary.train(["a b c"], kind="words", max_size=100, min_count=1, lowercase=False)
TEXTS = ["a b a", "c", "b c b b"]
SHORT = ["a b", "", "b"]
KINDS = {
    "pointer": (), "mixed": ("latent.mixed=true",), "free": ("latent.least=0",),
    "uniform": ("latent.prior=uniform", "latent.mixed=true"), "share": ("model.share=0.5", "latent.mixed=true"),
}  # fmt: skip


def made(composed: Compose, *overrides: str, scale: float = 4.0) -> Codec:
    """A model in training mode with random weights, large enough that all of it matters."""
    torch.manual_seed(0)
    model = build.model(plain(composed("model=codec", *SIZES, *overrides)), WORDS)
    assert isinstance(model, Codec)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= scale
    return model


def batch(texts: list[str] = TEXTS, short: list[str] | None = None) -> Batch:
    found = Batch.of(WORDS.encode(texts), None if short is None else WORDS.encode(short))
    return dataclasses.replace(found, index=torch.arange(len(texts)))


def posterior(model: Codec, of: Batch) -> Sequences:
    q = model.latent.posterior(model.params(model.read(of)))
    assert isinstance(q, Sequences)
    return q


def said(*words: str) -> torch.Tensor:
    """Texts as values of z."""
    ids = [WORDS.encode([each])[0][1:-1] for each in words]
    rows = torch.tensor([row + [2] * (3 - len(row)) for row in ids])
    return torch.nn.functional.one_hot(rows, WORDS.size).float()


# --- what can be said ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_masses_of_all_short_texts_sum_to_one(kind: str, composed: Compose):
    model = made(composed, *KINDS[kind])
    reading = model.read(batch())
    for q in (model.latent.posterior(model.params(reading)), model.latent.prior(reading.condition)):
        every = q.enumerate_support()
        mass = q.log_prob(every).double().exp().sum(0)
        torch.testing.assert_close(mass, torch.ones(q.batch_shape).double())
        assert (q.log_prob(q.sample((50,))) > -100).all(), "nothing is drawn that cannot come"


def test_a_pointer_says_words_of_the_text_alone_and_a_mixture_any(composed: Compose):
    model, mixed = made(composed), made(composed, "latent.mixed=true")
    of = batch()
    for row, text in enumerate(TEXTS):
        words = {*text.split()}
        for other in ("a", "b", "c"):
            mass = posterior(model, of).log_prob(said(other)[:, None].expand(-1, 3, -1, -1))[0, row].exp()
            assert (mass > 0) == (other in words)
            assert posterior(mixed, of).log_prob(said(other)[:, None].expand(-1, 3, -1, -1))[0, row].exp() > 0


def test_the_probability_of_a_word_is_the_attention_to_its_places(composed: Compose):
    model = made(composed)
    of = batch()
    q = posterior(model, of)
    pointer, given = model.latent.speaker, Given.of(q.params, model.latent.states)
    first = q.read(q.sample()).log_p[:, 0].exp()
    for row, text in enumerate(TEXTS):
        hidden = torch.tanh(pointer.first.weight @ given.summary[row] + pointer.first.bias)
        energy = [pointer.align.key.weight @ state @ hidden for state in given.states[row]]
        words = text.split()
        weights = torch.stack(energy[1 : 1 + len(words)]).softmax(0)  # neither <bos> nor, with least=1, <eos>
        for word in {*words}:
            share = sum(weight for weight, own in zip(weights, words, strict=True) if own == word)
            torch.testing.assert_close(first[row, WORDS.encode([word])[0][1]], share)


def test_the_states_of_a_text_survive_packing():
    summary, states, words = torch.randn(2, 3), torch.randn(2, 4, 3), torch.tensor([[5, 9999, 2, 0], [7, 2, 0, 0]])
    given = Given(summary.bfloat16(), states.bfloat16(), words, torch.tensor([0.0, 11.0]))
    again = Given.of(given.packed(), 3)
    assert all(torch.equal(mine, other.to(mine.dtype)) for mine, other in zip(again, given, strict=True))


def test_padding_changes_nothing(composed: Compose):
    model = made(composed, "latent.mixed=true").eval()
    whole, alone = batch(), batch([TEXTS[1]])
    value = said("c b")
    mine = posterior(model, whole).log_prob(value[:, None].expand(-1, 3, -1, -1))[0, 1]
    torch.testing.assert_close(mine, posterior(model, alone).log_prob(value[:, None])[0, 0])
    code = model.latent.code(value[:, None])
    one = model.log_likelihood(alone, model.read(alone), code)
    torch.testing.assert_close(model.log_likelihood(whole, model.read(whole), code.expand(-1, 3, -1))[:, 1], one[:, 0])


@pytest.mark.parametrize("share", [0.4, 0.9])
def test_a_given_length_has_all_the_mass(share: float, composed: Compose):
    model = made(composed, f"model.share={share}", "latent.mixed=true")
    of = batch()
    reading = model.read(of)
    wanted = [min(3, max(1, round(share * len(text.split())))) for text in TEXTS]
    for q in (model.latent.posterior(model.params(reading)), model.latent.prior(reading.condition)):
        lengths = q.lengths(q.sample((20,)))
        assert lengths.unique(dim=0).tolist() == [wanted]


def test_the_rate_is_what_words_and_ends_tell(composed: Compose):
    """The chain rule, written out."""
    model = made(composed, "latent.mixed=true", "latent.least=0", scale=2.0)
    reading = model.read(batch())
    q, p = model.latent.posterior(model.params(reading)), model.latent.prior(reading.condition)
    value = q.sample()
    mine, other = q.read(value), p.read(value)
    ends = [walk.log_p[..., 2].exp() for walk in (mine, other)]
    bernoulli = ends[0] * (ends[0] / ends[1]).log() + (1 - ends[0]) * ((1 - ends[0]) / (1 - ends[1])).log()
    rest = []
    for walk, end in zip((mine, other), ends, strict=True):
        words = walk.log_p.exp().clone()
        words[..., 2] = 0
        rest.append((words / (1 - end)[..., None]).clamp(min=1e-30))
    of_words = (1 - ends[0]) * (rest[0] * (rest[0] / rest[1]).log()).sum(-1)
    torch.testing.assert_close(q.endings(p, value), mine.alive * bernoulli)
    torch.testing.assert_close(q.divergence(p, value), mine.alive * (bernoulli + of_words), rtol=1e-4, atol=1e-5)


# --- the bound -------------------------------------------------------------------------------------------------------


def test_the_bound_is_that_of_all_short_texts(composed: Compose):
    model = made(composed, "latent.dim=2", "latent.mixed=true")
    model.estimator, of = Enumerate(), batch()
    terms = model.terms(of)
    q, p = terms.q, terms.p
    assert p is not None
    cost, rate = torch.zeros(3), torch.zeros(3)
    for value in q.enumerate_support():
        mass = q.log_prob(value).exp()
        log_p = model.log_likelihood(of, terms.reading, model.latent.code(value[None]))[0]
        cost = cost - mass * log_p
        rate = rate + mass * torch.where(mass > 0, q.log_prob(value) - p.log_prob(value), 0.0)
    torch.testing.assert_close(terms.distortion, cost)
    torch.testing.assert_close(terms.rate, rate, rtol=1e-4, atol=1e-4)


def test_the_decoder_reads_the_short_text_and_nothing_else(composed: Compose):
    model = made(composed, "latent.mixed=true").eval()
    of = batch()
    code = model.latent.code(said("c b")[:, None].expand(-1, 3, -1, -1))
    found = model.log_likelihood(of, model.read(of), code)
    other = model.log_likelihood(of, model.read(batch(["b", "b a c", "a"])), code)
    assert torch.equal(found, other)
    different = model.latent.code(said("b")[:, None].expand(-1, 3, -1, -1))
    assert not torch.allclose(found, model.log_likelihood(of, model.read(of), different))


def test_one_draw_after_the_other_is_scored_as_all_together(composed: Compose):
    model = made(composed, "latent.mixed=true").eval()
    of = batch()
    code = model.latent.code(posterior(model, of).sample((4,)))
    one = torch.cat([model.log_likelihood(of, model.read(of), each[None]) for each in code])
    torch.testing.assert_close(model.log_likelihood(of, model.read(of), code), one)


@pytest.mark.parametrize("estimator", ["gumbel", "straight_through"])
def test_gradients_pass_through_relaxed_texts(estimator: str, composed: Compose):
    model = made(composed, f"estimator={estimator}", "latent.mixed=true", scale=1.0)
    model.terms(batch()).distortion.sum().backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in model.encoder.parameters())


def test_a_hard_relaxed_text_is_read_as_the_text(composed: Compose):
    model = made(composed, "latent.mixed=true").eval()
    of, value = batch(), said("b a")[:, None].expand(-1, 3, -1, -1)
    plainly = model.log_likelihood(of, model.read(of), model.latent.code(value))
    soft = model.log_likelihood(of, model.read(of), model.latent.code(value.clone().requires_grad_()))
    torch.testing.assert_close(plainly, soft)


# --- pairs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["pointer", "mixed", "share"])
def test_a_known_compression_adds_its_negative_log_probability(kind: str, composed: Compose):
    model = made(composed, *KINDS[kind], "model.alpha=2")
    of = batch(short=SHORT)
    training = build.training(plain(composed("model=codec", *SIZES, *KINDS[kind])), model)
    found = model.added(training.model.turn(0, 0), of, model.terms(of), 1.0)
    wanted = []
    for text, short in zip(TEXTS, SHORT, strict=True):
        if not short:
            wanted.append(torch.tensor(0.0))
            continue
        one = batch([text])
        length = torch.tensor([float(len(short.split()))]) if kind == "share" else None
        q = model.latent.posterior(model.params(model._reading(one, length)))
        wanted.append(-2 * q.log_prob(said(short)[:, None])[0, 0])
    torch.testing.assert_close(found, torch.stack(wanted))


def test_a_word_that_cannot_be_said_is_left_out(composed: Compose):
    model = made(composed)
    of = batch(["a b a"], ["c b"])
    found = model.added(PAIRS, of, None, 1.0)
    q = posterior(model, of)
    steps = q.steps(said("c b")[:, None])[0, 0]
    assert steps[0] < -1e6, "or this test says little"
    torch.testing.assert_close(found, -steps[1:].sum()[None])


def test_without_the_bound_only_pairs_are_learnt_from(composed: Compose):
    overrides = ("model.reconstruct=false", "data=compression")
    model = made(composed, *overrides, scale=1.0)
    training = build.training(plain(composed("model=codec", *SIZES, *overrides)), model)
    training.training_step(batch(short=SHORT), 0).backward()
    moved = {name for name, part in model.named_parameters() if part.grad is not None and part.grad.abs().sum() > 0}
    assert {name.partition(".")[0] for name in moved} == {"encoder", "latent"}
    training.training_step(batch(short=["", "", ""]), 0).backward()  # a batch without any


# --- the prior -------------------------------------------------------------------------------------------------------


@pytest.fixture
def language_model(composed: Compose, tmp_path: Path) -> Path:
    sizes = ("decoder.hidden=8", "decoder.embedding=6")
    return finished_run(tmp_path / "lm", plain(composed("model=rnnlm", *sizes)))


def test_the_prior_is_the_language_model_and_stays_so(language_model: Path, composed: Compose):
    config = composed("model=codec", *SIZES, f"latent.run={language_model}", "latent.least=0")
    checked(config)
    model = build.model(plain(config), WORDS)
    model.prepare()
    theirs = load(language_model).model
    value = said("a c b", "c a", "")
    p = model.latent.prior()
    decoder, wanted = theirs.get_submodule("decoder"), []
    for ids in WORDS.encode(["a c b", "c a", ""]):
        state, total, last = decoder.start(torch.zeros(1, 0)), torch.zeros(()), torch.tensor([1])
        for word in ids[1:4]:  # a text of three words need not end
            log_p, state = decoder.step(last, state)
            total = total + log_p[0, word] - log_p[0, 2:].logsumexp(0)  # neither <pad> nor <bos> comes
            last = torch.tensor([word])
        wanted.append(total)
    torch.testing.assert_close(p.log_prob(value), torch.stack(wanted))
    before = {name: part.clone() for name, part in model.latent.before.state_dict().items()}
    training = build.training(plain(config), model)
    trained = {id(part) for parts in training.groups.values() for part in parts}
    assert not any(id(part) in trained for part in model.latent.before.parameters())
    training.train().training_step(batch(), 0).backward()
    assert all(part.grad is None for part in model.latent.before.parameters())
    assert all(torch.equal(part, before[name]) for name, part in model.latent.before.state_dict().items())
    assert not any(module.training for module in model.latent.before.modules())


def test_a_language_model_of_other_words_or_sizes_is_refused(language_model: Path, composed: Compose):
    with pytest.raises(Refusal, match=r"latent\.language\.hidden=9: the language model in .* is of other sizes"):
        checked(composed("model=codec", *SIZES, "latent.language.hidden=9", f"latent.run={language_model}"))
    model = build.model(plain(composed("model=codec", *SIZES, f"latent.run={language_model}")), WORDS_OF_OTHERS)
    with pytest.raises(ConfigError, match="has another vocabulary than these texts"):
        model.prepare()


WORDS_OF_OTHERS = Vocabulary.train(["a b d"], kind="words", max_size=100, min_count=1, lowercase=False)


def test_the_run_of_the_language_model_is_part_of_the_id_and_its_folder_is_not(
    language_model: Path, composed: Compose, tmp_path: Path
):
    from lvexp.job.identity import essence

    moved = language_model.rename(tmp_path / "elsewhere")
    config = composed("model=codec", *SIZES, f"latent.run={moved}")
    assert essence(config)["latent"]["run"] == "rnnlm-0123456789"


REFUSED = {
    ("latent=pointer",): "is made of words of the text that it stands for",
    ("model=codec", "latent=gaussian"): "has one that stands for it",
    ("model=codec", "data=compression", "data.vocabulary.joint=false"): "gives these a vocabulary of their own",
    ("model=codec", "model.reconstruct=false"): "learns from known compressions alone",
    (
        "model=codec",
        "data=compression",
        "model.reconstruct=false",
        "regularizer=free_bits",
    ): "leaves out the bound\n.* changes it",
    ("model=codec", "model.best=f1"): "compares words with those of known compressions",
    ("model=codec", "estimator=enumerate"): "has a value for each text that can be written",
    ("model=codec", "latent.least=20"): "latent.dim=12",
    ("model=codec", "encoder=bow"): "has no state for each word",
    ("model=codec", "latent.prior=uniform", "latent.run=somewhere"): "is the language model of the prior",
}


@pytest.mark.parametrize("overrides", REFUSED, ids=" ".join)
def test_what_cannot_work_is_refused_with_its_reason(overrides: tuple[str, ...], composed: Compose):
    with pytest.raises((Refusal, ConfigError), match=REFUSED[overrides]):
        checked(composed(*overrides))


# --- the report ------------------------------------------------------------------------------------------------------


def test_the_report_agrees_with_its_file(composed: Compose, tmp_path: Path):
    model = made(composed, "latent.mixed=true").eval()
    batches = [batch(short=["a b", "c", ""])]
    found = evaluate(model, batches, EvaluationSettings(iw_samples=2, samples=4, max_decode=5))
    rows = [json.loads(line) for line in found.files["written.jsonl"].splitlines()]
    assert [row["text"] for row in rows] == TEXTS
    assert [row["compression"] for row in rows] == model.compress(TEXTS)
    scores = found.scores
    lengths = [len(row["compression"].split()) for row in rows]
    assert scores["compression_words"] == pytest.approx(sum(lengths) / 3)
    ratios = [mine / len(text.split()) for mine, text in zip(lengths, TEXTS, strict=True)]
    assert scores["compression_ratio"] == pytest.approx(sum(ratios) / 3)
    assert scores["compressions"] == 2
    scorer = rouge_scorer.RougeScorer(["rouge1", "rouge2", "rougeL"])
    systems = {"": [row["compression"] for row in rows], "all_": TEXTS, "half_": ["a b", "c", "b c"]}
    systems["lead_"] = [" ".join(text.split()[:count]) for text, count in zip(TEXTS, lengths, strict=True)]
    for system, written in systems.items():
        each = [scorer.score(right, own) for own, right in zip(written[:2], ("a b", "c"), strict=True)]
        for name in ("rouge1", "rouge2", "rougeL"):
            wanted = sum(score[name].fmeasure for score in each) / 2
            assert scores[f"{system}{name}"] == pytest.approx(wanted)
    assert scores["rate_words"] + scores["rate_length"] == pytest.approx(scores["rate"])


def test_several_references_count_by_the_best_one(composed: Compose, tmp_path: Path):
    model = made(composed).eval()
    (tmp_path / "refs.tsv").write_text("x\ta b a\nc\nx\ty\n")
    settings = EvaluationSettings(iw_samples=2, samples=4, max_decode=5, references=str(tmp_path / "refs.tsv"))
    scores = evaluate(model, [batch()], settings).scores
    assert scores["compressions"] == 3
    assert scores["all_rouge1"] == pytest.approx((1 + 1 + 0) / 3)
    assert scores["all_token_f1"] == pytest.approx((1 + 1 + 0) / 3)


def test_z_of_another_text_costs_more_where_it_is_read(composed: Compose):
    model = made(composed).eval()
    of = batch()
    scores = evaluate(model, [of], EvaluationSettings(iw_samples=2, samples=4, max_decode=5)).scores
    value = model.compressed(of)
    own = -model.log_likelihood(of, model.read(of), model.latent.code(value[None]))[0]
    other = -model.log_likelihood(of, model.read(of), model.latent.code(value[[2, 0, 1]][None]))[0]
    assert scores["distortion_point"] == pytest.approx(float(own.mean().detach()), rel=1e-5)
    assert scores["distortion_other"] == pytest.approx(float(other.mean().detach()), rel=1e-5)


def test_of_a_decoder_that_was_not_trained_nothing_is_told(composed: Compose):
    model = made(composed, "model.reconstruct=false", "data=compression").eval()
    found = evaluate(model, [batch(short=SHORT)], EvaluationSettings(iw_samples=2, samples=4, max_decode=5))
    assert found.scores["distortion_point"] is None
    assert found.verdict.startswith("compressions: ")
    assert [section.title for section in found.sections if section.title == "Samples"] == []


def test_unknown_words_are_equal_to_nothing(composed: Compose):
    model = made(composed).eval()
    of = batch(["q", "a"], ["q", "a"])
    scores = evaluate(model, [of], EvaluationSettings(iw_samples=2, samples=4, max_decode=5)).scores
    assert scores["all_token_f1"] == pytest.approx(0.5)
    assert scores["all_rouge1"] == pytest.approx(0.5)


def test_f1_and_rouge_by_hand():
    assert f1(["a", "b", "b"], ["b", "c"]) == pytest.approx(2 * 1 / 5)
    assert f1([], []) == 1.0
    assert f1(["a"], []) == 0.0
    found = rouge("a b d", ["x", "a b c d"])
    assert found["rouge1"] == pytest.approx(2 * 1 * 0.75 / 1.75)
    assert found["rouge2"] == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert found["rougeL"] == pytest.approx(2 * 1 * 0.75 / 1.75)


# --- a finished run --------------------------------------------------------------------------------------------------


def test_lengths_can_be_asked_for(composed: Compose):
    model = made(composed, "latent.mixed=true").eval()
    assert [len(text.split()) for text in model.compress(TEXTS, words=2)] == [2, 2, 2]
    assert [len(text.split()) for text in model.compress(TEXTS, share=0.5)] == [2, 1, 2]
    for wrong, why in (
        ({"words": 4}, "writes 1 to 3 words"),
        ({"share": 0.0}, "above 0"),
        ({"words": 1, "share": 0.5}, "one of them"),
    ):
        with pytest.raises(RunError, match=why):
            model.compress(TEXTS, **wrong)


def test_an_unknown_word_is_written_as_the_text_has_it(composed: Compose):
    model = made(composed).eval()
    assert model.compress(["zebra"], words=1) == ["zebra"]
    assert model.compress(["zebra"], words=2) == ["zebra <unk>"]


def test_texts_are_drawn_from_the_prior(saved: Callable[..., str]):
    run = load(saved("model=codec", "latent.language.hidden=8", "latent.language.embedding=6"))
    texts = run.sample(3, seed=1)
    assert len(texts) == 3
    assert texts == run.sample(3, seed=1)
    assert len(run.score(["a b", "c"], samples=3)) == 2
