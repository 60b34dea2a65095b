"""What cannot work is refused, by name, with what to type instead; what can, is not."""

from __future__ import annotations

import pytest
from helpers import Command, Compose, checked

from lvexp.errors import ConfigError, LvexpError

FINE = [
    "model=control",
    "model=control encoder@model.discriminator=gru trainer.max_epochs=-1 trainer.max_steps=9",
    "model=control decoder=dcnn regularizer=[free_bits,word_dropout] estimator=auto",
    "model=svae anneal=linear",
    "model=rnnlm",
    "model=rnnlm latent.dim=8 encoder.hidden=16",
    "model=ae",
    "model=ae regularizer=word_dropout",
    "model=svae regularizer=[free_bits,word_dropout] regularizer.free_bits.per=example",
    "estimator=score model.samples=4",
    "decoder.inputless=true",
    "decoder.tie=true",
    "anneal=constant anneal.beta=0",
    "model=game anneal=linear ~anneal.beta",
    "regularizer=[pretrain,free_bits] anneal=linear",
    "regularizer=[aggressive,semi_amortized,word_dropout] estimator=pathwise",
    "trainer.limit_train_batches=3 trainer.max_steps=10",
    "decoder.entry=initial encoder=gru decoder=gru",
    "optimizer=sgd optimizer.decay.limit=1",
    "latent=categorical estimator=enumerate",
    "latent=categoricals latent.dim=2 latent.categories=16 estimator=enumerate",
    "latent=binary estimator=gumbel regularizer=free_bits",
    "latent=categorical estimator=score estimator.baseline=leave_one_out model.samples=2",
    "latent=categorical estimator=subset model.samples=4",
    "latent=mixed",
    "latent=mixed estimator=blocks",
    "latent=mixed estimator=blocks estimator@estimator.c=score estimator.c.baseline=input",
    "latent=mixed latent@latent.c=binary latent.c.dim=3 estimator=blocks estimator@estimator.c=gumbel",
    "model=m2 data.labelled=0.05 latent.c.categories=7",
    "model=m2 data.labelled=100 latent=categorical",
    "model=m2 data.labelled=100 data.balance=0.5",
    "model=nvdm",
    "model=nvdm data=20news regularizer=[alternate,free_bits]",
    "model=nvdm data=20news data.variant=avitm latent=dirichlet decoder.mixture=words",
    "model=prodlda data=bbc",
    "model=neurallda data=text data.files.train=x.txt",
    "model=svae encoder=bow",
    "model=svae latent=logistic_normal",
    "latent=vmf regularizer=none",
    "latent=vmf latent.learned=true anneal=linear",
    "latent=power_spherical regularizer=word_dropout estimator=score",
    "latent=mixed latent@latent.z=vmf anneal=linear",
]
REFUSED = [
    ("latent=vmf", ["latent.learned=false", "has the same rate for every text", "regularizer=free_bits"]),
    ("latent=vmf regularizer=none anneal=linear", ["anneal=linear", "acts on the rate alone", "latent.learned=true"]),
    ("latent=power_spherical regularizer=none anneal.beta=0.5", ["anneal=constant", "anneal=constant regularizer"]),
    ("latent=vmf regularizer=batch_norm", ["latent=vmf", "is not Gaussian"]),
    ("latent=vmf latent.learned=true regularizer.free_bits.per=dimension", ["does not split", "per=example"]),
    ("latent=vmf latent.dim=1 regularizer=none", ["latent.dim=1", "at least 2"]),
    ("model=control decoder=window decoder.window=2", ["decoder=window", "reads single words only", "decoder=lstm"]),
    ("model=control decoder.inputless=true", ["decoder.inputless=true", "try  decoder.inputless=false"]),
    ("model=control trainer.max_epochs=5", ["model.base_epochs=5", "trainer.max_epochs=5", "leaves none after them"]),
    ("model=control estimator=blocks", ["draws c itself", "estimator=blocks", "try  estimator=auto"]),
    ("model=control latent=gaussian", ["latent=gaussian", "no variable that could be the class", "latent=mixed"]),
    ("model=control regularizer=aggressive", ["model=control", "regularizer=aggressive", "sets the plan"]),
    ("model=control data=ptb", ["data=ptb", "has no labels"]),
    ("model=control model.discriminator.channels=0", ["model.discriminator.channels=0", "at least 1"]),
    ("evaluation.references=none.txt", ["evaluation.references=none.txt", "no such file"]),
    ("evaluation.iw_words=64 evaluation.iw_tolerance=0.1", ["evaluation.iw_words=64", "try  one of them"]),
    ("evaluation.language_model=none", ["evaluation.language_model=none", "no such folder", "model=rnnlm"]),
    ("model=svae data.balance=0.5", ["data.balance=0.5", "model=m2"]),
    ("model=svae latent=none", ["latent=none", "model=svae", "latent=gaussian"]),
    ("model=svae latent=point", ["latent=point", "model=svae"]),
    ("model=rnnlm latent=gaussian", ["model=rnnlm", "latent=gaussian"]),
    ("model=rnnlm encoder=lstm", ["encoder=lstm", "latent=none"]),
    ("model=rnnlm decoder.inputless=true", ["decoder.inputless=true", "model=rnnlm"]),
    ("model=ae anneal=linear", ["latent=point", "anneal=linear", "anneal=constant"]),
    ("model=ae regularizer=free_bits", ["regularizer=free_bits", "latent=point"]),
    ("model=ae anneal.beta=0.5", ["anneal.beta=0.5"]),
    ("estimator=enumerate", ["estimator=enumerate", "estimator=auto"]),
    ("latent=categorical estimator=pathwise", ["latent=categorical", "estimator=gumbel", "latent=gaussian"]),
    ("estimator=gumbel", ["latent=gaussian", "is not discrete", "latent=categorical"]),
    ("latent=categoricals estimator=enumerate", ["8^8 = 16,777,216", "decoder pass", "estimator.limit=256"]),
    ("latent=binary latent.dim=9 estimator=enumerate", ["2^9 = 512", "estimator=score", "estimator.limit=512"]),
    ("latent=categorical estimator=subset", ["estimator=subset", "model.samples=4"]),
    (
        "latent=categorical estimator=score estimator.baseline=leave_one_out",
        ["leave_one_out", "model.samples=1", "model.samples=4"],
    ),
    ("latent=categorical estimator=score estimator.baseline=median", ["none, mean, input, leave_one_out"]),
    ("latent=categorical latent.categories=1", ["at least 2"]),
    ("latent=categorical latent.prior=flat", ["uniform, learned"]),
    ("latent=mixed latent.c.prior=flat", ["latent.c.prior=flat", "uniform, learned"]),
    ("latent=mixed latent.c.categories=1", ["latent.c.categories=1", "at least 2"]),
    ("latent=categorical estimator=score estimator.decay=1", ["estimator.decay=1", "at least 0 and below 1"]),
    ("latent=categorical estimator=enumerate estimator.limit=0", ["estimator.limit=0", "at least 1"]),
    ("model=nvdm encoder.reads=words", ["encoder.reads=words", "counts, log, share"]),
    ("model=nvdm latent=dirichlet latent.alpha=0", ["latent.alpha=0", "above 0"]),
    ("regularizer=alternate regularizer.alternate.passes=0", ["alternate.passes=0", "at least 1"]),
    ("latent=categorical estimator=gumbel estimator.temperature=0", ["above 0"]),
    ("latent=categorical regularizer=mmd", ["latent=categorical", "regularizer=mmd"]),
    ("latent=mixed latent.c.categories=2.5", ["latent.c.categories=2.5", "whole number"]),
    ("latent=mixed estimator=enumerate", ["latent=mixed", "estimator=enumerate"]),
    ("estimator=blocks", ["latent=gaussian", "latent=mixed"]),
    ("latent=mixed estimator=blocks estimator@estimator.z=gumbel", ["latent.z=gaussian", "estimator.z=gumbel"]),
    ("latent=mixed estimator=blocks estimator@estimator.c=pathwise", ["latent.c=categorical", "estimator.c=pathwise"]),
    ("latent=mixed estimator=blocks latent.c.categories=300", ["300^1", "estimator@estimator.c=score"]),
    (
        "latent=mixed estimator=blocks estimator@estimator.c=score estimator.c.baseline=leave_one_out",
        ["estimator.c.baseline=leave_one_out", "estimator.c.baseline=input"],
    ),
    ("latent=mixed estimator=blocks +latent@latent.d=categorical", ["latent=mixed", "z, c, d", "estimator=auto"]),
    ("model=m2 latent=gaussian", ["latent=gaussian", "model=m2", "latent=categorical"]),
    ("model=m2 data=ptb", ["data=ptb", "no labels"]),
    ("model=m2 model.alpha=-1", ["at least 0"]),
    ("model=ae estimator=score", ["estimator=score", "density"]),
    ("encoder=none", ["encoder=none", "encoder=lstm"]),
    ("model=nvdm data=20news regularizer=skip", ["regularizer=alternate", "decoder=lstm, with another model"]),
    ("data=text data.files.train=x.txt data.view=counts", ["data=text", "data.view=tokens"]),
    ("model=nasm data=wikiqa regularizer=delta", ["latent=conditional", "regularizer=delta", "N(0, I)"]),
    ("model=nasm data=wikiqa regularizer=batch_norm", ["latent=conditional", "regularizer=batch_norm", "N(0, I)"]),
    ("decoder.inputless=true regularizer=word_dropout", ["word_dropout", "inputless"]),
    ("decoder.tie=true decoder.embedding=100", ["decoder.embedding=100", "decoder.embedding=256"]),
    ("+regularizer.mdr.nats=2", ["mdr", "regularizer=[free_bits,mdr]"]),
    ("latent.dim=abc", ["latent.dim=abc", "whole number", "latent.dim=32"]),
    ("latent.dim=1.5", ["whole number"]),
    ("latent.dim=0", ["at least 1"]),
    ("data.batch_size=-1", ["data.batch_size=-1"]),
    ("decoder.dropout_in=1.5", ["below 1"]),
    ("decoder.entry=everywhere", ["initial, every_step, both"]),
    ("anneal=linear anneal.unit=weeks", ["steps, epochs"]),
    ("optimizer.lr=0", ["above 0"]),
    ("trainer.max_epochs=0", ["at least 1"]),
    ("trainer.max_epochs=-1", ["never end"]),
    ("trainer.precision=17", ["32-true"]),
    ("trainer.precision=16-mixed", ["trainer.precision=bf16-mixed", "optimizer.fused=false"]),
    ("seed=-1", ["seed=-1"]),
    ("force=perhaps", ["true or false"]),
    ("regularizer=free_bits regularizer.free_bits.nats=-1", ["at least 0"]),
    ("regularizer=word_dropout regularizer.word_dropout.keep=2", ["between 0 and 1"]),
    ("model=rnnlm regularizer=aggressive", ["latent=none", "regularizer=aggressive", "latent=gaussian"]),
    ("model=ae regularizer=pretrain", ["latent=point", "regularizer=pretrain"]),
    ("model=ae regularizer=semi_amortized", ["latent=point", "is not Gaussian"]),
    ("model=rnnlm regularizer=lm_init", ["encoder=none", "regularizer=lm_init", "encoder=lstm"]),
    ("regularizer=lm_init", ["lm_init.run", "model=rnnlm"]),
    ("regularizer=[aggressive,pretrain]", ["regularizer=aggressive", "sets the plan", "regularizer=pretrain"]),
    ("regularizer=semi_amortized estimator=score", ["estimator=score", "estimator=pathwise"]),
    ("regularizer=pretrain trainer.max_epochs=5", ["pretrain.epochs=5", "a larger trainer.max_epochs"]),
    ("regularizer=aggressive regularizer.aggressive.inner=0", ["aggressive.inner=0", "at least 1"]),
    ("regularizer=pretrain regularizer.pretrain.reset=both", ["decoder, none"]),
    ("model=nvdm encoder=lstm", ["encoder=lstm", "model=nvdm", "encoder=bow"]),
    ("model=nvdm decoder=lstm", ["decoder=lstm", "decoder=bow"]),
    ("model=nvdm latent=point", ["latent=point", "model=nvdm"]),
    ("model=nvdm data.view=tokens", ["data=snips", "has no bags of words"]),
    ("model=svae data=bbc", ["data=bbc", "has no token sequences"]),
    ("model=svae data=text data.view=counts", ["data=text", "has no token sequences"]),
    ("model=svae decoder=bow", ["decoder=bow", "decoder=lstm"]),
    ("model=prodlda latent=gaussian", ["latent=gaussian", "latent=dirichlet"]),
    ("model=nvdm decoder.mixture=words", ["decoder.mixture=words", "latent=logistic_normal"]),
    ("model=nvdm regularizer=word_dropout", ["word_dropout", "decoder=bow"]),
    ("model=nvdm regularizer=embedding_dropout", ["embedding_dropout"]),
    ("model=nvdm regularizer=bag_of_words", ["bag_of_words", "data=snips"]),
    ("model=nvdm regularizer=skip", ["skip", "decoder=bow"]),
    ("model=nvdm regularizer=lm_init", ["encoder=bow", "lm_init"]),
    ("model=nvdm regularizer=[alternate,pretrain]", ["alternate", "pretrain", "sets the plan"]),
    ("model=prodlda regularizer=batch_norm", ["batch_norm", "is not Gaussian"]),
    ("model=nvdm encoder.reads=words", ["counts, log, share"]),
    ("model=prodlda latent.alpha=0", ["above 0"]),
    ("model=nvdm regularizer=semi_amortized data.view=both", ["data.view=both", "tokens, counts"]),
    ("regularizer=semi_amortized regularizer.semi_amortized.through=all", ["exact, finite_difference, none"]),
]


