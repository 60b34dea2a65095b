from __future__ import annotations

import io
import subprocess
import sys

import pytest
from rich.console import Console
from tabled import grouped

from lvexp.report.table import show, summary


def printed(draw, width, colour=False):
    file = io.StringIO()
    draw(Console(file=file, width=width, force_terminal=colour, color_system="standard" if colour else None))
    return file.getvalue()


def shown(result, width=80, **scores):
    """A result with these scores, as it is printed."""
    result["test"] |= scores
    result["groups"] = grouped(result["test"])
    return printed(lambda console: show(result, console), width)


def row(text, name):
    """The line of a figure, without the frame."""
    return next(line.strip("│ ") for line in text.splitlines() if line.strip("│ ").startswith(name))


def test_every_figure_with_its_unit_and_how_it_was_measured(result):
    text = printed(lambda console: show(result, console), 80)
    for name, *parts in [
        ("−ELBO", "37.80", "nats/text", "β = 1"),
        ("distortion D", "34.20", "nats/text"),
        ("rate R", "3.60", "nats/text"),
        ("perplexity", "41.25", "per token", "6,812 tokens", "<eos>"),
        ("NLL ± s.e.", "37.12 ±0.31", "nats/text", "importance-weighted, k = 100"),
        ("mutual information", "2.83", "nats", "N = 700", "ln N = 6.55"),
        ("in minibatches", "2.11", "of 32"),
        ("active units", "5 of 32", "> 0.01"),
        ("reconstruction", "12.4", "BLEU", "690 texts"),
        ("distinct-1", "0.31", "100 samples"),
        ("distinct-2", "0.74"),
        ("self-BLEU", "22.2"),
    ]:
        for part in parts:
            assert part in row(text, name)
    assert "38.34" in text
    assert "✓ healthy: rate 3.60 nats, 5/32 active units, MI 2.83" in text
    assert "done · seed 3 · commit 012345678 · 2 min · 7,123 tokens/s" in text


@pytest.mark.parametrize(("width", "used"), [(60, 60), (80, 80), (200, 80)])
def test_it_fits_the_terminal_and_has_no_escapes_without_colour(result, width, used):
    text = printed(lambda console: show(result, console), width)
    assert max(map(len, text.splitlines())) == used
    assert "importance-weighted, k =" in text, "no word is cut"
    assert "commit 012345678" in text
    assert "\x1b" not in text
    assert "…" not in text


def test_the_folder_is_never_cut(result):
    result["folder"] = "/outputs/" + "very/long/" * 20 + "run"
    assert result["folder"] in printed(lambda console: show(result, console), 80)


def test_figures_that_do_not_exist_say_why(language_model):
    text = printed(lambda console: show(language_model, console), 80)
    assert row(text, "rate R").split(maxsplit=2)[-1].startswith("–")
    assert "no latent variable" in row(text, "rate R")
    for name in ("Use of z", "mutual information", "active units", "reconstruction"):
        assert name not in text, "what does not apply to the model is not printed"
    assert "exact, 701 texts" in row(text, "NLL")
    assert "±" not in text
    assert "None" not in text
    text = shown(language_model, latent_dim=16, rate=None, elbo=None, nll=None, nll_kind=None)
    for name in ("−ELBO", "rate R", "NLL", "distinct-1"):
        assert "no prior" in row(text, name)


def test_a_mutual_information_near_its_cap_says_so(result):
    assert "near its cap" in shown(result, mi_near_cap=True)


def test_a_mutual_information_summed_over_z_says_so(result):
    text = shown(result, mi_exact=True, mi_cap=1.95)
    assert "N = 700, exact, at most 1.95" in row(text, "mutual information")
    assert "ln N" not in text


