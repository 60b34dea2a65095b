"""Bad values, keys and files: each is one short message that names what was typed and what to do, none a traceback."""

from __future__ import annotations

import ast
import codecs
import copy
import functools
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pytest
import torch
from helpers import Command, plain
from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lvexp import build, run
from lvexp.__main__ import MENU
from lvexp.checks import keys, overrides, refusals, values
from lvexp.checks.declarations import SEVERAL
from lvexp.checks.limits import read as read_limit
from lvexp.checks.mistakes import explain
from lvexp.data import source
from lvexp.data.corpus import open_corpus
from lvexp.data.counts import open_counts
from lvexp.data.module import TextData
from lvexp.data.settings import DataSettings
from lvexp.data.vectors import read_vectors
from lvexp.errors import ConfigError, DataError, LvexpError
from lvexp.job import identity, preflight

REMEDIES = sorted(path.stem for path in (MENU / "regularizer").glob("*.yaml") if path.stem != "none")
# few compositions, which take time, with many options in each: values are judged before what goes together
PLAIN: tuple[str, ...] = ()
RICH = ("optimizer=sgd", "decoder=dcnn", "anneal=cyclical", f"regularizer=[{','.join(REMEDIES)}]")
OTHER = ("anneal=sigmoid", "decoder=window", "encoder=bilstm", "latent=mixed", "estimator=blocks")
COUNTS = ("model=nvdm", "data=text", "latent=dirichlet")
GUMBEL = ("latent=categorical", "estimator=gumbel", "trainer=ddp")
SCORE = ("model=m2", "latent=categorical", "estimator=score", "anneal=linear")
ANSWERS = ("model=nasm", "data=wikiqa")

