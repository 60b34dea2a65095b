"""The exceptions a user may meet.

::

    LvexpError            every mistake we can name; the command line prints it and exits with 2
    ├── ConfigError       an option or a value that cannot be used
    │   └── Refusal       choices that are fine alone but do not go together
    ├── DataError         a corpus that is missing, unreadable or malformed
    ├── RunError          a run folder that cannot be used
    └── Diverged          training met a figure that is not finite; a result that says so, and exit code 1

A message has three parts: what was typed, why it cannot work, what to do instead.
"""

from __future__ import annotations


class LvexpError(Exception):
    """Base of all errors that are the user's to mend; never shown with a traceback."""


class ConfigError(LvexpError):
    """An option or a value that cannot be used."""


class Refusal(ConfigError):
    """Choices that exclude each other. A sweep records such a job as ``refused``, not ``failed``."""


class DataError(LvexpError):
    """A corpus that is missing, unreadable or malformed."""


class RunError(LvexpError):
    """A run folder that cannot be used: not one of ours, unfinished, or damaged."""


class Diverged(LvexpError):
    """A loss, a gradient or a parameter is not finite, or a posterior cannot be drawn from: training cannot go on. The
    run keeps a result that says so, and the command exits with 1.

    Args:
        message: what is not finite.
        place: where training stood, where that is not the step or the validation that raises it.
    """

    def __init__(self, message: str, place: str = ""):
        super().__init__(message)
        self.place = place
