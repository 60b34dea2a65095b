"""The report on the terminal: one run's figures, and the closing table of a multirun. Free of torch."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lvexp.report.findings import PARTS, Row
from lvexp.report.verdict import NEGLIGIBLE, ONE_VALUE

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

WIDTH, SUMMARY_WIDTH = 80, 100
NONE = "–"
UNKNOWN = 0.1  # share of <unk> from which it is spoken of
FEW = 0.05  # share of texts from which a likelihood that rests on few draws is spoken of
#: how a verdict begins → its colour and, for terminals without colour, its sign
VERDICTS = {
    "healthy": ("bold green", "✓"),
    "weak": ("bold yellow", "!"),
    "ignores z": ("bold red", "✗"),
    "collapsed": ("bold red", "✗"),
    "diverged": ("bold red", "✗"),
}
STATUSES = {"done": "green", "resumed": "green", "skipped": "dim", "refused": "yellow", "failed": "bold red"}

Scores = Mapping[str, Any]


def show(result: Mapping[str, Any], console: Console) -> None:
    """Prints a run's figures on the test set, each with its unit and how it was measured, and the verdict.

    Args:
        result: as :class:`lvexp.report.result.Result` describes it, with the run's ``folder`` where there is one.
        console: to print on; 80 columns are enough, and colour is not needed.
    """
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    scores: Scores = result.get("test") or {}
    width = min(console.width, WIDTH)
    parts: list[Any] = [_verdict(str(result.get("verdict") or "")), ""]
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(style="dim")
    reported = result.get("reported", PARTS)
    for number, (title, rows) in enumerate([*result.get("groups", ()), *_groups(scores, reported)]):
        if number:
            table.add_row()
        table.add_row(Text(title, style="bold"))
        for name, value, unit, how in rows:
            table.add_row(f"  {name}", Text(value, style="" if value == NONE else "bold"), unit, how)
    parts.append(table)
    for note in _notes(scores, str(result.get("verdict") or "")):
        parts += ["", Text(note, style="yellow")]
    panel = Panel(
        Group(*parts),
        title=Text(f"{result.get('run_id', 'run')} on the test set"),
        title_align="left",
        subtitle=Text(_footer(result)),
        subtitle_align="left",
        width=width,
        padding=(1, 1),
    )
    console.print(panel, highlight=False)
    if result.get("folder"):
        # never wrapped or cut: it is there to be copied
        console.print(Text(f"all of it in  {result['folder']}"), soft_wrap=True, highlight=False)


def _groups(scores: Scores, reported: Collection[str]) -> list[tuple[str, list[Row]]]:
    """Title and rows of the group of each reported part of the usual report."""
    # what a model lacks, it lacks for one of two reasons
    lacks = "no latent variable" if scores.get("latent_dim") is None else "no prior"
    elbo, exact = scores.get("elbo"), scores.get("nll_kind") == "exact"

    bound = "exact: the NLL" if exact else "D + R with β = 1"

    def row(name: str, value: str, unit: str, how: str) -> Row:
        return (name, value, unit, how) if value != NONE else (name, NONE, "", lacks)

    def of(key: str, form: str = ".2f") -> str:
        return _number(scores.get(key), form)

    tokens, texts, rebuilt = of("tokens", ",d"), of("sentences", ",d"), of("recon_bleu_sentences", ",d")
    summed = scores.get("nll_kind") == "exact marginal"
    nll, perplexity = ("nll", "ppl") if exact or scores.get("nll_iw") is None else ("nll_iw", "ppl_iw")
    perplexity = "ppl_marginal" if summed else perplexity
    error, units = _error(scores, "nll_iw_se"), scores.get("active_units")
    k, mean = scores.get("iw_samples"), scores.get("iw_draws")
    draws = f"k = {k}" if mean is None or mean == k else f"k ≤ {k}, mean {mean:.0f}"
    near = "near its cap," if scores.get("mi_near_cap") else "at most"
    cap = f", {near} ln N = {of('mi_cap')}" if scores.get("mi_cap") is not None else ""
    cap = f", exact, at most {of('mi_cap')}" if scores.get("mi_exact") else cap
    spelled = scores.get("text_unit") == "characters"
    by, pair, unit = (", by characters", "character", "characters") if spelled else ("", "word", "words")
    reconstruction = [row("reconstruction", of("recon_bleu", ".1f"), "BLEU", f"{rebuilt} texts{by or ', greedy'}")]
    groups = {
        "bound": (
            "Bound",
            [
                row("−ELBO", _number(None if elbo is None else -elbo, ".2f"), "nats/text", bound),
                row("distortion D", of("distortion"), "nats/text", "−log p(x)" if exact else "−E log p(x|z)"),
                row("rate R", of("rate"), "nats/text", "KL of q(z|x) from p(z)"),
                *_floor(scores),
                row("perplexity", of("ppl"), "per token", f"{tokens} tokens, <eos> too"),
                *_refined(scores),
            ],
        ),
        "likelihood": (
            "Likelihood",
            [
                row(
                    "NLL" if exact or summed else "NLL ± s.e.",
                    of(nll) + error,
                    "nats/text",
                    "exact: the sum over all z"
                    if summed
                    else f"exact, {texts} texts"
                    if exact
                    else f"importance-weighted, {draws}",
                ),
                *effective(scores),
                row("perplexity", of(perplexity), "per token", "from this NLL"),
            ],
        ),
        "use": (
            "Use of z",
            [
                row(
                    "mutual information", of("mi") + _error(scores, "mi_se", 1), "nats", f"N = {of('mi_n', ',d')}{cap}"
                ),
                row("  in minibatches", of("mi_batch"), "nats", f"of {of('mi_batch_size', 'd')}, as papers print it"),
                *_codes(scores),
                *(
                    []
                    if units is None and scores.get("code_perplexity") is not None
                    else [
                        row(
                            "active units",
                            NONE if units is None else f"{units} of {scores.get('latent_dim')}",
                            "",
                            "variance of mean > 0.01",
                        )
                    ]
                ),
                *_probe(scores),
                *(reconstruction if "text" in reported else ()),
            ],
        ),
        "text": (
            "Text",
            [
                row("distinct-1", of("distinct_1"), "of 1", f"{unit} of {of('samples', ',d')} samples"),
                row("distinct-2", of("distinct_2"), "of 1", f"{pair} pairs; 1: no repetition"),
                row(
                    "self-BLEU",
                    of("self_bleu", ".1f"),
                    "BLEU",
                    f"samples{by}" if spelled else "samples against each other",
                ),
                *_unknown(scores),
            ],
        ),
    }
    return [group for part, group in groups.items() if part in reported]


def _error(scores: Scores, key: str, digits: int = 2) -> str:
    """A standard error, to be put behind its figure."""
    return f" ±{scores[key]:.{digits}g}" if scores.get(key) else ""


def effective(scores: Scores) -> list[Row]:
    """On how many draws an importance-weighted estimate rests."""
    if scores.get("iw_effective") is None:
        return []
    few = float(scores["iw_few"])
    said = "mean over texts" if few < FEW else f"below 10 for {few:.0%} of texts: their NLL is too large"
    return [("  effective draws", _number(scores["iw_effective"], ".1f"), f"of {scores['iw_samples']}", said)]


def _codes(scores: Scores) -> list[Row]:
    """What only a discrete z has."""
    if scores.get("code_perplexity") is None:
        return []
    perplexity = _number(scores["code_perplexity"], ".2f")
    # where z tells nothing, modes may differ from text to text all the same
    idle = scores.get("mi") is not None and scores["mi"] < NEGLIGIBLE and scores["code_perplexity"] >= ONE_VALUE
    name, how = ("modes", "perplexity; they tell nothing") if idle else ("values in use", "perplexity of the modes")
    rows = [(name, perplexity, f"of {scores['code_values']}", how)]
    if scores.get("cluster_accuracy") is not None:
        agreement = f"NMI {scores['cluster_nmi']:z.2f}, ARI {scores['cluster_ari']:z.2f}"
        rows.append(("clusters as labels", _number(scores["cluster_accuracy"], ".1%"), "matched", agreement))
    if scores.get("class_accuracy") is not None:
        rows.append(("class", _number(scores["class_accuracy"], ".1%"), "right", "argmax q(c|x) is the label"))
    return rows


def _floor(scores: Scores) -> list[Row]:
    """Where a remedy holds the rate."""
    if scores.get("rate_floor") is None:
        return []
    return [("  floor", _number(float(scores["rate_floor"]), ".2f"), "nats/text", f"set by {scores['rate_floor_by']}")]


def _probe(scores: Scores) -> list[Row]:
    """What a linear classifier reads off z of the labels."""
    if scores.get("probe_accuracy") is None:
        return []
    majority = f"labels; most frequent: {scores['majority_accuracy']:.1%}"
    return [("linear probe", _number(scores["probe_accuracy"], ".1%"), "right", majority)]


def _unknown(scores: Scores) -> list[Row]:
    """How much of the texts the vocabulary does not know."""
    if scores.get("unk") is None:
        return []
    drawn = "" if scores.get("samples_unk") is None else f"; samples {scores['samples_unk']:.1%}"
    unit = scores.get("text_unit") or "words"
    return [("<unk>", _number(scores["unk"], ".1%"), "", f"of test {unit}{drawn}")]


def _notes(scores: Scores, verdict: str) -> list[str]:
    """What a reader of the figures should know beside them."""
    notes = []
    if verdict.startswith("healthy"):
        notes.append(
            "healthy means that z is used; for how good the model is, compare its NLL with that of model=rnnlm."
        )
    if (scores.get("unk") or 0.0) >= UNKNOWN:
        notes.append(
            f"{scores['unk']:.0%} of the test set is <unk>, which is easy to predict and to copy: NLL, perplexity and "
            "BLEU look better than they are. Try data.vocabulary.max_size=…, min_count=1 or kind=bpe"
        )
    return notes


def _refined(scores: Scores) -> list[Row]:
    """The bound at refined posteriors, where there is one."""
    if scores.get("elbo_refined") is None:
        return []
    rate = f"text by text; R = {_number(scores.get('rate_refined'), '.2f')}"
    return [("−ELBO, refined", _number(-scores["elbo_refined"], ".2f"), "nats/text", rate)]


def _verdict(verdict: str) -> Text:
    from rich.text import Text

    for start, (style, sign) in VERDICTS.items():
        if verdict.startswith(start):
            return Text(f"{sign} {verdict}", style=style)
    return Text(verdict, style="bold cyan")


def _footer(result: Mapping[str, Any]) -> str:
    parts = [str(result["status"])] if result.get("status") else []
    if result.get("seed") is not None:
        parts.append(f"seed {result['seed']}")
    if result.get("commit"):
        # "+" tells of files that differ from the commit
        commit = str(result["commit"])
        parts.append(f"commit {commit[:9]}" + ("+" if commit.endswith("+") and len(commit) > 9 else ""))
    if result.get("seconds") is not None:
        parts.append(_duration(float(result["seconds"])))
    if result.get("tokens_per_second") is not None:
        parts.append(f"{result['tokens_per_second']:,.0f} tokens/s")
    return " · ".join(parts)


def summary(jobs: Sequence[Mapping[str, Any]], console: Console) -> None:
    """Prints the closing table of a multirun: a row for each job, whatever became of it.

    Args:
        jobs: results in order, each with ``number`` where it is not its place; ``message`` says why a job was refused
            or failed.
        console: to print on; 100 columns are enough.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    common = _common([list(job.get("overrides") or []) for job in jobs])
    table = Table(box=box.SIMPLE_HEAD, width=min(console.width, SUMMARY_WIDTH), padding=0)
    table.add_column("job", justify="right", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("overrides", ratio=1, overflow="fold")
    for name in ("NLL", "ppl", "R", "MI", "AU", "BLEU", "time"):
        table.add_column(name, justify="right", no_wrap=True)
    for place, job in enumerate(jobs):
        scores: Scores = job.get("test") or {}
        status = str(job.get("status", NONE))
        own = " ".join(override for override in job.get("overrides") or [] if override not in common)
        told = Text(own or "(defaults)", style="" if own else "dim")
        seconds = job.get("seconds")
        perplexities = (scores.get(key) for key in ("ppl_marginal", "ppl_iw", "ppl"))
        perplexity = next((value for value in perplexities if value is not None), None)
        table.add_row(
            str(job.get("number", place)),
            Text(status, style=STATUSES.get(status, "")),
            told,
            _number(scores.get("nll"), ".2f"),
            _number(perplexity, ".1f"),
            _number(scores.get("rate"), ".2f"),
            _number(scores.get("mi"), ".2f"),
            _number(scores.get("active_units"), "d"),
            _number(scores.get("recon_bleu"), ".1f"),
            NONE if seconds is None else _duration(float(seconds)),
        )
    console.print(table, highlight=False)
    counted = Counter(str(job.get("status", NONE)) for job in jobs)
    known = [status for status in STATUSES if counted[status]]
    line = f"{len(jobs)} jobs: " + ", ".join(f"{counted[status]} {status}" for status in known)
    console.print(Text(line), highlight=False)
    for place, job in enumerate(jobs):
        if job.get("status") in ("refused", "failed") and job.get("message"):
            line = f"job {job.get('number', place)} {job['status']}: {_gist(str(job['message']))}"
            console.print(Text(line, style=STATUSES[job["status"]]), highlight=False)
    if common:
        console.print(Text(f"in all of them: {' '.join(common)}", style="dim"), highlight=False)
    console.print(Text("NLL, R and MI in nats per text, on the test set", style="dim"), highlight=False)


def _common(overrides: Sequence[Sequence[str]]) -> list[str]:
    """What every job was given; nothing where there is one job only."""
    if len(overrides) < 2:
        return []
    return [override for override in overrides[0] if all(override in others for others in overrides[1:])]


def _gist(message: str) -> str:
    """What was wrong, in one line, without the advice."""
    wrong = itertools.takewhile(lambda line: not line.startswith(("try", "or ")), message.strip().splitlines())
    lines = [" ".join(line.split()) for line in wrong]
    return lines[0] if len(lines) == 1 else "; ".join(lines[1:]) or lines[0]


def _number(value: Any, form: str) -> str:
    """With z, what rounds to zero has no minus."""
    return NONE if value is None else f"{value:{'z' if isinstance(value, float) else ''}{form}}"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d}"
