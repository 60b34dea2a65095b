"""What an option's yaml declares: its form, and that it holds whatever the option is called."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import Compose, checked, plain
from omegaconf import OmegaConf

from lvexp.__main__ import MENU
from lvexp.checks import conflicts, declarations, keys, refusals, values
from lvexp.checks.declarations import DECLARED, Option, holds
from lvexp.checks.traits import TRAITS
from lvexp.errors import ConfigError, Refusal
from lvexp.job.identity import arguments

Own = Callable[[str, str], str]


@pytest.fixture
def own(tmp_path: Path) -> Own:
    """Copies an option of the menu into a folder of the user's own, under the name ``mine``."""

    def copied(group: str, option: str) -> str:
        text = (MENU / group / f"{option}.yaml").read_text(encoding="utf-8")
        text = text.replace(f"{option}:\n", "mine:\n", 1) if group == "regularizer" else text
        (tmp_path / group).mkdir(exist_ok=True)
        (tmp_path / group / "mine.yaml").write_text(text, encoding="utf-8")
        return f"hydra.searchpath=[file://{tmp_path}]"

    return copied


#: group, option, what is typed with its copy, what the refusal says
COPIES = [
    ("regularizer", "control_kl", "anneal.beta=0.5", ["anneal.beta=0.5 ", "regularizer=mine ", "sets it too"]),
    ("regularizer", "control_kl", "anneal=linear", ["anneal=linear", "regularizer=mine", "sets it too"]),
    (
        "regularizer",
        "word_dropout",
        "decoder.inputless=true",
        ["reads no words", "regularizer=mine ", "inputless"],
    ),
    ("regularizer", "pretrain", "trainer.max_epochs=3", ["regularizer.mine.epochs=5", "trainer.max_epochs=3"]),
    ("regularizer", "semi_amortized", "estimator=score", ["without a derivative", "regularizer=mine"]),
    ("regularizer", "lm_init", "seed=2", ["regularizer.mine.run: no language model"]),
    ("regularizer", "lm_init", "regularizer.mine.run=/nowhere", ["regularizer.mine.run=/nowhere: there is no such"]),
    ("regularizer", "lm_init", "model=rnnlm", ["has no recurrent layer", "regularizer=mine", "encoder=lstm"]),
    ("regularizer", "free_bits", "latent=dirichlet regularizer.mine.per=batch", ["regularizer.mine.per=batch"]),
    ("regularizer", "free_bits", "regularizer.mine.nats=-1", ["regularizer.mine.nats=-1: must be at least 0"]),
    ("regularizer", "free_bits", "regularizer.mine.per=word", ["dimension, example, batch"]),
    ("estimator", "score", "regularizer=semi_amortized", ["estimator=mine", "without a derivative"]),
    ("estimator", "score", "latent=categorical estimator.baseline=leave_one_out", ["model.samples=1", "draws one"]),
    ("estimator", "subset", "latent=categorical", ["estimator=mine", "model.samples=1", "draws one"]),
    ("decoder", "lstm", "decoder.inputless=true regularizer=word_dropout", ["decoder.inputless=true", "word_dropout"]),
    ("decoder", "lstm", "decoder.inputless=true model=rnnlm", ["decoder.inputless=true", "only words to predict from"]),
    (
        "decoder",
        "lstm",
        "decoder.tie=true decoder.hidden=12",
        ["decoder.tie=true", "hidden=12", "embedding=12"],
    ),
    ("decoder", "window", "decoder.window=0 model=rnnlm", ["decoder.window=0", "another decoder.window"]),
    ("decoder", "bow", "model=nvdm decoder.mixture=words", ["decoder.mixture=words", "decoder.mixture=logits"]),
    (
        "decoder",
        "matcher",
        "model=nasm data=wikiqa decoder.attention=false",
        ["attention=false", "try  decoder"],
    ),
    ("decoder", "lstm", "decoder.dropout_in=1", ["decoder.dropout_in=1: must be at least 0 and below 1"]),
    ("model", "rnnlm", "decoder.inputless=true", ["model=mine", "only words to predict from"]),
    ("latent", "none", "model=rnnlm encoder=lstm", ["latent=mine", "read the text in vain"]),
    ("latent", "point", "model=ae anneal.beta=0.5", ["latent=mine", "anneal.beta=0.5", "anneal.beta=1.0"]),
    ("anneal", "constant", "model=ae anneal.beta=0.5", ["anneal.beta=0.5", "weighs it"]),
    ("data", "snips", "data.balance=0.5", ["data.balance=0.5", "looks at no label", "model=m2"]),
    ("data", "snips", "data.batch_size=0", ["data.batch_size=0: must be at least 1"]),
    ("optimizer", "adam", "trainer.precision=16-mixed", ["optimizer.fused=true", "trainer.precision=bf16-mixed"]),
    ("optimizer", "sgd", "optimizer.decay.factor=1", ["optimizer.decay.factor=1: must be above 0 and below 1"]),
]


