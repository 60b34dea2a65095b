"""Continues a search that was interrupted: a study of Optuna, kept in a database under its name. Free of torch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, flag_override

from lvexp.errors import ConfigError
from lvexp.job.identity import VOLATILE, VOLATILE_TRAINER

_QUIET = (*VOLATILE, *(f"trainer.{key}" for key in VOLATILE_TRAINER), "data.root", "data.cache")


def resume(sweeper: DictConfig, words: Sequence[str] = ()) -> None:
    """Prepares the sweeper's settings for a study that exists already: ``n_trials`` counts its finished trials, trials
    that were cut off come first, and the sampler does not repeat its draws. Does nothing for other sweepers, or if
    there is no such study yet. Only one process may run a study.

    Args:
        sweeper: its settings, which are changed. words: the overrides that were typed.

    Raises:
        ConfigError: the study's finished trials are of another command.
    """
    name, storage = sweeper.get("study_name"), sweeper.get("storage")
    if not name or not isinstance(storage, str):
        return
    import optuna  # pyright: ignore[reportMissingImports]  # of the extra search

    if name not in {found.study_name for found in optuna.get_all_study_summaries(storage)}:
        return
    study, states = optuna.load_study(study_name=name, storage=storage), optuna.trial.TrialState
    finished = study.get_trials(states=(states.COMPLETE,))
    for trial in finished:
        _alike(name, trial.user_attrs, words)
    for trial in study.get_trials(states=(states.RUNNING,)):
        study.tell(trial.number, state=states.FAIL)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.enqueue_trial(trial.params)  # its run resumes from its checkpoint
    settings: Any = sweeper
    with flag_override(sweeper, ["struct", "readonly"], False):
        settings.n_trials = max(0, sweeper.n_trials - len(finished))
        if (sweeper.get("sampler") or {}).get("seed") is not None:
            settings.sampler.seed = sweeper.sampler.seed + len(study.trials)


def _alike(name: str, trial: Mapping[str, str], words: Sequence[str]) -> None:
    """Rejects words that other trials of the study were not run with: its best one would be the best of unlike runs."""
    parsed = OverridesParser.create().parse_overrides([word for word in words if "=" in word])
    fixed = {word.get_key_element(): word.get_value_element_as_str() for word in parsed if not word.is_sweep_override()}
    mine, theirs = _counting(fixed), _counting(trial)
    apart = [f"with {key}={value}" for key, value in theirs.items() if mine.get(key) != value]
    apart += [f"without {key}={value}" for key, value in mine.items() if key not in theirs]
    if apart:
        raise ConfigError(
            f"name={name}: this study has finished trials, {', '.join(apart)}\n"
            "try  another name=…, for a study of its own | the command that began it"
        )


def _counting(typed: Mapping[str, str]) -> dict[str, str]:
    """The overrides that make runs differ."""
    return {
        key: value
        for key, value in typed.items()
        if key == "objective" or not any(key == quiet or key.startswith((f"{quiet}.", f"{quiet}/")) for quiet in _QUIET)
    }
