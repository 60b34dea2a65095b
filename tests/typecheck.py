"""The checker of signatures in tests: a whole number serves where a float is asked for, as in Python itself."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