@pytest.mark.parametrize(("group", "option", "typed", "says"), COPIES, ids=[f"{o} {t}" for _, o, t, _ in COPIES])
def test_an_option_of_the_users_own_is_refused_by_what_it_declares(
    group: str, option: str, typed: str, says: list[str], own: Own, composed: Compose
):
    # what a choice brings comes before the copy, which stands for it
    others = [word for word in typed.split() if "." not in word.partition("=")[0]]
    single = [word for word in typed.split() if word not in others]
    with pytest.raises(ConfigError) as caught:
        checked(composed(own(group, option), *others, f"{group}=mine", *single))
    for words in says:
        assert words in str(caught.value)


def test_a_copy_without_the_declarations_is_not_refused(own: Own, composed: Compose, tmp_path: Path):
    path = own("regularizer", "control_kl")
    file = tmp_path / "regularizer" / "mine.yaml"
    node = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({"mine": {k: v for k, v in node["mine"].items() if k not in DECLARED}}))
    checked(composed(path, "regularizer=mine", "anneal.beta=0.5"))


def test_no_rule_asks_for_the_name_of_an_option():
    groups = ("model", "encoder", "decoder", "latent", "estimator", "anneal", "regularizer", "init", "optimizer")
    names = {file.stem for group in groups for file in (MENU / group).glob("*.yaml")} - TRAITS.keys()
    typed = {f"{group}={name}" for group in groups for name in names}
    for file in Path(refusals.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare):
                words = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
                assert not words & (names | typed), f"{file.name}:{node.lineno}"


FORMS: list[tuple[str, Any, str]] = [
    ("requires", ["rates"], "there is no trait rates"),
    ("provides", ["rates"], "there is no trait rates"),
    ("requires", "rate", "must be a list of names"),
    ("starts_from", {"run": 1}, "must be a list of names"),
    ("requires_if", ["rate"], "must be a mapping: trait → condition"),
    ("requires_if", {"rate": "dim"}, "must be a mapping: trait → condition"),
    ("requires_if", {"rates": {"dim": 1}}, "there is no trait rates"),
    ("provides_if", {"rate": {"dim": ">= one"}}, "is no limit"),
    ("owns_if", {"beta": 1}, "must be a mapping: trait → condition"),
    ("because", {"rate": 1}, "must be a mapping: trait → text"),
    ("because", {"rates": "it does"}, "there is no trait rates"),
    ("limits", {"dim": 1}, "must be a mapping: key → limit"),
    ("limits", {"dim": "=> 1"}, "is no limit"),
    ("one_of", {"dim": "a"}, "must be a mapping: key → list of words"),
    ("conflicts", {"with": "rate"}, "must be a list of mappings"),
    ("conflicts", [{"with": "rate"}], "a conflict needs 'because'"),
]
CONFLICT: dict[str, Any] = {"because": "has none", "with": "point", "which": "is one", "try": ["latent=gaussian"]}
FORMS += [
    ("conflicts", [CONFLICT | change], says)
    for change, says in (
        ({"with": "points"}, "there is no trait points"),
        ({"with": {"seed": "=> 1"}}, "is no limit"),
        ({"unless": "points"}, "there is no trait points"),
        ({"try": "latent=gaussian"}, "'try' must be a list"),
        ({"which": 1}, "'because' and 'which' must be texts"),
        ({"when": {"dim": 1}}, "and no 'when'"),
        ({"if": "dim"}, "'if' must be a mapping"),
        ({"because": "is {width} wide"}, "must name a key of the option"),
        ({"because": "is {} wide"}, "must name a key of the option"),
    )
]


@pytest.mark.parametrize(("key", "said", "says"), FORMS, ids=[f"{key} {says}" for key, _, says in FORMS])
def test_a_declaration_that_cannot_be_read_is_told(key: str, said: Any, says: str, composed: Compose):
    config = copy.deepcopy(composed())
    OmegaConf.set_struct(config, False)
    config.latent[key] = said
    with pytest.raises(ConfigError, match=rf"latent\.{key}=") as caught:
        plain(config)
    assert says in str(caught.value)
    assert f"try  leave out latent.{key}" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("limits", {"dims": ">= 1"}),
        ("one_of", {"kind": ["a"]}),
        ("ignores", ["dims"]),
        ("requires_if", {"rate": {"dims": 1}}),
        ("conflicts", [CONFLICT | {"if": {"dims": 1}}]),
    ],
)
def test_a_declaration_speaks_of_keys_that_the_option_has(key: str, said: Any, composed: Compose):
    config = composed()
    raw: Any = OmegaConf.to_container(config, resolve=False)
    keys.check(raw, dict(config.hydra.runtime.choices), MENU)
    raw["latent"][key] = said
    with pytest.raises(ConfigError, match=rf"latent\.{key}: the option has no (dims|kind)"):
        keys.check(raw, dict(config.hydra.runtime.choices), MENU)