OPTIONS: dict[tuple[str, ...], str] = {
    PLAIN: """
        seed=null seed=-1 seed=abc seed=4294967296 seed=1.5 force=null force=2 name=null name=[a] name=''
        paths.outputs=null paths.outputs=[a] logger.wandb.project=null logger.wandb.entity=[a] logger.wandb.watch=grads
        logger.wandb.log_model=1 logger.wandb.tags=a logger.wandb.notes=[] logger.project=a logger.wandb=null
        latent.dim=null
        latent.dim=nan latent.dim=1e30 latent.dim=[4] latent.dim={a:1} latent.dim=true latent.dim=''
        latent.dim=10000000000000000000000000000000000000000 encoder.hidden=0 encoder.norm=1 encoder.norm=null
        encoder.cell=rnn encoder.cell=null decoder.tie=yes! decoder.dropout_in=nan decoder.dropout_out=1
        decoder.entry=null model.samples=0 model.samples=inf anneal.beta=nan anneal.beta=-0.1 anneal.beta=[]
        optimizer.lr=inf optimizer.lr=nan optimizer.lr=-1 optimizer.lr=1e39 optimizer.fused=null
        optimizer.weight_decay=-1 optimizer.decay=5 optimizer.decay={factor:0.5} optimizer.decay=[1]
        trainer.threads=abc trainer.threads=0 trainer.threads=1.5 trainer.val_check_interval=0
        trainer.val_check_interval=1.5 trainer.val_check_interval=null trainer.gradient_clip_val=-1
        trainer.gradient_clip_val=nan trainer.gradient_clip_val=abc trainer.limit_train_batches=0
        trainer.limit_train_batches=2.5 trainer.limit_val_batches=-3 trainer.limit_val_batches=true
        trainer.max_epochs=0 trainer.max_epochs=null trainer.max_steps=-2 trainer.devices=0
        trainer.precision=null trainer.profiler=fast trainer.profiler={} trainer.overfit_batches=-1
        trainer.patience=-1 trainer.checkpoint_steps=0 trainer.accumulate_grad_batches=0
        evaluation.active_threshold=nan evaluation.active_threshold=-1 evaluation.iw_samples=inf
        evaluation.samples=1 evaluation.interpolation_steps=1 evaluation.reconstructions=-1 evaluation.seed=null
        evaluation.iw_words=1 evaluation.iw_words=nan evaluation.iw_words=64.5 evaluation.iw_words=many
        evaluation.iw_tolerance=nan data.columns.text=null data.columns.text=-1 data.columns.label=[a]
        data.columns.label=1 data.header=1 data.batch_size=null data.split.seed=null data.lowercase=1
        data.vocabulary.min_count=nan data.vocabulary=words data.columns=0 data.files=x data.files.valid=0
        data.format=0 data.name=../x data.labelled=-1 data.labelled=1.5 data.balance=1 data.seed=abc
        data.cache='' evaluation=5 latent.requires=5 latent.requires=[rate] ~seed ~latent.dim
        ~trainer.max_epochs ~data.files ~evaluation.samples ~latent._target_ latent._target_=abc
        latent._target_=lvexp.latents.gaussian.Gauss +foo=1 +foo={a:[1]} +logger.tags=[a] +logger.wandb.id=a
        +embeddings.path=x.txt
        +latent.width=3 +latent._args_=[1] +model.optimizer=1 +anneal.steps_per_epoch=2 +trainer.logger=5
        +trainer.limit_test_batches=2 trainer.gradient_clip_algorithm=both +trainer.min_epochs=-1
        +trainer.deterministic=5 +evaluation.k=3 +data.columns.texts=1 +data.vocabulary.size=9
        +optimizer.beta=0.9 +optimizer.params=1 latent.dim=[ latent.dim=${width}
    """,
    RICH: """
        optimizer.decay=5 optimizer.decay.factor=2 optimizer.decay.factor=nan optimizer.decay.limit=-1
        optimizer.decay.patience=0 optimizer.decay.start_epoch=1.5 ~optimizer.decay.limit optimizer.momentum=1
        +optimizer.decay.step=3 decoder.dilations=[0] decoder.dilations=5 decoder.dilations=[]
        decoder.dilations=[1,a] decoder.kernel=0 decoder.size=huge anneal.period=0 anneal.ratio=0
        anneal.cycles=0 anneal.shape=null anneal.restart=1 regularizer.free_bits.nats=inf
        regularizer.free_bits.nats=null regularizer.free_bits.per=word regularizer.mmd.weight=nan
        regularizer.semi_amortized.epsilon=0 regularizer.semi_amortized.clip=-1 regularizer.control_kl.ki=0
        regularizer.mdr.damping=-1 regularizer.word_dropout.keep=nan regularizer.embedding_dropout.share=1
        regularizer.lm_init.run=5 regularizer.delta.nats=0 regularizer.free_bits=null
        +regularizer.free_bits.floor=1 +regularizer.other.weight=1
    """,
    OTHER: """
        anneal.steepness=0 decoder.window=-1 decoder.window=null latent.z.dim=0 latent.c.categories=nan
        latent.z=5 +latent.z.width=3 +latent.y=5 estimator.c.limit=0 ~latent.c.categories
    """,
    COUNTS: """
        latent.alpha=0 latent.alpha=inf encoder.activation=null encoder.reads=[] decoder.mixture=max
        model.draws=0 model.map=-1 data.counts.min_df=-1 data.counts.min_df=1.5 data.counts.max_df=nan
        data.counts.stop_words=french data.counts.pattern=null data.counts.pattern='['
        data.counts.pattern='(a)(b)' +data.counts.max=3 encoder.ignores=5 data.files.train=null
        data.files.train=nowhere.txt data.files.train=/dev/zero data.files.train=/ model.per_word=0
        data.files.judge=0 data.columns.attributes=5 data.columns.attributes=[] data.columns.attributes=[-1]
    """,
    GUMBEL: """
        estimator.temperature=nan estimator.rate=-1 estimator.hard=null trainer.max_epochs=abc
        trainer.devices=1.5
    """,
    SCORE: """
        estimator.baseline=null estimator.decay=1 estimator.width=0 model.alpha=nan anneal.warmup=-1
        anneal.unit=null
    """,
    ANSWERS: """
        +embeddings.size=3 embeddings.path=5 embeddings.path=nowhere.txt embeddings.train=null data.answered=[1]
    """,
}
#: where the message names the part of it that is wrong
NAMED_OTHERWISE = {
    "latent.dim=${width}": "${width}",
    "latent.dim=[": "'['",
    "+foo={a:[1]}": "foo={a:[1]}",
    "+embeddings.path=x.txt": "embeddings={path:x.txt}",
    "+regularizer.other.weight=1": "regularizer.other",
    "data.files.train=null": "data.files.train=FILE",
    "latent.dim=10000000000000000000000000000000000000000": "a number of very many digits",
    "optimizer.lr=1e39": "optimizer.lr=1e+39",
}
BAD = [(base, typed) for base, words in OPTIONS.items() for typed in words.split()]


