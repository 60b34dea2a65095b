"""Short explanations of errors from Hydra and OmegaConf: what was typed, why it is wrong, what to do."""

from __future__ import annotations

import difflib
import re

from lvexp.checks.declarations import SEVERAL
from lvexp.errors import LvexpError


def explain(error: BaseException) -> str:
    """Explains a mistake on the command line or in a configuration file in a few lines."""
    named: BaseException | None = error
    while named is not None and not isinstance(named, LvexpError):
        named = named.__cause__ or named.__context__
    if named is not None:
        return str(named)
    first = str(error.__cause__ or "").partition("\n")[0]
    text = str(error) if first in str(error) else f"{error}\n{first}"
    for pattern, say in _KNOWN:
        if found := re.search(pattern, text, re.DOTALL):
            return say(*found.groups())
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip() and not _internal(line))


def of_launcher(error: BaseException) -> str | None:
    """Explains why a launcher could not start the jobs of a multirun; None for any other error."""
    return next((text for pattern, text in _LAUNCHERS.items() if pattern in str(error)), None)


def _internal(line: str) -> bool:
    """Whether a line is about Hydra's internals and of no help to a user."""
    return line.lstrip().startswith(("full_key", "object_type", "reference_type", "Config search path", "provider="))


def _option(group: str, typed: str, listed: str) -> str:
    options = listed.split()
    if extra := {"hydra/sweeper": "search", "hydra/launcher": "launchers"}.get(group):
        extra = "ray" if typed == "ray" else extra
        return f"{group}={typed}: it is not installed\ntry  pip install 'lvexp[{extra}]' | {group}={options[0]}"
    near = difflib.get_close_matches(typed, options, 1, 0.4)
    advice = f"\ntry  {group}={near[0]}" if near else ""
    return f"{group}={typed}: there is no such option; {group} is one of {', '.join(options)}{advice}"


def _missing(group: str, typed: str) -> str:
    return f"{group}={typed}: there is no such option\ntry  --help, which lists the options of {group}"


def _key(typed: str, key: str) -> str:
    if "." not in typed:
        return f"{typed}: there is no such group and no such key\ntry  --help for the groups | --cfg job for the keys"
    if typed == f"logger.{key}":
        return f"{typed}: {key} is not among the chosen loggers\ntry  logger.wandb.{key}=… for a setting of wandb"
    group = typed.partition(".")[0]
    if group in SEVERAL:
        return f"{typed}: {key} is not among the chosen {SEVERAL[group]}\ntry  {group}={key} {typed}=…"
    return (
        f"{typed}: the configuration has no {key!r} there\n"
        f"try  --cfg job to see all there is | +{typed}=… to add a key that an option of yours reads"
    )


def _spelling(said: str) -> str:
    return f"{said}\ntry  quotes within quotes where a value has signs of its own: 'key=\"a value\"'"


def _merging(typed: str, reason: str) -> str:
    return f"{typed}: {reason.strip()}\ntry  leave it out | --cfg job to see what is there"


def _referred(key: str) -> str:
    return (
        f"${{{key}}}: another value refers to it, and there is no {key}\ntry  +{key}=… | --cfg job to see all there is"
    )


def _swept(typed: str) -> str:
    key, _, values = typed.partition("=")
    again = [f"'{key}=\"{values}\"'"]  # the sweeper reads this as a text, which then becomes a list
    if key.startswith("hydra.sweeper.params."):
        again.insert(0, f"{key.removeprefix('hydra.sweeper.params.')}={values}")
    return (
        f"{typed}: unquoted commas ask for a job with each of these, and Hydra's own settings are the same for all "
        f"jobs\ntry  {' | '.join(again)}"
    )


def _commas(typed: str) -> str:
    return (
        f"{typed}: commas ask for a job with each value, and this is one job\n"
        "try  -m, in Python lvexp.sweep(…) | [a,b] for a list"
    )


_KNOWN = [
    (r"Ambiguous value for argument '(.*?)'\n", _commas),
    (r"Sweeping over Hydra's configuration is not supported : '(.*)'", _swept),
    (r"Could not find '([\w/]+)/([^'/]+)'\s+Available options in '[^']+':\s+(.*?)\s*(?:Config search path|$)", _option),
    (r"Could not load '([\w/]+)/([^'/]+)'", _missing),
    (r"Error merging override (.+?)\s*\n(.*)", _merging),
    (r"^(?:\w+Exception: )?(.*?)\s*See https://hydra.cc", _spelling),
    (r"Interpolation key '([^']+)' not found", _referred),
    (r"Could not override '([^']+)'.*Key '([^']+)' is not in struct", _key),
]
_LAUNCHERS = {
    'Could not detect "srun"': "hydra/launcher=submitit_slurm: this is no machine of a Slurm cluster, it has no srun\n"
    "try  hydra/launcher=submitit_local | hydra/launcher=joblib",
    "Failed to connect to Ray cluster": "hydra.launcher.ray.init.address=…: no Ray cluster answers there\n"
    "try  ray start --head on its first machine | no address, for a Ray of this machine alone",
    "object_store_memory must not be provided": "hydra.launcher.ray.init.address=…: a cluster that is running has its "
    "object store, and the launcher sets a size for one\n"
    "try  +hydra.launcher.ray.init.object_store_memory=null",
}
