"""Secrets by reference: a setting may say where its secret is kept instead of holding it.

`file:/run/secrets/slack` stands for the content of that file, `env:NAME` for the value of that variable, anything else
for itself. A reference is looked up as late as possible, where the secret is used: what crosses processes and what is
printed meanwhile holds none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from streamb.config.environment import read_variable
from streamb.errors import ConfigError

_FILE: Final = "file:"
_VARIABLE: Final = "env:"
HIDDEN: Final = "***"
"""What is shown instead of a secret."""


def is_reference(text: str) -> bool:
    """True when `text` says where a secret is kept and holds none itself."""
    return text.startswith((_FILE, _VARIABLE))


def shown_secret(text: str) -> str:
    """What may be printed: a reference as it is, a secret not at all.

    >>> shown_secret("file:/run/secrets/slack"), shown_secret("pa55word")
    ('file:/run/secrets/slack', '***')
    """
    return text if is_reference(text) else HIDDEN


def resolve_secret(text: str) -> str:
    """The secret itself; white space around the content of a file does not belong to it.

    Raises:
        ConfigError: the file cannot be read, the variable is not set, or there is nothing in it.
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