@functools.cache
def based(chosen: tuple[str, ...]) -> DictConfig:
    identity.register()
    with initialize_config_dir(str(MENU), version_base="1.3"):
        return compose("config", overrides=list(chosen), return_hydra_config=True)


def judged(chosen: tuple[str, ...], *typed: str) -> dict[str, Any]:
    """What the command line does with these values before it loads torch; values are set as Hydra sets them."""
    config = copy.deepcopy(based(chosen))
    ConfigLoaderImpl._apply_overrides_to_config(OverridesParser.create().parse_overrides(list(typed)), config)
    choices = dict(config.hydra.runtime.choices)
    assert config.hydra.run.dir  # which Hydra makes before anything is checked
    resolved = plain(config)
    whole = OmegaConf.to_container(config, resolve=False)
    assert isinstance(whole, dict)
    keys.check({str(key): value for key, value in whole.items()}, choices, MENU)
    refusals.check(resolved, choices, MENU)
    source.check(DataSettings.of(resolved["data"]))
    return resolved


def said(doing: Callable[[], Any]) -> str:
    """The message that a user meets, which has three parts and few lines."""
    with pytest.raises((LvexpError, HydraException, OmegaConfBaseException)) as caught:
        doing()
    message = explain(caught.value)
    assert len(message.splitlines()) <= 8
    assert any(line.startswith(("try  ", "or   ")) for line in message.splitlines()), "it says what to do"
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize(("chosen", "typed"), BAD, ids=[" ".join((*chosen[:1], typed)) for chosen, typed in BAD])
def test_a_bad_value_or_key_is_refused_by_name(chosen: tuple[str, ...], typed: str, tmp_path: Path, monkeypatch):
    monkeypatch.setenv("LVEXP_DATA", str(tmp_path))
    key, _, value = typed.partition("=")
    message = said(lambda: judged(chosen, typed))
    if typed in NAMED_OTHERWISE:
        assert NAMED_OTHERWISE[typed] in message
        return
    assert key.lstrip("+~") in message
    if value and value[0] not in "'{1":
        assert value in message
    assert len(BAD) >= 110


GOOD = [
    (PLAIN, "trainer.gradient_clip_val=null"),
    (PLAIN, "trainer.gradient_clip_val=0"),
    (PLAIN, "trainer.threads=2"),
    (PLAIN, "trainer.val_check_interval=0.2"),
    (PLAIN, "trainer.val_check_interval=50"),
    (PLAIN, "trainer.limit_val_batches=1"),
    (PLAIN, "+trainer.min_epochs=2"),
    (PLAIN, "+trainer.deterministic=warn"),
    (PLAIN, "+optimizer.betas=[0.9,0.99]"),
    (PLAIN, "optimizer.decay={factor:0.5,patience:1,start_epoch:0,limit:3}"),
    (PLAIN, "data.columns.label=null"),
    (PLAIN, "+data.columns.group=0"),
    (PLAIN, "+data.view=tokens"),
    (PLAIN, "data.files.valid=null"),
    (("optimizer=sgd",), "optimizer.decay=null"),
    (("model=rnnlm",), "latent.dim=0"),
    (("decoder=dcnn",), "decoder.dilations=[1,2]"),
]


@pytest.mark.parametrize(("chosen", "typed"), GOOD, ids=[typed for _, typed in GOOD])
def test_what_has_a_meaning_is_not_refused(chosen: tuple[str, ...], typed: str):
    judged(chosen, typed)


