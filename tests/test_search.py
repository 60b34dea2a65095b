"""Searches that are cut off and continued, and jobs that launchers run."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import Command, Compose, Said, checked
from omegaconf import OmegaConf

from lvexp import __main__ as entry
from lvexp.__main__ import MENU
from lvexp.checks import mistakes
from lvexp.errors import ConfigError, Refusal
from lvexp.job import study

SEARCHES = sorted(path.stem for path in (MENU / "search").glob("*.yaml"))
TRIALS = 20


def installed(plugin: str) -> bool:
    return bool(importlib.util.find_spec("hydra_plugins")) and bool(
        importlib.util.find_spec(f"hydra_plugins.hydra_{plugin}")
    )


optuna_there = pytest.mark.skipif(not installed("optuna_sweeper"), reason="the extra search is not installed")


@optuna_there
@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_composes_and_names_figures_and_directions(search: str, composed: Compose):
    config = composed(f"search={search}")
    checked(config)
    assert config.name == f"search_{search}"
    figures = config.objective if OmegaConf.is_list(config.objective) else [config.objective]
    directions = config.hydra.sweeper.direction
    assert len(figures) == (len(directions) if OmegaConf.is_list(directions) else 1)


def space(search: str) -> dict[str, list[object]]:
    """What a search varies, with all values of a choice and both ends of an interval."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep

    params = OmegaConf.load(MENU / "search" / f"{search}.yaml").get("hydra", {}).get("sweeper", {}).get("params", {})
    found: dict[str, list[object]] = {}
    for key, text in params.items():
        values = OverridesParser.create().parse_override(f"{key}={text}").value()
        if isinstance(values, IntervalSweep):
            found[key] = [values.start, values.end]
        else:
            assert isinstance(values, ChoiceSweep)
            found[key] = list(values.list)
    return found


@optuna_there
@pytest.mark.parametrize("search", [search for search in SEARCHES if space(search)])
def test_no_value_of_a_space_is_refused(search: str, composed: Compose):
    varied = space(search)
    assert "optimizer.lr" in varied
    for turn in range(max(map(len, varied.values()))):
        config = composed(f"search={search}", *(f"{key}={at[turn % len(at)]}" for key, at in varied.items()))
        checked(config)


@optuna_there
@pytest.mark.parametrize(
    ("words", "option"),
    [
        (["search=svae", "latent=point"], "latent=point"),
        (["search=rnnlm", "latent=gaussian"], "latent=gaussian"),
        (["search=discrete", "estimator=pathwise"], "estimator=pathwise"),
        (["search=documents", "encoder=lstm"], "encoder=lstm"),
        (["search=answers", "data=snips"], "data=snips"),
        (["search=translation", "model=svae", "decoder=attentive"], "decoder=attentive"),
    ],
)
def test_a_search_of_what_does_not_go_together_is_refused(words: list[str], option: str, composed: Compose):
    with pytest.raises(Refusal, match=option):
        checked(composed(*words))


@optuna_there
@pytest.mark.parametrize("model", ["nvdm", "prodlda", "neurallda"])
def test_document_models_share_a_search(model: str, composed: Compose):
    config = composed(
        "search=documents", f"model={model}", *(f"{key}={at[0]}" for key, at in space("documents").items())
    )
    checked(config)
    assert config.hydra.runtime.choices.model == model


def test_a_missing_extra_is_named():
    said = mistakes.explain(
        ValueError("Could not find 'hydra/sweeper/optuna'\n\nAvailable options in 'hydra/sweeper':\n\tbasic")
    )
    assert said == "hydra/sweeper=optuna: it is not installed\ntry  pip install 'lvexp[search]' | hydra/sweeper=basic"


@pytest.mark.parametrize(
    ("error", "option"),
    [
        (RuntimeError('Could not detect "srun", are you indeed on a slurm cluster?'), "hydra/launcher=submitit_slurm"),
        (ConnectionError("Failed to connect to Ray cluster at 10.0.0.1:1"), "hydra.launcher.ray.init.address"),
        (ValueError("object_store_memory must not be provided."), "+hydra.launcher.ray.init.object_store_memory=null"),
    ],
)
def test_a_launcher_without_its_cluster_is_explained(
    error: Exception, option: str, run_main: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
):
    def fails() -> None:
        raise error

    monkeypatch.setattr(entry, "_job", fails)
    said = run_main(entry.main, "-m", "seed=1,2")
    assert (said.code, said.err.count("\n")) == (2, 2)
    assert option in said.err
    assert "\ntry  " in said.err


