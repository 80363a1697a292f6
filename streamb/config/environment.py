"""The process environment: the only file that touches it.

Everything else asks `streamb.config` for settings, and gives a child process what `child_environment` returns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

PREFIX: Final = "ML_"


def variable_of(name: str) -> str:
    """The environment variable of a setting.

    >>> variable_of("max_batch_rows")
    'ML_MAX_BATCH_ROWS'
    """
    return PREFIX + name.upper()


def read_variable(name: str) -> str | None:
    """The value of a variable; an empty one counts as not set (the habit of shells and of compose files)."""
    return os.environ.get(name) or None


def our_variables() -> dict[str, str]:
    """Every `ML_*` variable that is set and not empty, by its name as it is spelled there."""
    return {name: value for name, value in os.environ.items() if value and name.upper().startswith(PREFIX)}


def child_environment(**extra: str) -> dict[str, str]:
    """The environment for a child process: a copy of ours with `extra` on top."""
    return {**os.environ, **extra}


def default_environment(defaults: Mapping[str, str]) -> None:
    """Set variables that a library reads when it is imported, unless the user already set them."""
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


@contextmanager
def temporary_environment(**values: str) -> Iterator[None]:
    """Variables for a library that reads them while it works; as they were, afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