def test_a_key_that_another_value_refers_to_is_read():
    resolved = judged(PLAIN, "+width=24", "latent.dim=${width}", "encoder.hidden=${width}")
    assert resolved["latent"]["dim"] == resolved["encoder"]["hidden"] == 24


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["regularizer=free_bits", "regularizer=skip"], ["given twice", "regularizer=[free_bits,skip]"]),
        (["regularizer=[free_bits,skip]", "regularizer=mmd"], ["regularizer=[free_bits,skip,mmd]"]),
        (["latent=binary", "latent=categorical"], ["latent=binary", "latent=categorical", "given twice"]),
        (["+latent@latent.d=binary", "+latent@latent.d=gaussian"], ["given twice"]),
        (["-m", "anneal=constant,linear", "anneal=cosine"], ["given twice"]),
        (["trainer=null"], ["trainer=null", "leave out"]),
        (["data=null"], ["data=null"]),
        (["regularizer=null"], ["regularizer=none"]),
        (["experiment=null"], ["experiment=null"]),
        (["-m", "data=snips,null"], ["data=snips,null"]),
        (["model=5"], ["model=5"]),
        (["encoder={a:1}"], ["encoder={a:1}"]),
    ],
)
def test_a_group_is_given_one_option(typed: list[str], named: list[str]):
    message = said(lambda: overrides.check(typed, MENU))
    assert all(words in message for words in named)


def test_a_group_may_be_repeated_as_it_is_and_a_value_may_be_overridden():
    overrides.check(
        [
            "data=text",
            "data=text",
            "seed=1",
            "seed=2",
            "latent.dim=4",
            "latent.dim=8",
            "regularizer=[free_bits,skip]",
        ],
        MENU,
    )
    overrides.check(
        [
            "-m",
            "data=snips,ptb",
            "regularizer=none,free_bits,[free_bits,skip]",
            "--config-dir=x",
            "latent@latent.c=binary",
        ],
        MENU,
    )


# ---------------------------------------------------------------------------------------------------------------------
# the menu itself


def menu_files() -> list[tuple[str, Path]]:
    groups = (*values.GROUPS, *values.AROUND, "regularizer", "callbacks", "logger", "")
    return [(group, file) for group in groups for file in sorted((MENU / group).glob("*.yaml"))]


@pytest.mark.parametrize(("group", "file"), menu_files(), ids=lambda part: getattr(part, "stem", part))
def test_every_number_and_every_null_of_the_menu_has_a_limit_that_its_default_keeps(group: str, file: Path):
    whole, node = values.yaml(file)
    node = {key: value for key, value in node.items() if key not in ("defaults", "hydra")}
    tree = node if whole or not group else {group: node}
    option = file.stem if group not in SEVERAL else f"[{file.stem}]"
    composed = plain(based((f"{group}={option}",) if group else ()))  # a model sets values of other options too
    limits = dict(values._limits(composed))
    ignored = {f"{path}.{key}" for path, inner in values.nodes(composed) for key in inner.get("ignores") or ()}
    for path, value in values.leaves(tree):
        declared = path.rpartition(".")[2] in values.DECLARED
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if declared or path in ignored or not (number or value is None):
            continue
        assert path in limits, f"{path}={value}: nothing says what it may be"
        assert read_limit(limits[path])[0](value), f"{path}={value} is not {limits[path]}"


@pytest.mark.parametrize(("group", "file"), menu_files(), ids=lambda part: getattr(part, "stem", part))
def test_a_class_takes_what_its_file_holds_and_what_its_source_says(group: str, file: Path):
    tree = values.yaml(file)[1]
    for _, node in [*values.nodes(tree), ("", tree)]:
        if "_target_" in node and "sweep" not in node["_target_"].rpartition(".")[0]:
            takes = keys.takes(node["_target_"])
            assert takes is not None
            hidden = {
                "_target_",
                "_partial_",
                "defaults",
                "decay",
                "interval",
                "horizon",
                *values.DECLARED,
                *(node.get("ignores") or ()),
            }
            blocks = {key for key, value in node.items() if isinstance(value, dict) and "_partial_" in value}
            assert set(node) - hidden - blocks <= set(takes)
            if "." not in node["_target_"].removeprefix("torch.optim."):
                continue
            import inspect

            own = inspect.signature(get_class(node["_target_"]).__init__).parameters
            assert {name for name, one in own.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)} - {
                "self"
            } <= set(takes)


