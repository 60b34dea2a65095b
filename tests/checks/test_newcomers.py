"""What people type who come from other tools: each is answered with what to type here, and that works."""

from __future__ import annotations

import shlex
import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from helpers import Compose, Said, checked
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from lvexp.__main__ import MENU
from lvexp.checks import keys

#: what is typed in a shell → what the answer says to type
ANSWERS = {
    # the case of letters, and slips
    "model=SVAE": "model=svae",
    "modle=svae": "model=svae",
    "MODEL=svae": "model=svae",
    "regularizers=free_bits": "regularizer=free_bits",
    "optimizer=AdamW": "optimizer=adamw",
    "experiment=bowman": "experiment=bowman2016",
    "regularizer=freebits": "regularizer=free_bits",
    "anneal=cyclic": "anneal=cyclical",
    "trainer.max_epoch=3": "trainer.max_epochs=3",
    "data.vocabulary.size=100": "data.vocabulary.max_size=100",
    # no sign, the wrong sign, blanks
    "train": "python -m lvexp",
    "train model=svae": "model=svae",
    "model svae": "model=svae",
    "model = svae": "model=svae",
    "model= svae": "model=svae",
    "model:svae": "model=svae",
    "model==svae": "model=svae",
    "svae": "model=svae",
    "svae cosine": "model=svae anneal=cosine | model=svae scheduler=cosine",
    "model=svae, anneal=linear": "model=svae anneal=linear",
    "'model=svae;anneal=linear'": "model=svae anneal=linear",
    "model=svae.yaml": "model=svae",
    "model=[svae]": "model=svae",
    "+model=svae": "model=svae",
    "+seed=2": "seed=2",
    "regularizer=[free_bits, word_dropout]": "'regularizer=[free_bits,word_dropout]'",
    "'regularizer=free_bits word_dropout'": "'regularizer=[free_bits,word_dropout]'",
    "name=my run": "'name=my run'",
    "'data.root=~/texts'": """'data.root="~/texts"'""",
    # dashes
    "--model=svae": "model=svae",
    "--model svae --anneal linear": "model=svae anneal=linear",
    "--epochs 3": "trainer.max_epochs=3",
    "--seed 1": "seed=1",
    "--force": "force=true",
    "--dataset snips": "data=snips",
    "--list": "--help",
    "--help model": "--help",
    "help": "--help",
    "-v": "--version",
    "--resume": "resume=DIR",
    "resume": "resume=DIR",
    "evaluate outputs/run": "evaluate=outputs/run",
    "--config my.yaml": "--config-dir DIR experiment=NAME",
    "--cfg": "--cfg job",
    "compare": "python -m lvexp.compare --help",
    "explore outputs": "python -m lvexp.explore --help",
    "compress RUN FILE": "python -m lvexp.compress --help",
    "WANDB_MODE=offline": "WANDB_MODE=offline python -m lvexp",
    # other tools' names
    "epochs=3": "trainer.max_epochs=3",
    "lr=0.001": "optimizer.lr=0.001",
    "batch_size=32": "data.batch_size=32",
    "seed_everything=7": "seed=7",
    "latent_dim=16": "latent.dim=16",
    "latent=16": "latent.dim=16",
    "hidden_size=64": "encoder.hidden=64 decoder.hidden=64",
    "decoder.dropout=0.5": "decoder.dropout_in=0.5 decoder.dropout_out=0.5",
    "beta=0.1": "anneal.beta=0.1",
    "kl_weight=0.1": "anneal.beta=0.1",
    "regularizer=kl_annealing": "anneal=linear",
    "anneal.warmup=5": "anneal=cosine anneal.warmup=5 | anneal=linear anneal.warmup=5 | anneal=sigmoid anneal.warmup=5",
    "free_bits=3": "regularizer=free_bits regularizer.free_bits.nats=3",
    "regularizer.free_bits=3": "regularizer=free_bits regularizer.free_bits.nats=3",
    "output_dir=out": "paths.outputs=out",
    "vocab_size=1000": "data.vocabulary.max_size=1000",
    "max_length=20": "data.max_length=20",
    "overwrite=true": "force=true",
    "fast_dev_run=true": "debug=steps",
    "debug=true": "debug=steps",
    # where it runs, and who logs
    "device=cuda": "trainer=gpu",
    "gpus=1": "trainer=gpu",
    "trainer=cuda": "trainer=gpu",
    "trainer.accelerator=cuda:0": "trainer.accelerator=cuda",
    "trainer.precision=16": "trainer.precision=bf16-mixed",
    "trainer.deterministic=true": "+trainer.deterministic=true",
    "trainer.max_epochs=1e3": "trainer.max_epochs=1000",
    "wandb=true": "logger=wandb",
    "logger=none": "logger=csv",
    "logger=null": "logger=csv",
    "logger.wandb=false": "logger=csv",
    "logger=tb": "logger=tensorboard",
    # options that are called otherwise
    "model=vae": "model=svae",
    "model=lstm": "model=rnnlm",
    "model=": "model=svae",
    "latent=normal": "latent=gaussian",
    "anneal=none": "anneal=constant",
    "encoder=transformer_xl": "encoder=transformer",
    "~data": "leave out ~data",
    "data=imdb": "data=hf data.hf.path=imdb | data=text data.files.train=FILE",
    "data=path/to/file.txt": "data=text data.files.train=path/to/file.txt",
    "data.files=foo.txt": "data.files.train=foo.txt",
    "train_file=foo.txt": "data=text data.files.train=foo.txt",
    # several values
    "seed=1,2": "-m seed=1,2",
    "optimizer.lr=0,001": "optimizer.lr=0.001",
    "regularizer=free_bits,word_dropout": "'regularizer=[free_bits,word_dropout]'",
    "-m seed=1..3": "-m seed=1,2,3",
    "-m seed=1-20": "-m 'seed=range(1,21)'",
    "-m seed=1 2 3": "-m seed=1,2,3",
    "-m seed=1 seed=2 seed=3": "-m seed=1,2,3",
    "-m seed=[1,2,3]": "-m seed=1,2,3",
    "-m model=[svae,rnnlm]": "-m model=svae,rnnlm",
    "-m 'model=svae|rnnlm'": "-m model=svae,rnnlm",
    "sweep seed=1,2": "-m seed=1,2",
}
#: which are no overrides: to be filled in, or for the shell
_OTHERWISE = ("--", "python ", "leave out", "WANDB_MODE")
SUGGESTED = sorted(
    {one for answer in ANSWERS.values() for one in answer.split(" | ")
     if not one.startswith(_OTHERWISE) and not one.endswith(("DIR", "NAME", "outputs/run"))}
)  # fmt: skip