@pytest.mark.parametrize(
    ("verdict", "sign", "code"),
    [
        ("healthy: rate 3.60 nats", "✓", "1;32"),
        ("weak: rate 0.4 nats", "!", "1;33"),
        ("ignores z: rate 3 nats", "✗", "1;31"),
        ("collapsed: rate 0.02 nats", "✗", "1;31"),
        ("diverged: elbo nan", "✗", "1;31"),
        ("language model: exact NLL", "", "1;36"),
    ],
)
def test_the_verdict_stands_out(result, verdict, sign, code):
    result["verdict"] = verdict
    line = f"{sign} {verdict}".strip()
    assert f"\x1b[{code}m{line}\x1b[0m" in printed(lambda console: show(result, console), 80, colour=True)
    assert line in printed(lambda console: show(result, console), 80)


def test_a_result_with_little_in_it_is_shown():
    text = printed(lambda console: show({"run_id": "x", "test": {}}, console), 80)
    assert "x on the test set" in text
    assert "None" not in text
    assert "Figures" not in text


def test_a_result_of_an_older_version_shows_the_figures_that_it_knows(result):
    result["groups"] = [("Topics", [("NPMI", "0.12", "", "of both")])]
    result["test"] |= {"mi_exact": False, "rate": None, "nll_iw": -0.0001, "tokens": 6812}
    text = printed(lambda console: show(result, console), 80)
    assert text.index("Topics") < text.index("Figures")
    assert row(text, "NPMI").split() == ["NPMI", "0.12", "of", "both"]
    known = {line.split()[0]: line.split()[1:] for line in (each.strip("│ ") for each in text.splitlines()) if line}
    assert known["elbo"] == ["-37.80"]
    assert known["tokens"] == ["6,812"]
    assert known["nll_iw"] == ["0.00"]
    assert not known.keys() & {"mi_exact", "rate", "nll_kind"}, "no figure, or none"
    assert "Figures" not in shown(result), "a new one has them in its table"


@pytest.fixture
def jobs(result, language_model):
    shared = ["data=snips", "seed=3"]
    return [
        {**result, "overrides": [*shared, "anneal=linear", "regularizer=[free_bits,word_dropout]"]},
        {**language_model, "status": "skipped", "overrides": [*shared, "model=rnnlm"], "seconds": 7300.0},
        {
            "number": 7,
            "status": "refused",
            "overrides": shared,
            "message": "these choices do not go together\n  a=b   has none\n  c=d   needs one\ntry  e=f",
            "test": None,
        },
        {
            "status": "failed",
            "overrides": [*shared, "latent.dim=[1]"],
            "message": "ValueError: [dim] is odd",
            "seconds": 3,
        },
        {**result, "status": "resumed", "overrides": shared},
    ]


def test_summary_has_a_row_for_each_job(jobs):
    lines = printed(lambda console: summary(jobs, console), 100).splitlines()
    assert max(map(len, lines)) <= 100
    rows = {line.split()[1]: line for line in lines if line[:5].strip().isdigit() and "jobs:" not in line}
    assert list(rows) == ["done", "skipped", "refused", "failed", "resumed"]
    assert rows["done"].split()[-7:] == ["38.3", "3.60", "2.83", "5", "12.4", "2", "min"]
    assert "37.12" in rows["done"]
    assert "anneal=linear regularizer=[free_bits,word_dropout]" in rows["done"]
    assert rows["skipped"].split()[2:] == ["model=rnnlm", "36.90", "37.0", "–", "–", "–", "–", "2", "h", "02"]
    assert rows["refused"].split()[0] == "7"
    assert "(defaults)" in rows["refused"]
    text = "\n".join(lines)
    assert "5 jobs: 1 done, 1 resumed, 1 skipped, 1 refused, 1 failed" in text
    assert "job 7 refused: a=b has none; c=d needs one" in text
    assert "job 3 failed: ValueError: [dim] is odd" in text
    assert "more" not in text
    assert "in all of them: data=snips seed=3" in text


def test_summary_loses_nothing_where_it_is_narrow(jobs):
    text = printed(lambda console: summary(jobs, console), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "37.12 38.3 3.60 2.83  5 12.4" in text


def test_summary_of_one_job_keeps_its_overrides(jobs):
    assert "anneal=linear" in printed(lambda console: summary(jobs[:1], console), 100)


def test_tables_come_without_torch():
    code = "import sys, lvexp.report.table, lvexp.report.result; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