def test_the_trainers_keys_are_those_of_lightning():
    import inspect

    known = set(inspect.signature(lightning.Trainer.__init__).parameters) - {"self"}
    file = set(values.yaml(MENU / "trainer" / "cpu.yaml")[1])
    assert set(keys.TRAINER) <= known
    assert file - set(run._OURS) <= known
    assert not file & set(keys.TRAINER)


def test_what_build_gives_is_no_key():
    given = set()
    for node in ast.walk(ast.parse(Path(build.__file__).read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("make", "_make", "_maker(config, trust)"):
            given |= {word.arg for word in node.keywords if word.arg}
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "given":
            inner = [part for part in ast.walk(node.value) if isinstance(part, ast.Dict)]
            given |= {key.value for part in inner for key in part.keys if isinstance(key, ast.Constant)}
    assert given >= {"vocabulary", "code", "states", "features", "encoder", "decoder", "latent", "steps_per_epoch"}
    assert given - {"trust", "dim"} <= set(keys.GIVEN)


@pytest.mark.parametrize(
    ("limit", "good", "bad"),
    [
        (">= 0 < 1", [0, 0.5], [1, -0.1, "a", None, True]),
        ("whole >= 1 or -1", [1, 7, -1], [0, 1.0, "1", None]),
        ("share > 0 <= 1 or whole >= 1", [0.5, 1.0, 3], [0, 0.0, 1.5, True]),
        ("list of whole >= 1 or null", [[1, 2], None], [[], [0], [1.5], 3, "a"]),
        ("english or list of text or null", ["english", ["a"], None], ["french", [1], 3]),
        ("truth or warn", [True, False, "warn"], [1, "yes", None]),
        ("mapping or null", [{}, {"a": 1}, None], [1, [1], "a"]),
    ],
)
def test_a_limit_reads_as_it_is_written(limit: str, good: list, bad: list):
    fits, _ = read_limit(limit)
    assert all(map(fits, good))
    assert not any(map(fits, bad))


@pytest.mark.parametrize("limit", ["=> 1", ">= one", ">=", "whole >= "])
def test_a_limit_that_cannot_be_read_is_said_to_be_none(limit: str):
    with pytest.raises(ConfigError, match="is no limit"):
        read_limit(limit)


# ---------------------------------------------------------------------------------------------------------------------
# what only the corpus or the optimiser can tell


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ({"limit_val_batches": 0.0001}, "trainer.limit_val_batches=0.0001"),
        ({"limit_train_batches": 1e-6}, "trainer.limit_train_batches=1e-06"),
        ({"overfit_batches": 0.001}, "trainer.overfit_batches=0.001"),
        ({"val_check_interval": 1000}, "trainer.val_check_interval=1000"),
        ({"limit_train_batches": 3, "val_check_interval": 4}, "trainer.val_check_interval=4"),
    ],
)
def test_limits_that_leave_no_batch_are_refused(typed: dict[str, Any], named: str, corpus: Path):
    words = {"kind": "words", "max_size": 99, "min_count": 1}
    module = TextData(
        name="text",
        files={"train": str(corpus)},
        vocabulary=words,
        columns={"text": 1},
        batch_size=8,
        eval_batch_size=8,
    )
    trainer = {"overfit_batches": 0, "limit_train_batches": 1.0, "limit_val_batches": 1.0, "val_check_interval": 1.0}
    preflight.batches(trainer, module)
    assert named in said(lambda: preflight.batches(trainer | typed, module))


def test_what_the_optimiser_refuses_is_said_before_training():
    adam = functools.partial(torch.optim.Adam, betas=(2, 3))
    node = {"_target_": "torch.optim.Adam", "betas": [2, 3]}
    assert "optimizer.betas=[2,3]" in said(lambda: build._tried(adam, node))
    build._tried(functools.partial(torch.optim.Adam, betas=(0.9, 0.99)), node)


