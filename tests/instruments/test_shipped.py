"""Every shipped instrument over every kind of model that it applies to."""

from __future__ import annotations

import functools
import math
from pathlib import Path

import kinds
import pytest
import torch
from tabled import grouped

from lvexp.instruments.attributes import Attributes
from lvexp.instruments.base import Context, Instrument, finite_or_none, seeded
from lvexp.instruments.evaluate import Evaluation, Walk, applying, evaluate, shipped
from lvexp.report.findings import Findings
from lvexp.report.text import samples_text

CASES = [
    (part, kind)
    for kind, make in kinds.MODELS.items()
    for model in [make()]
    for part in shipped()
    if part.applies(model)
]


@functools.cache
def evaluated(kind: str) -> Evaluation:
    model = kinds.MODELS[kind]()
    return evaluate(model, kinds.texts(kind), kinds.SETTINGS, kinds.CLASSES, kinds.others(kind))


@functools.cache
def alone(part: type[Instrument], kind: str) -> tuple[dict, Findings]:
    """What an instrument finds that no other stands beside."""
    known = evaluated(kind).scores
    model, splits = kinds.MODELS[kind]().eval(), {**kinds.others(kind), "test": kinds.texts(kind)}
    with torch.no_grad(), seeded(kinds.SETTINGS.seed):
        walk = Walk(Context(model, kinds.SETTINGS, labels=kinds.CLASSES, splits=splits), [part])
        for batch in splits["test"]:
            before = torch.get_rng_state()
            walk.show(model.terms(batch), before)
        measured = walk.measure()
        torch.manual_seed(kinds.SETTINGS.seed)
        return measured, walk.instruments[0].report({**known, **measured})


def test_every_instrument_is_found_and_walked():
    assert {part.__name__ for part, _ in CASES} == {part.__name__ for part in shipped()}
    assert len(shipped()) >= 13
    orders = [part.order for part in shipped()]
    assert orders == sorted(orders)


@pytest.mark.parametrize(("part", "kind"), CASES, ids=[f"{kind}-{part.__name__}" for part, kind in CASES])
def test_what_it_finds_can_be_kept_printed_read_and_drawn(part: type[Instrument], kind: str, tmp_path: Path):
    measured, found = alone(part, kind)
    scores = {**measured, **found.scores}
    for name, score in scores.items():
        assert score is None or isinstance(score, str | int | float), name
        assert not isinstance(score, float) or math.isfinite(score), name
    assert set(measured) - {"nelbo"} <= set(part.figures) or not part.figures
    for title, rows in found.groups:
        assert isinstance(title, str)
        for row in rows:
            assert len(row) == 4
            assert all(isinstance(cell, str) for cell in row), row
    text = samples_text("verdict", found.sections)
    for section in found.sections:
        assert f"{section.title}\n{'=' * len(section.title)}\n" in text
        assert all(len(row) == len(section.columns) for row in section.rows)
    for stem, draw in found.pictures.items():
        draw(tmp_path / f"{stem}.png")
        assert (tmp_path / f"{stem}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("part", "kind"), CASES, ids=[f"{kind}-{part.__name__}" for part, kind in CASES])
def test_its_figures_do_not_depend_on_the_others(part: type[Instrument], kind: str):
    measured, found = alone(part, kind)
    whole = evaluated(kind).scores
    later = {name for other in shipped() if other.order > part.order for name in other.figures}
    own = applying(kinds.MODELS[kind]())[0]
    if own is not part and not own.figures:  # one of a kind of model may better what all models have: more draws
        later |= set(alone(own, kind)[1].scores)
    for name, score in {**measured, **found.scores}.items():
        if name in whole and name not in later:
            assert whole[name] == finite_or_none(score), name


@pytest.mark.parametrize("kind", kinds.MODELS)
def test_a_report_leaves_the_model_and_the_random_numbers_as_they_were(kind: str):
    model = kinds.MODELS[kind]().train()
    next(iter(model.children())).eval()  # a mixture of modes
    modes, values = [part.training for part in model.modules()], [part.clone() for part in model.state_dict().values()]
    torch.manual_seed(3)
    before = torch.get_rng_state()
    found = evaluate(model, kinds.texts(kind), kinds.SETTINGS, kinds.CLASSES, kinds.others(kind))
    assert torch.equal(torch.get_rng_state(), before)
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(*pair) for pair in zip(model.state_dict().values(), values, strict=True))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.is_grad_enabled()
    assert found.scores == evaluated(kind).scores


@pytest.mark.parametrize("kind", kinds.SENTENCES)
def test_the_table_can_be_made_from_the_scores_alone(kind: str):
    scores = evaluated(kind).scores
    assert evaluated(kind).groups == [*grouped(scores), *Attributes.groups(scores)]


@pytest.mark.parametrize("kind", kinds.MODELS)
def test_a_language_model_and_the_like_have_no_rows_of_what_does_not_apply(kind: str):
    applied = applying(kinds.MODELS[kind]())
    names = {part.__name__ for part in applied}
    model = kinds.MODELS[kind]()
    assert ("Information" in names) is (model.latent.has_prior and "use" in model.reported)
    assert ("mutual information" in str(evaluated(kind).groups)) is ("Information" in names)
    assert ("active units" in str(evaluated(kind).groups)) is (
        "Units" in names and (evaluated(kind).scores["active_units"] is not None or kind == "point")
    )
