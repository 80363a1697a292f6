"""Secrets by reference: a setting may name the place of its secret instead of containing it.

`file:/run/secrets/slack` refers to the content of that file, `env:NAME` to the value of that variable; any other text
is the secret itself. A reference is resolved as late as possible, where the secret is used, so that values that are
printed or sent to other processes contain no secret.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from streamb.config.environment import read_variable
from streamb.errors import ConfigError

_FILE: Final = "file:"
_VARIABLE: Final = "env:"
HIDDEN: Final = "***"
"""The text that is shown instead of a secret."""


def is_reference(text: str) -> bool:
    """Return True if `text` refers to a secret and does not contain it."""
    return text.startswith((_FILE, _VARIABLE))


def shown_secret(text: str) -> str:
    """Return the text to print: a reference unchanged, `HIDDEN` for a secret.

    >>> shown_secret("file:/run/secrets/slack"), shown_secret("pa55word")
    ('file:/run/secrets/slack', '***')
    """
    return text if is_reference(text) else HIDDEN


def resolve_secret(text: str) -> str:
    """Return the secret that `text` contains or refers to; white space around the content of a file is removed.

    Raises:
        ConfigError: the file cannot be read, the variable is not set, or the secret is empty.
    """
    if text.startswith(_FILE):
        path = Path(text.removeprefix(_FILE).removeprefix("//")).expanduser()
        try:
            found = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(f"the secret at {text} cannot be read: {reason}") from None
    elif text.startswith(_VARIABLE):
        found = (read_variable(text.removeprefix(_VARIABLE)) or "").strip()
    else:
        return text
    if not found:
        raise ConfigError(f"the secret at {text} is empty or not set")
    return found