# ---------------------------------------------------------------------------------------------------------------------
# files

LINES = "".join(f"a\tthe cat {number} sat\n" for number in range(60))
TEXTS = "".join(f"the cat {number} sat\n" for number in range(60))
OBJECTS = "".join(json.dumps({"text": f"the cat {number} sat", "kind": "a"}) + "\n" for number in range(60))
FEAT = "".join(f"{number % 2} {number % 5 + 1}:1 2:3\n" for number in range(60))
WORDS = "cat\ndog\nbird\ncup\nhat\n"
NAMED, COUNTED = {"columns": {"text": "text", "label": None}}, {"view": "counts", "columns": {"text": 0, "label": 0}}
LIST = {"counts": {"words": "words.txt"}}
FILES: list[tuple[str, str, str | bytes, dict[str, Any], str]] = [
    # what it is, name, content, settings, what the message says
    ("empty", "t.txt", "", {}, "it is empty"),
    ("blank lines", "t.txt", "\n \n\t\n", {}, "blank lines"),
    ("utf-16 with its mark", "t.txt", TEXTS.encode("utf-16"), {}, "UTF-16"),
    ("utf-16, big end first", "t.txt", codecs.BOM_UTF16_BE + TEXTS.encode("utf-16-be"), {}, "UTF-16"),
    ("utf-16 without a mark", "t.txt", TEXTS.encode("utf-16-le"), {}, "NUL bytes"),
    ("utf-32", "t.txt", TEXTS.encode("utf-32"), {}, "UTF-16"),
    ("utf-16 csv", "t.csv", "text\n".encode("utf-16") + TEXTS.encode("utf-16-le"), NAMED, "UTF-16"),
    ("utf-16 jsonl", "t.jsonl", OBJECTS.encode("utf-16"), NAMED, "UTF-16"),
    ("zeros", "t.txt", b"\0" * 5000, {}, "NUL bytes"),
    ("noise", "t.txt", bytes(range(128, 256)) * 40, {}, "invalid UTF-8"),
    ("latin-1", "t.txt", ("schöne grüße\n" * 60).encode("latin-1"), {}, "invalid UTF-8"),
    ("one line of two MiB", "t.txt", b"a " * (1 << 20), {}, "over-long"),
    ("no suffix", "texts", TEXTS, {}, "data.format="),
    ("another suffix", "t.docx", TEXTS, {}, "data.format="),
    ("cut off gzip", "t.txt.gz", gzip.compress(TEXTS.encode())[:60], {}, "cannot be read"),
    ("no gzip", "t.txt.gz", TEXTS, {}, "cannot be read"),
    ("broken gzip", "t.txt.gz", gzip.compress(TEXTS.encode())[:30] + b"x" * 90, {}, "cannot be read"),
    ("no such column", "t.tsv", LINES, {"columns": {"text": 5}}, "no column 5"),
    ("no such name", "t.csv", "a,b\n" + "1,2\n" * 60, NAMED, "no column 'text'"),
    ("a column twice", "t.csv", "text,text\n" + "a b,c d\n" * 60, NAMED, "more than once"),
    ("a tsv column twice", "t.tsv", "text\ttext \n" + "a b\tc d\n" * 60, NAMED, "more than once"),
    ("text and label alike", "t.tsv", LINES, {"columns": {"text": 1, "label": 1}}, "same column"),
    ("label of a txt", "t.txt", TEXTS, {"columns": {"text": 0, "label": 1}}, "has no columns"),
    ("names without a header", "t.csv", "text\na b\n", NAMED | {"header": False}, "data.header=true"),
    ("ragged", "t.tsv", "a\tb\n" + "one\n" * 200, {"columns": {"text": 1}}, "columns of the first line"),
    (
        "no labels",
        "t.tsv",
        "".join(f"\tcat {n}\n" for n in range(60)),
        {"columns": {"text": 1, "label": 0}},
        "has a label",
    ),
    ("unknown splits", "t.tsv", "x\tcat\n" * 60, {"columns": {"text": 1, "split": 0}}, "column of splits"),
    ("broken json", "t.jsonl", "{'text': 1}\n" * 60, NAMED, "broken JSON"),
    ("a number of 100,000 digits", "t.jsonl", f'{{"text": {"1" * 100_000}}}\n' * 3, NAMED, "broken JSON"),
    ("deep json", "t.jsonl", "[" * 100_000 + "\n", NAMED, "broken JSON"),
    ("lists", "t.jsonl", "[1]\n" * 60, NAMED, "no JSON object"),
    ("no text in json", "t.jsonl", '{"a": 1}\n' * 60, NAMED, "under the key 'text'"),
    ("numbers for text", "t.jsonl", '{"text": 1}\n' * 60, NAMED, "under the key 'text'"),
    ("half a surrogate", "t.jsonl", '{"text": "\\ud800"}\n' * 60, NAMED, "invalid UTF-8"),
    ("counts without counting", "t.feat", FEAT, {}, "data.view=counts"),
    ("a count of 1e20", "t.feat", "1 1:100000000000000000000\n" * 60, COUNTED | LIST, "counts below 10^9"),
    ("a count that is no number", "t.feat", "1 1:x\n" * 60, COUNTED | LIST, "id:count pairs"),
    ("a negative count", "t.feat", "1 1:-2\n" * 60, COUNTED | LIST, "id:count pairs"),
    ("word zero", "t.feat", "1 0:1\n" * 60, COUNTED | LIST, "holds word 0"),
    ("a word too far", "t.feat", "1 9:1\n" * 60, COUNTED | LIST, "holds word 9"),
    ("no class", "t.feat", "1:2 2:3\n" * 60, COUNTED | LIST, "has a label"),
    ("too few texts", "t.txt", "a\n", {}, "too small"),
    ("long texts", "t.txt", TEXTS, {"max_length": 2}, "too small"),
    ("a text too long", "t.txt", TEXTS, {"max_length": 2, "long": "error"}, "data.max_length=2"),
]