def packed(suggested: list[str]) -> list[str]:
    """The suggestions, those of single values together unless they set the same key: composing is what takes time."""
    groups = {path.name for path in MENU.iterdir() if path.is_dir()}
    choices, lists = [], [""]
    for words in suggested:
        names = {word.partition("=")[0] for word in shlex.split(words)}
        if names & groups or "-m" in names or words.startswith("+"):
            choices.append(words)
            continue
        free = [
            place
            for place, one in enumerate(lists)
            if not names & {word.partition("=")[0] for word in shlex.split(one)}
        ]
        if not free:
            lists.append("")
        place = free[0] if free else -1
        lists[place] = f"{lists[place]} {words}".strip()
    return choices + lists


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is accepted would be trained."""

    def accepted(*_: Any, **__: Any) -> None:
        raise AssertionError("the command was accepted")

    for name, does in (("lvexp.run", "run"), ("lvexp.evaluation", "evaluate_again")):
        module = types.ModuleType(name)
        setattr(module, does, accepted)
        monkeypatch.setitem(sys.modules, name, module)


@pytest.mark.parametrize("typed", ANSWERS)
def test_the_answer_says_what_to_type(typed: str, entered: Callable[..., Said], untrained: None):
    said = entered(*shlex.split(typed))
    assert said.code == 2
    assert not said.out
    *_, advice = said.err.splitlines()
    assert advice.startswith("try  ")
    assert ANSWERS[typed] in advice
    rest = advice.removeprefix("try  ").split(ANSWERS[typed])[1]
    assert not rest or rest.startswith((" ", ",")), "the answer ends there"
    assert len(said.err.splitlines()) <= 3


@pytest.mark.parametrize("words", packed(SUGGESTED))
def test_what_an_answer_says_to_type_works(words: str, composed: Compose):
    typed = [_first(word) for word in shlex.split(words) if word != "-m"]
    config = composed(*typed)
    checked(config)
    raw = OmegaConf.to_container(config, resolve=False)
    assert isinstance(raw, dict)
    keys.check({str(key): value for key, value in raw.items()}, dict(config.hydra.runtime.choices), MENU)


def _first(word: str) -> str:
    """The first value of a sweep; any other override as it is."""
    override = OverridesParser.create().parse_override(word)
    if not override.is_sweep_override():
        return word
    return f"{override.key_or_group}={next(iter(override.sweep_string_iterator()))}"


def test_there_are_enough_of_them():
    assert len(ANSWERS) >= 60
