"""A configuration as the command line makes it."""

from __future__ import annotations

from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lvexp.__main__ import MENU
from lvexp.checks import refusals
from lvexp.checks.mistakes import explain
from lvexp.errors import ConfigError
from lvexp.job import identity


def composed(*words: str) -> dict[str, Any]:
    """The configuration of the overrides ``words``, checked.

    Raises:
        LvexpError: what the command line would print.
    """
    identity.register()
    try:
        with initialize_config_dir(str(MENU), version_base="1.3"):
            config = compose("config", overrides=[*words], return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error, words, MENU)) from error
    plain = refusals.resolved(config, leave_out=("hydra",))
    refusals.check(plain, dict(config.hydra.runtime.choices), MENU)
    return plain