def settings(folder: Path, name: str, more: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "text", "root": str(folder), "files": {"train": name}, "columns": {"text": 0},
        "vocabulary": {"kind": "words", "max_size": 100, "min_count": 1}, "cache": str(folder / "cache"),
        "split": {"valid": 0.1, "test": 0.1, "seed": 0},
        "batch_size": 8, "eval_batch_size": 8, "max_length": 200, "long": "drop", **more,
    }  # fmt: skip


def read(cfg: dict[str, Any]) -> Any:
    data = DataSettings.of(cfg)
    source.fingerprint(data.place)
    source.check(data)
    return open_counts(data) if data.counted else open_corpus(data)


@pytest.mark.parametrize(("what", "name", "content", "more", "says"), FILES, ids=[what for what, *_ in FILES])
def test_a_bad_file_is_refused_by_name(what, name, content, more, says, tmp_path: Path):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "words.txt").write_text(WORDS)
    message = said(lambda: read(settings(tmp_path, name, more)))
    assert says in message
    assert name in message or "data." in message
    assert len(FILES) >= 40


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "pipe of words", "missing words"])
def test_only_regular_files_are_opened(kind: str, tmp_path: Path):
    (tmp_path / "t.txt").write_text(TEXTS)
    name, more = "t.txt", {}
    if kind == "pipe":
        os.mkfifo(tmp_path / (name := "pipe.txt"))
    elif kind == "device":
        name, more = "/dev/zero", {"format": "txt"}
    elif kind == "folder":
        (tmp_path / (name := "folder.txt")).mkdir()
    else:
        more = {"view": "counts", "counts": {"words": "words.txt"}}
        if kind == "pipe of words":
            os.mkfifo(tmp_path / "words.txt")
    message = said(lambda: read(settings(tmp_path, name, more)))
    assert ("words.txt" if "words" in kind else name) in message
    assert "regular" in message


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no words"),
        (b"\n\n", "no words"),
        (b"cat\ncat\n", "more than once"),
        (b"\xff\xfe", "read"),
        (b"c\0", "no words"),
    ],
)
def test_a_bad_list_of_words_is_refused(content: bytes, says: str, tmp_path: Path):
    (tmp_path / "t.txt").write_text(TEXTS)
    (tmp_path / "words.txt").write_bytes(content)
    message = said(lambda: read(settings(tmp_path, "t.txt", {"view": "counts", "counts": {"words": "words.txt"}})))
    assert says in message
    assert "data.counts.words=words.txt" in message