def test_other_errors_of_a_job_are_not_taken_for_those_of_a_launcher(
    run_main: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
):
    def fails() -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(entry, "_job", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        run_main(entry.main, "-m", "seed=1,2")


@pytest.mark.skipif(
    not installed("submitit_launcher") or shutil.which("srun") is not None, reason="needs submitit, and no Slurm"
)
def test_slurm_is_refused_where_there_is_none(lvexp: Command):
    said = lvexp("-m", "hydra/launcher=submitit_slurm", "seed=1,2")
    assert said.returncode == 2
    assert "it has no srun\ntry  hydra/launcher=submitit_local" in said.stderr
    assert "Traceback" not in said.stderr


def test_other_sweepers_are_left_alone():
    node = OmegaConf.create({"_target_": "x", "max_batch_size": None})
    study.resume(node)
    assert node == {"_target_": "x", "max_batch_size": None}


@optuna_there
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of SQLAlchemy 1.4, on 2.0
def test_a_study_continues_with_what_was_cut_off(tmp_path: Path):
    import optuna

    storage = f"sqlite:///{tmp_path / 'study.db'}"
    node = OmegaConf.create({"study_name": "s", "storage": storage, "n_trials": 5, "sampler": {"seed": 3}})
    OmegaConf.set_readonly(node, True)
    study.resume(node)
    assert node.n_trials == 5, "there is nothing to continue"
    kept = optuna.create_study(study_name="s", storage=storage)
    for number in range(3):
        trial = kept.ask()
        asked = trial.suggest_float("lr", 0, 1)
        if number < 2:
            kept.tell(trial, 1.0)
    study.resume(node)
    assert (node.n_trials, node.sampler.seed) == (3, 7)
    assert kept.ask().suggest_float("lr", 0, 1) == asked, "the trial that was cut off comes first"


@optuna_there
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_study_takes_no_trials_of_another_command(tmp_path: Path):
    import optuna

    storage = f"sqlite:///{tmp_path / 'study.db'}"
    node = OmegaConf.create({"study_name": "s", "storage": storage, "n_trials": 5, "sampler": {"seed": 3}})
    kept = optuna.create_study(study_name="s", storage=storage)
    trial = kept.ask()
    for key, value in (("data", "20news"), ("logger", "wandb"), ("trainer.threads", "1"), ("seed", "1")):
        trial.set_user_attr(key, value)  # as the plugin does with what is fixed
    words = ["data=bbc", "seed=1", "optimizer.lr=interval(0,1)"]
    kept.tell(trial, 1.0)
    with pytest.raises(ConfigError, match=r"^name=s: this study has finished trials, with data=20news\n"):
        study.resume(node, words)
    with pytest.raises(ConfigError, match=r"data=20news, without latent\.dim=3, without objective=mi\n"):
        study.resume(node, ["seed=1", "latent.dim=3", "objective=mi"])
    assert node.n_trials == 5
    study.resume(node, ["data=20news", "seed=1", "logger=csv", "latent.dim=choice(2,3)"])
    assert node.n_trials == 4


@optuna_there
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.slow
def test_a_study_of_twenty_trials_killed_and_continued(small: list[str], tmp_path: Path):
    import optuna

    storage = f"sqlite:///{tmp_path / 'outputs' / 'search_pareto' / 'study.db'}"
    typed = ["-m", "search=pareto", *(word for word in small if "latent.dim" not in word), "trainer.max_epochs=1"]
    command = [sys.executable, "-m", "lvexp", *typed, f"paths.outputs={tmp_path / 'outputs'}"]

    def done() -> int:
        return len(list((tmp_path / "outputs").rglob("DONE")))

    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 600
    while done() < 7 and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    os.killpg(job.pid, signal.SIGKILL)
    job.wait()
    assert 7 <= done() < TRIALS
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    trials = optuna.load_study(study_name="search_pareto", storage=storage).trials
    whole = [trial for trial in trials if trial.state.name == "COMPLETE"]
    assert len(whole) == TRIALS
    assert len(trials) <= TRIALS + 1, "at most one was cut off"
    valid = [json.loads(file.read_text())["valid"] for file in (tmp_path / "outputs").rglob("result.json")]
    told = {(figures["nelbo"], figures["mi"]) for figures in valid}
    assert {tuple(trial.values) for trial in whole} == told


@optuna_there
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("search", "told"),
    [("base", "nelbo"), ("discrete", "nelbo"), ("rnnlm", "nelbo"), ("documents", "ppl_document")],
)
@pytest.mark.slow
def test_two_trials_are_told_the_figure_of_the_best_validation(
    search: str, told: str, small: list[str], tmp_path: Path, lvexp: Command
):
    import optuna

    free = [word for word in small if word.partition("=")[0] not in {"latent.dim", *space(search)}]
    more = {"base": ["latent.dim=choice(2,3)"], "documents": ["model.map=0"]}.get(search, [])
    words = ["-m", f"search={search}", *free, *more, "trainer.max_epochs=1", "hydra.sweeper.n_trials=2"]
    done = lvexp(*words)
    assert done.returncode == 0, done.stderr
    storage = f"sqlite:///{tmp_path / 'outputs' / f'search_{search}' / 'study.db'}"
    trials = optuna.load_study(study_name=f"search_{search}", storage=storage).trials
    valid = [json.loads(file.read_text())["valid"] for file in (tmp_path / "outputs").rglob("result.json")]
    assert {trial.value for trial in trials} == {figures[told] for figures in valid}
    other = lvexp(*words, "seed=2")
    assert other.returncode == 2
    assert "has finished trials, without seed=2\ntry  another name=" in other.stderr
    assert "Traceback" not in other.stderr
    assert "jobs" not in other.stdout


LAUNCHERS = {"ray": [], "joblib": ["hydra.launcher.n_jobs=2"], "submitit_local": ["hydra.launcher.timeout_min=15"]}


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.slow
def test_four_jobs_on_a_launcher(launcher: str, small: list[str], tmp_path: Path):
    plugin = f"{launcher.removesuffix('_local')}_launcher"
    if not installed(plugin):
        pytest.skip(f"hydra_{plugin} is not installed")
    typed = ["-m", f"hydra/launcher={launcher}", *LAUNCHERS[launcher], *small, "trainer.max_epochs=1", "seed=1,2,3,4"]
    done = subprocess.run(
        [sys.executable, "-m", "lvexp", *typed, f"paths.outputs={tmp_path / 'outputs'}"],
        capture_output=True, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = [json.loads((file.parent / "result.json").read_text()) for file in (tmp_path / "outputs").rglob("DONE")]
    assert sorted(result["seed"] for result in results) == [1, 2, 3, 4]
    (jobs,) = (tmp_path / "outputs").rglob("jobs.json")
    assert [job["status"] for job in json.loads(jobs.read_text())] == ["done"] * 4
