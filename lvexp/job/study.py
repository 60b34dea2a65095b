"""Continues a search that was interrupted: a study of Optuna, kept in a database under its name. Free of torch."""

from __future__ import annotations

import warnings
from typing import Any

from omegaconf import DictConfig, flag_override


def resume(sweeper: DictConfig) -> None:
    """Prepares the sweeper's settings for a study that exists already: ``n_trials`` counts its finished trials, trials
    that were cut off come first, and the sampler does not repeat its draws. Does nothing for other sweepers, or if
    there is no such study yet. Only one process may run a study."""
    name, storage = sweeper.get("study_name"), sweeper.get("storage")
    if not name or not isinstance(storage, str):
        return
    import optuna  # pyright: ignore[reportMissingImports]  # of the extra search

    if name not in {found.study_name for found in optuna.get_all_study_summaries(storage)}:
        return
    study, states = optuna.load_study(study_name=name, storage=storage), optuna.trial.TrialState
    for trial in study.get_trials(states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.enqueue_trial(trial.params)  # its run resumes from its checkpoint
    settings: Any = sweeper
    with flag_override(sweeper, ["struct", "readonly"], False):
        settings.n_trials = max(0, sweeper.n_trials - len(study.get_trials(states=(states.COMPLETE,))))
        if (sweeper.get("sampler") or {}).get("seed") is not None:
            settings.sampler.seed = sweeper.sampler.seed + len(study.trials)