def test_pairs_without_a_class_are_all_counted(tmp_path: Path):
    (tmp_path / "t.feat").write_text("1:2 2:3\n" * 5 + FEAT)
    (tmp_path / "words.txt").write_text(WORDS)
    files = {"files": {"train": "t.feat", "valid": "t.feat", "test": "t.feat"}}
    found = read(settings(tmp_path, "t.feat", COUNTED | LIST | files))
    train = found.splits["train"]
    np.testing.assert_array_equal(train.counts[:5].toarray(), np.tile([2, 3, 0, 0, 0], (5, 1)))
    assert train.labels[:5].tolist() == [-1] * 5
    assert train.labels[5:9].tolist() == [0, 1, 0, 1]


def test_nul_bytes_of_a_few_lines_are_noted(tmp_path: Path):
    (tmp_path / "t.txt").write_bytes(TEXTS.encode() + b"a\0b\n")
    assert any("lines with NUL bytes" in note for note in read(settings(tmp_path, "t.txt", {})).notes)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("v.txt", b"two words\n"),
        ("v.txt", b"cat 1 x\n"),
        ("v.txt", b"cat nan 1\n"),
        ("v.bin", b"no header\n"),
        ("v.bin", b"1 2\ncat \0\0\0"),
        ("v.txt.gz", gzip.compress(b"cat 1 2\n" * 500, mtime=0)[:30]),
    ],
)
def test_bad_word_vectors_are_refused(name: str, content: bytes, tmp_path: Path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises((DataError, ConfigError), match=r"embeddings\.path="):
        read_vectors(tmp_path / name, ["cat"], 2)


# ---------------------------------------------------------------------------------------------------------------------
# the command line itself


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["regularizer=free_bits", "regularizer=skip"], "regularizer=[free_bits,skip]"),
        (["+foo=1"], "nothing reads it"),
        (["+init.foo=1"], "init.foo=1"),
        (["data=text", "data.files.train=PIPE"], "regular"),
        pytest.param(["seed=null"], "seed=null", marks=pytest.mark.slow),
        pytest.param(["trainer=null"], "trainer=null", marks=pytest.mark.slow),
        pytest.param(["-m", "regularizer=none,null"], "regularizer=none,null", marks=pytest.mark.slow),
        pytest.param(["trainer.gradient_clip_val=nan"], "trainer.gradient_clip_val=nan", marks=pytest.mark.slow),
        pytest.param(["trainer.limit_val_batches=0.0001"], "leaves none", marks=pytest.mark.slow),
        pytest.param(["+optimizer.betas=[2,3]"], "optimizer.betas=[2,3]", marks=pytest.mark.slow),
        pytest.param(["trainer.strategy=abc"], "trainer.strategy=abc", marks=pytest.mark.slow),
        pytest.param(["data=text", "data.files.train=WIDE"], "UTF-16", marks=pytest.mark.slow),
    ],
)
def test_a_mistake_ends_in_one_message_and_exit_code_2(typed: list[str], named: str, lvexp: Command, tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "wide.txt").write_bytes(TEXTS.encode("utf-16"))
    places = {"PIPE": str(tmp_path / "pipe.txt"), "WIDE": str(tmp_path / "wide.txt")}
    words = [
        f"{key}={places[value]}" if value in places else word
        for word in typed
        for key, _, value in [word.partition("=")]
    ]
    done = lvexp(*words, "logger=csv")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr + done.stdout
    assert done.stderr.startswith("lvexp: ")
    assert len(done.stderr.splitlines()) <= 8
    assert named in done.stderr