@pytest.mark.parametrize(
    ("condition", "there", "kept"),
    [
        ({}, {}, True),
        ({"tie": True}, {"tie": True}, True),
        ({"tie": True}, {"tie": False}, False),
        ({"tie": True}, {}, False),
        ({"per": "dimension or batch"}, {"per": "batch"}, True),
        ({"per": "dimension or batch"}, {"per": "example"}, False),
        ({"beta": "< 1 or > 1"}, {"beta": 1.0}, False),
        ({"beta": "< 1 or > 1"}, {"beta": 0.5}, True),
        ({"a": ">= 1", "b": "null"}, {"a": 2, "b": None}, True),
        ({"a": ">= 1", "b": "null"}, {"a": 2, "b": 0}, False),
    ],
)
def test_a_condition_holds_where_every_key_keeps_its_limit(condition: dict, there: dict, kept: bool):
    assert holds(condition, there) is kept


def test_a_conflict_is_with_what_another_option_offers_unless_a_third_makes_it_good():
    node = {"dim": 3, "conflicts": [CONFLICT | {"because": "is {dim} wide at {self}", "unless": "states"}]}
    this = Option("encoder", "encoder", "encoder=mine", node)
    that = Option("latent", "latent", "latent=point", {"provides": ["point"]})
    third = Option("decoder", "decoder", "decoder=x", {"provides": ["states"]})
    conflicts.check({}, [this])
    conflicts.check({}, [this, that, third])
    with pytest.raises(Refusal) as caught:
        conflicts.check({}, [this, that])
    assert str(caught.value).splitlines() == [
        "these choices do not go together",
        "  encoder=mine   is 3 wide at encoder",
        "  latent=point   is one",
        "try  latent=gaussian",
    ]


def test_a_conflict_may_be_with_any_option_of_a_group_with_several():
    this = Option("model", "model", "model=mine", {"conflicts": [CONFLICT | {"with": "regularizer"}]})
    other = Option("latent", "latent", "latent=regularizer", {})
    conflicts.check({}, [this, other])
    remedy = Option("regularizer", "regularizer.mine", "regularizer=mine", {})
    with pytest.raises(Refusal, match="regularizer=mine   is one"):
        conflicts.check({}, [this, other, remedy])
    declarations.check({"model": {"conflicts": [CONFLICT | {"with": "regularizer"}]}}, TRAITS)
    with pytest.raises(ConfigError, match="there is no trait latent"):
        declarations.check({"model": {"conflicts": [CONFLICT | {"with": "latent"}]}}, TRAITS)


def test_a_value_that_a_conflict_speaks_of_is_first_judged_by_itself(composed: Compose):
    with pytest.raises(ConfigError, match=r"decoder\.hidden=wide: must be a whole number"):
        checked(composed("decoder.hidden=wide", "decoder.tie=true"))


def test_what_is_declared_is_not_handed_to_a_class():
    declared: dict[str, Any] = {key: [] for key in DECLARED}
    assert arguments({"a": 1, "b": {"c": 2, "limits": {}}, **declared}) == {"a": 1, "b": {"c": 2}}


@pytest.mark.parametrize("file", sorted(MENU.glob("*/*.yaml")), ids=lambda file: f"{file.parent.stem} {file.stem}")
def test_every_declaration_of_the_menu_can_be_read(file: Path):
    declarations.check({file.parent.stem: values.yaml(file)[1]}, TRAITS)


def test_a_key_that_a_preset_sets_is_taken_out_with_a_tilde(composed: Compose):
    with pytest.raises(ConfigError, match=r"encoder.norm=false: there is no such key.*\ntry  ~encoder.norm$"):
        checked(composed("experiment=remedies", "encoder=transformer", "decoder=transformer"))
    checked(composed("experiment=remedies", "encoder=transformer", "decoder=transformer", "~encoder.norm"))
    with pytest.raises(ConfigError, match=r"leave out encoder.normx$"):
        checked(composed("experiment=remedies", "+encoder.normx=3"))
