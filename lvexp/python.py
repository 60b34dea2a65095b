"""Jobs from Python: what the command line does, with a run object for an answer and exceptions instead of exits."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lvexp import __main__ as entry
from lvexp.checks import targets
from lvexp.checks.mistakes import explain
from lvexp.errors import ConfigError, LvexpError, Refusal, RunError
from lvexp.job.sweep import Sweep
from lvexp.loading import Run, load


def train(*overrides: str, config_dir: str | Path | None = None) -> Run:
    """Trains a model and evaluates it, or resumes it, or returns at once if the same run is finished.

    >>> run = lvexp.train("model=svae", "anneal=linear")
    >>> run.result["test"]["nll"], run.folder

    Args:
        overrides: as on the command line, ``"latent.dim=16"``.
        config_dir: a folder with options of your own, as ``--config-dir``.

    Returns:
        the run: its best model, with ``result`` and ``folder``; with ``evaluate=RUN``, these are of the evaluation.

    Raises:
        LvexpError: what the command line would print, see :mod:`lvexp.errors`.
    """
    with _command(overrides, config_dir):
        entry.execute()
    return _loaded(entry.last)


def sweep(*overrides: str, config_dir: str | Path | None = None) -> list[Run]:
    """Runs a job for each combination of values, as ``-m`` does: ``lvexp.sweep("anneal=constant,linear", "seed=1,2")``.

    Args:
        overrides, config_dir: as of :func:`train`. Launchers and sweepers are chosen as on the command line.

    Returns:
        the runs, in the order of the jobs; jobs that were refused are left out, as the printed table says.

    Raises:
        Refusal: every job was refused.
        RunError: jobs failed or diverged; the others are finished, and are skipped if the same sweep is run again.
        LvexpError: as of :func:`train`.
    """
    Sweep.jobs, Sweep.exit_code = [], 0
    with _command(overrides, config_dir, "-m"):
        entry.execute()
    jobs = Sweep.jobs
    for status, kind in (("failed", RunError), ("refused", Refusal)):
        said = [f"{' '.join(job['overrides'])}: {job['message']}" for job in jobs if job["status"] == status]
        if said and (status == "failed" or len(said) == len(jobs)):
            raise kind(f"{len(said)} of {len(jobs)} jobs {'were ' if status == 'refused' else ''}{status}\n{said[0]}")
    return [_loaded(job) for job in jobs if job["status"] != "refused"]


def _loaded(record: Mapping[str, Any]) -> Run:
    folder = Path(record["folder"])
    trained = Path(record.get("evaluates") or folder)  # evaluate=RUN: its model, and the result of the evaluation
    run = load(trained, trust=_own(trained))
    return run if trained == folder else Run(run.model, run.config, folder)


def _own(folder: Path) -> Collection[str]:
    """The classes that a run of the user's own names."""
    return targets.named(OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "config.yaml"), resolve=False))


@contextlib.contextmanager
def _command(overrides: Sequence[str], config_dir: str | Path | None, *flags: str) -> Iterator[None]:
    """Lets Hydra see a command line, and leaves no trace of it in this process."""
    options = [*flags] if config_dir is None else [*flags, "--config-dir", str(Path(config_dir).absolute())]
    for word in overrides:
        if not isinstance(word, str) or word.startswith("-"):
            raise ConfigError(
                f"{word}: overrides are texts such as 'latent.dim=16'\n"
                "try  config_dir=… for a folder of options | lvexp.sweep(…) for -m"
            )
    typed, asked = sys.argv, {name: os.environ.get(name) for name in ("HYDRA_FULL_ERROR", "LVEXP_LAUNCHER")}
    hydra, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    sys.argv = [typed[0] if typed else "lvexp", *options, *overrides]
    try:
        yield
    except LvexpError:
        raise
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, overrides, entry.MENU)) from error
    except SystemExit as error:
        if error.code == 130:  # a job ends so after Ctrl-C
            raise KeyboardInterrupt from None
        raise
    finally:
        sys.argv = typed
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = hydra, config
        for name, value in asked.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
