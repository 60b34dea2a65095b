"""Short explanations of errors from Hydra and OmegaConf: what was typed, why it is wrong, what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from lvexp.checks import nearest
from lvexp.checks.declarations import SEVERAL
from lvexp.checks.keys import GIVEN, TRAINER, takes
from lvexp.checks.menu import Menu
from lvexp.errors import LvexpError


def explain(error: BaseException, words: Sequence[str] = (), menu: Path | None = None) -> str:
    """Explains a mistake on the command line or in a configuration file in a few lines.

    Args:
        error: what Hydra or OmegaConf raised. words: of the command line. menu: the folder of the options.
    """
    named: BaseException | None = error
    while named is not None and not isinstance(named, LvexpError):
        named = named.__cause__ or named.__context__
    if named is not None:
        return str(named)
    first = str(error.__cause__ or "").partition("\n")[0]
    text = str(error) if first in str(error) else f"{error}\n{first}"
    for pattern, say in _KNOWN:
        if found := re.search(pattern, text, re.DOTALL):
            return say(*found.groups(), *([_Typed(words, menu)] if say in _LOOKING else []))
    return "\n".join(line.rstrip() for line in text.splitlines() if line.strip() and not _internal(line))


class _Typed:
    """The command line, and what it may name."""

    def __init__(self, words: Sequence[str], menu: Path | None):
        self.words = words
        self.menu = Menu(menu, words) if menu is not None else None

    def word(self, key: str) -> str:
        """The word that sets a key, as it was typed."""
        return next((word for word in self.words if word.partition("=")[0].lstrip("+~") == key), key)

    def value(self, key: str) -> str | None:
        return self.word(key).partition("=")[2] or None

    def known(self, key: str) -> bool:
        """Whether the class of the chosen option takes a key that its file has not."""
        if self.menu is None:
            return True
        group, _, name = key.partition(".")
        if group == "trainer":
            return name in TRAINER
        return name not in GIVEN and name in (takes(str(self.menu.target(group))) or ())


def of_launcher(error: BaseException) -> str | None:
    """Explains why a launcher could not start the jobs of a multirun; None for any other error."""
    return next((text for pattern, text in _LAUNCHERS.items() if pattern in str(error)), None)


def _internal(line: str) -> bool:
    """Whether a line is about Hydra's internals and of no help to a user."""
    return line.lstrip().startswith(("full_key", "object_type", "reference_type", "Config search path", "provider="))


def _option(group: str, typed: str, listed: str, line: _Typed) -> str:
    options = listed.split()
    if extra := {"hydra/sweeper": "search", "hydra/launcher": "launchers"}.get(group):
        extra = "ray" if typed == "ray" else extra
        return f"{group}={typed}: it is not installed\ntry  pip install 'lvexp[{extra}]' | {group}={options[0]}"
    near = nearest.option(group, typed, options)
    default = line.menu.default.get(group) if line.menu is not None else None
    advice = " | ".join(near) or (f"{group}={default}  (the default)" if default in options else "--help")
    return f"{group}={typed}: there is no such option; {group} is one of {', '.join(options)}\ntry  {advice}"


def _missing(group: str, typed: str) -> str:
    return f"{group}={typed}: there is no such option\ntry  --help, which lists the options of {group}"


def _key(typed: str, key: str, line: _Typed) -> str:
    word = line.word(typed)
    if typed == f"logger.{key}":
        return f"{word}: {key} is not among the chosen loggers\ntry  logger.wandb.{key}=… for a setting of wandb"
    group = typed.partition(".")[0]
    if group in SEVERAL and (line.menu is None or key in line.menu.options(group)):
        given = f"={line.value(typed)}" if line.value(typed) else "=…"
        return f"{word}: {key} is not among the chosen {SEVERAL[group]}\ntry  {group}={key} {typed}{given}"
    near = line.menu.meant(typed, line.value(typed)) if line.menu is not None else []
    if "." not in typed:
        advice = [*near] or ["--help for the groups", "--cfg job for the keys"]
        return f"{word}: there is no such group and no such key\ntry  {' | '.join(advice)}"
    if line.known(typed):
        near = [f"+{word}" if "=" in word else f"+{typed}=…"]
    advice = near or ["--cfg job to see all there is"]
    return f"{word}: the configuration has no {key!r} there\ntry  {' | '.join(advice)}"


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
    key, _, values = typed.partition("=")
    swept = f"-m {typed}  (in Python lvexp.sweep)"
    listed = [nearest.quoted(f"{key}=[{values}]") + "  for a list"] if key in SEVERAL else []
    number = [f"{key}={values.replace(',', '.')}"] if re.fullmatch(r"0,\d+", values) else []
    return (
        f"{typed}: commas ask for a job with each value, and this is one job\n"
        f"try  {' | '.join([*number, *listed, swept] if number else [swept, *listed])}"
    )


def _twice(group: str, line: _Typed) -> str:
    return f"{line.word(group)}: this group has an option already\ntry  {group}={line.value(group) or '…'}"


def _added(typed: str) -> str:
    return f"{typed}: an option is chosen without signs before it\ntry  {typed.lstrip('+')}"


def _primary(name: str) -> str:
    return (
        f"--config-name {name}: there is no such file beside the main one, config\n"
        f"try  experiment={name} | --config-dir DIR"
    )


def _there(key: str, line: _Typed) -> str:
    return f"{line.word(key)}: there is such a key already\ntry  {key}={line.value(key) or '…'}"


_KNOWN = [
    (r"Ambiguous value for argument '(.*?)'\n", _commas),
    (r"Sweeping over Hydra's configuration is not supported : '(.*)'", _swept),
    (r"Could not find '([\w/]+)/([^'/]*)'\s+Available options in '[^']+':\s+(.*?)\s*(?:Config search path|$)", _option),
    (r"Could not load '([\w/]+)/([^'/]+)'", _missing),
    (r"Error merging override (.+?)\s*\n(.*)", _merging),
    (r"(\w+) appears more than once in the final defaults list", _twice),
    (r"Cannot find primary config '(.*?)'", _primary),
    (r"force-add of config groups is not supported: '(.*?)'", _added),
    (r"Could not append to config. An item is already at '(.*?)'", _there),
    (r"^(?:\w+Exception: )?(.*?)\s*See https://hydra.cc", _spelling),
    (r"Interpolation key '([^']+)' not found", _referred),
    (r"Could not override '([^']+)'.*Key '([^']+)' is not in struct", _key),
]
_LOOKING = (_option, _key, _twice, _there)
_LAUNCHERS = {
    'Could not detect "srun"': "hydra/launcher=submitit_slurm: this is no machine of a Slurm cluster, it has no srun\n"
    "try  hydra/launcher=submitit_local | hydra/launcher=joblib",
    "Failed to connect to Ray cluster": "hydra.launcher.ray.init.address=…: no Ray cluster answers there\n"
    "try  ray start --head on its first machine | no address, for a Ray of this machine alone",
    "object_store_memory must not be provided": "hydra.launcher.ray.init.address=…: a cluster that is running has its "
    "object store, and the launcher sets a size for one\n"
    "try  +hydra.launcher.ray.init.object_store_memory=null",
}
