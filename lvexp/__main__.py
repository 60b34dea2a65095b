"""``python -m lvexp``: compose → check → run."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lvexp.checks import keys, overrides, refusals, words
from lvexp.checks.declarations import SEVERAL
from lvexp.checks.mistakes import explain, of_launcher
from lvexp.data import source
from lvexp.data.settings import DataSettings
from lvexp.errors import ConfigError, Diverged, LvexpError, RunError
from lvexp.job import again, environment, identity, machine, sweep
from lvexp.job.identity import version

_HERE = Path(__file__).parent
#: folder of the options: inside the package if installed, next to it in a checkout
MENU = next(path for path in (_HERE / "conf", _HERE.parent / "conf") if path.is_dir())
_mistakes: list[Exception] = []
_crashes: list[Exception] = []
_busy = machine.Busy()
#: what the last job of this process did, as in the table of a multirun
last: dict[str, Any] = {}


@hydra.main(config_path=str(MENU), config_name="config", version_base="1.3")
def _job(config: DictConfig) -> float | list[float] | None:
    """Runs one job; in a multirun a failure is recorded and the other jobs continue."""
    settings = HydraConfig.get()
    many = settings.mode == RunMode.MULTIRUN
    folder = Path(settings.runtime.output_dir)
    typed = environment.typed(settings.overrides.task)
    record: dict[str, Any] = {"job": settings.job.num if many else 0, "folder": str(folder), "overrides": typed}
    _legible()
    if many:
        sweep.end_with_launcher()
    try:
        record |= _checked(config, folder)
    except (LvexpError, OmegaConfBaseException) as error:
        # a folder that cannot be used says nothing about the choices, and may belong to another process
        refused = isinstance(error, LvexpError) and not isinstance(error, RunError | Diverged)
        record |= {"status": "refused" if refused else "failed", "message": str(error)}
        if not many:
            _discard(folder)
            _mistakes.append(error)  # raised again in main(), because Hydra would print its own message here
            return None
        if not isinstance(error, RunError | Diverged):
            (folder / identity.REFUSED).write_text(f"{error}\n", encoding="utf-8")
        print(f"job {record['job']} {record['status']}: {error}\n", file=sys.stderr)
    except Exception as error:
        if not many:
            _crashes.append(error)
            raise
        (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        record |= {"status": "failed", "message": f"{type(error).__name__}: {error} (see error.txt)"}
        print(f"job {record['job']} failed: {record['message']}\n", file=sys.stderr)
    finally:
        last.clear()
        last.update(record)
        if many:
            sweep.note(record["job"], record)
    return record.get("objective")


def _checked(config: DictConfig, folder: Path) -> dict[str, Any]:
    settings = HydraConfig.get()
    choices = {str(k): v for k, v in settings.runtime.choices.items() if not str(k).startswith("hydra/")}
    plain = refusals.resolved(config)
    raw: Any = OmegaConf.to_container(config, resolve=False)
    keys.check({**raw, "hydra": OmegaConf.to_container(settings, resolve=False)}, choices, MENU)
    refusals.check(plain, choices, MENU)
    source.check(
        DataSettings.of(plain["data"]), ["test"] if plain["evaluate"] and plain["data"]["files"]["test"] else None
    )
    (folder / identity.REFUSED).unlink(missing_ok=True)

    machine.spin_less(_busy)
    # these import torch and lightning, so not before the checks
    from lvexp.evaluation import evaluate_again
    from lvexp.run import run

    choices |= {group: sorted(plain[group] or {}) for group in SEVERAL}
    job = {"choices": choices, "overrides": environment.typed(settings.overrides.task)}
    if plain["evaluate"]:
        return evaluate_again(plain, folder, identity.evaluation_id(config), **job)
    composed = {"config": config, "hydra": HydraConfig.instance().cfg, "overrides": settings.overrides.task}
    return run(
        plain,
        folder,
        {f"{name}.yaml": OmegaConf.to_yaml(part) for name, part in composed.items()},
        run_id=identity.run_id(config, choices["model"]),
        group_id=identity.group_id(config, choices["model"]),
        **job,
        written=environment.withheld(config),
    )


def _discard(folder: Path) -> None:
    """Removes the folder that Hydra made for a job that never began."""
    with contextlib.suppress(OSError):  # it is not empty
        folder.rmdir()


def _legible() -> None:
    """Prints a question mark for every character that standard output cannot encode, instead of failing."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def execute() -> None:
    """Runs the command line in ``sys.argv``. Raises what is wrong with it; a multirun notes the errors of its jobs."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # lets errors reach us, so that we can print a short message
    identity.register()
    for part in (words, overrides):
        part.check(sys.argv[1:], MENU)
    # argparse needs contiguous overrides; -m may be anywhere
    sys.argv[1:] = sorted(again.words(sys.argv[1:]), key=words.is_override)
    _mistakes.clear()
    sweep.Sweep.mistake = None
    try:
        with sweep.composing_kinds():
            _job()
    except (OSError, RuntimeError, ValueError) as error:
        if error not in _crashes and (said := of_launcher(error)) is not None:
            raise ConfigError(said) from error
        raise
    for mistake in (*_mistakes, sweep.Sweep.mistake):
        if mistake is not None:
            raise mistake


def main() -> None:
    """The entry point. Exit codes: 0 on success, 1 if a job failed or diverged, 2 for a mistake in what was typed, such
    as a sweep in which every job is refused."""
    if "--version" in sys.argv[1:]:
        print(f"lvexp {version()}")
        return
    _legible()
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does, so that the user's own classes are found either way
    sweep.Sweep.exit_code = 0  # not that of an earlier sweep of this process
    try:
        execute()
    except (LvexpError, HydraException, OmegaConfBaseException) as error:
        print(f"lvexp: {explain(error, sys.argv[1:], MENU)}", file=sys.stderr)
        sys.exit(1 if isinstance(error, Diverged) else 2)
    except OSError as error:
        if error in _crashes:
            raise
        # Hydra makes the folders before any job begins
        print(
            f"lvexp: {error.filename}: this folder cannot be made or written to ({error.strerror or error})\n"
            "try  paths.outputs=DIR, a writable folder with free space",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    if sweep.Sweep.exit_code:
        sys.exit(sweep.Sweep.exit_code)


if __name__ == "__main__":
    main()
