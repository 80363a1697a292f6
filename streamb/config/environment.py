"""The process environment; no other module reads or changes it.

Other modules get settings from `streamb.config`, and pass `child_environment` to a child process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

PREFIX: Final = "ML_"
ROLE: Final = "STREAMB_ROLE"
"""Marks processes that run a model's code, and those that they start: "replica" or "trial"."""

_NEEDED: Final = frozenset({"PATH", "LANG", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "PYTHONHASHSEED"})
_OF_LIBRARIES: Final = (
    "LC_",
    "CUDA_VISIBLE",
    "NVIDIA_VISIBLE",
    "OMP_",
    "MKL_",
    "OPENBLAS_NUM",
    "NUMEXPR_",
    "SSL_CERT_",
)
"""With `_NEEDED`, the variables that a process behind a boundary gets."""
_PRIVATE_PREFIXES: Final = (PREFIX, "RAY_", "AWS_")
_PRIVATE_PARTS: Final = ("KEY", "TOKEN", "SECRET", "PASSW", "CREDENTIAL", "DATABASE_URL")


def variable_of(name: str) -> str:
    """Return the name of a setting's environment variable.

    >>> variable_of("max_batch_rows")
    'ML_MAX_BATCH_ROWS'
    """
    return PREFIX + name.upper()


def read_variable(name: str) -> str | None:
    """Return the value of a variable; an empty one counts as not set (as in shells and compose files)."""
    return os.environ.get(name) or None


def this_environment() -> str:
    """Return the environment that the variables name ("development", "staging", "production"); unchecked."""
    return read_variable(variable_of("environment")) or read_variable("NODE_ENV") or "development"


def mark_role(role: str) -> None:
    """Mark this process, and all that it will start, as one that runs a model's code.

    Args:
        role: "replica" or "trial".
    """
    os.environ[ROLE] = role


def process_role() -> str | None:
    """Return the mark of this process; None where no model's code decides what runs."""
    return read_variable(ROLE)


def our_variables() -> dict[str, str]:
    """Return every `ML_*` variable that is set and not empty, by its name as spelled in the environment."""
    return {name: value for name, value in os.environ.items() if value and name.upper().startswith(PREFIX)}


def child_environment(**extra: str) -> dict[str, str]:
    """Return the environment for a child process: a copy of ours, updated with `extra`."""
    return {**os.environ, **extra}


def environment_without_secrets(*, defaults: Mapping[str, str], **extra: str) -> dict[str, str]:
    """Return the environment for a child process that runs a model: without settings, keys and passwords.

    Args:
        defaults: variables for those that are not set here.
        extra: variables that replace those of ours.
    """
    ours = {name: value for name, value in os.environ.items() if not _is_private(name.upper())}
    return {**defaults, **ours, **extra}


def bare_environment(**extra: str) -> dict[str, str]:
    """Return the environment for a child process behind a boundary: what any program needs, and nothing of ours.

    Args:
        extra: further variables.
    """
    ours = {name: value for name, value in os.environ.items() if name in _NEEDED or name.startswith(_OF_LIBRARIES)}
    return {**{name: value for name, value in ours.items() if not _is_private(name.upper())}, **extra}


def _is_private(name: str) -> bool:
    return name.startswith(_PRIVATE_PREFIXES) or any(part in name for part in _PRIVATE_PARTS)


def default_environment(defaults: Mapping[str, str]) -> None:
    """Set variables that a library reads when it is imported, unless the user has set them."""
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def set_variable(name: str, value: str | None) -> None:
    """Set a variable for this process and all that it will start, whatever it was before; None removes it."""
    os.environ.pop(name, None)
    if value is not None:
        os.environ[name] = value


@contextmanager
def temporary_environment(**values: str) -> Iterator[None]:
    """Set variables during the block, for a library that reads them; restore them afterwards."""
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
