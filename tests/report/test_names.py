"""Names of groups of runs."""

from __future__ import annotations

import pytest
from results import result

from lvexp.report.names import names


def named(*typed: list[str], **more: object) -> list[str]:
    groups = {f"svae-{number}": result(str(number), 1, words) | more for number, words in enumerate(typed)}
    return list(names(groups).values())


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        # what all share is left out, and so is where it ran
        ([["init=uniform", "arm=linear", "logger=csv"], ["init=uniform", "model=ae"]], ["linear", "model=ae"]),
        ([["arm=linear", "name=a"], ["arm=vanilla", "name=b"]], ["linear", "vanilla"]),
        ([["paths.outputs=a", "trainer.threads=1", "hydra/launcher=joblib"]], ["svae"]),
        # a default that another one replaces is named
        ([[], ["regularizer=none"]], ["regularizer=free_bits", "regularizer=none"]),
        ([["model=svae", "anneal=linear"], ["model=svae"]], ["anneal=linear", "anneal=constant"]),
        ([["model=svae"], ["model=svae", "latent.dim=4"]], ["svae", "latent.dim=4"]),
        (
            [["anneal=linear"], ["anneal=linear", "regularizer=mmd"], ["regularizer=mmd"]],
            ["anneal=linear regularizer=free_bits", "anneal=linear regularizer=mmd", "regularizer=mmd anneal=constant"],
        ),
        # short words
        ([["regularizer.mmd.weight=3"], ["regularizer.mmd.weight=5"]], ["mmd.weight=3", "mmd.weight=5"]),
        ([["regularizer=[free_bits,mmd]"], ["regularizer=mmd"]], ["regularizer=free_bits,mmd", "regularizer=mmd"]),
        ([["embeddings.path=/x/y/a"], ["embeddings.path=x/b"]], ["embeddings.path=a", "embeddings.path=b"]),
        # the order of typing does not matter
        ([["latent.dim=4", "anneal=linear"], ["anneal=linear", "latent.dim=8"]], ["latent.dim=4", "latent.dim=8"]),
    ],
)  # fmt: skip
def test_a_name_is_what_sets_a_group_apart(typed: list[list[str]], wanted: list[str]):
    assert named(*typed) == wanted


def test_groups_that_were_typed_alike_differ_in_their_commit_or_id():
    assert named(["arm=linear"], ["arm=linear"], ["arm=beta"]) == ["linear (0)", "linear (1)", "beta"]
    groups = {f"svae-{commit}": result(commit, 1, ["arm=linear"]) | {"commit": commit * 9} for commit in "ab"}
    assert list(names(groups).values()) == ["svae @aaaaaaa", "svae @bbbbbbb"]