@pytest.mark.parametrize("typed", FINE)
def test_what_works_is_not_refused(typed: str, composed: Compose):
    checked(composed(*typed.split()))


@pytest.mark.parametrize(("typed", "named"), REFUSED)
def test_what_cannot_work_is_refused_by_name(typed: str, named: list[str], composed: Compose):
    with pytest.raises(ConfigError) as caught:
        checked(composed(*typed.split()))
    for words in named:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["model=svea"], ["model=svea", "model=svae"]),
        (["latent.dm=3"], ["latent.dm=3", "try  latent.dim=3"]),
        (["modle=svae"], ["modle=svae", "try  model=svae"]),
        (["regularizer=[free_bit]"], ["regularizer=free_bit", "--help"]),
        (["regularizer.mdr.nats=3"], ["regularizer=mdr"]),
        (["model=ae", "anneal=linear"], ["anneal=linear", "anneal=constant"]),
        (["data=ptb"], ["data.root", "LVEXP_DATA"]),
        (["data=text", "data.files.train=nowhere.txt"], ["nowhere.txt"]),
        (["latent.dim=["], ["["]),
    ],
)
def test_a_mistake_gets_a_short_message_and_exit_code_2(typed: list[str], named: list[str], lvexp: Command, tmp_path):
    done = lvexp(*typed, LVEXP_DATA="")
    assert done.returncode == 2
    assert done.stderr.startswith("lvexp: ")
    assert "Traceback" not in done.stderr + done.stdout
    assert len(done.stderr.splitlines()) <= 6
    for words in named:
        assert words in done.stderr
    left = [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()]
    assert not left, "a job that never began leaves nothing behind"


def test_errors_are_one_family():
    assert issubclass(ConfigError, LvexpError)


@pytest.mark.parametrize("typed", ["model=nvdm data=20news regularizer=skip", "estimator=gumbel"])
def test_what_is_advised_is_accepted_unless_it_is_said_to_need_another_model(typed: str, composed: Compose):
    with pytest.raises(LvexpError) as refusal:
        checked(composed(*typed.split()))
    advice = [line[5:] for line in str(refusal.value).splitlines() if line.startswith(("try  ", "or   "))]
    single = [option for line in advice if "another model" not in line for option in line.split(" | ")]
    assert single
    kept = [word for word in typed.split() if word.split("=")[0] != single[0].split("=")[0]]
    for option in single:
        group = option.split("=")[0]
        whole = [*kept, option] if group in typed else [*typed.split(), option]
        if option != "regularizer=lm_init":  # which needs a run to start from
            checked(composed(*[word for word in whole if word.split("=")[0] != group or word == option]))
