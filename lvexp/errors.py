"""The exceptions a user may meet.

::

    LvexpError            an error that we can explain; the command line prints it and exits with 2
    ├── ConfigError       an option or a value that cannot be used
    │   └── Refusal       choices that are valid separately but incompatible
    ├── DataError         a corpus that is missing, unreadable or malformed
    ├── RunError          a run folder that cannot be used
    └── Diverged          training met a value that is not finite; the result says so, and the exit code is 1

A message has three parts: what was typed, why it cannot work, what to do instead.
"""

from __future__ import annotations


class LvexpError(Exception):
    """Base of all errors that the user can fix; never shown with a traceback."""


class ConfigError(LvexpError):
    """An option or a value that cannot be used."""


class Refusal(ConfigError):
    """Incompatible choices. A sweep records such a job as ``refused``, not ``failed``."""


class DataError(LvexpError):
    """A corpus that is missing, unreadable or malformed."""


class RunError(LvexpError):
    """A run folder that cannot be used: not one of ours, unfinished, or damaged."""


class Diverged(LvexpError):
    """A loss, a gradient or a parameter is not finite, or a posterior cannot be drawn from: training cannot go on. The
    run keeps a result that says so, and the command exits with 1.

    Args:
        message: what is not finite.
        place: where in training it happened, if that is not the step or validation that raises it.
    """

    def __init__(self, message: str, place: str = ""):
        super().__init__(message)
        self.place = place
