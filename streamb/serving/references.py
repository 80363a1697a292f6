"""What callers learn of a model's own exceptions: a reference; the words, which may hold values of rows, are logged."""

from __future__ import annotations

import logging
import secrets
from typing import Final

from streamb.clock import Clock, SystemClock
from streamb.errors import InvalidInput, ModelFailed, StreambError
from streamb.text import shown

WINDOW_S: Final = 10.0
MOST_IN_WINDOW: Final = 100
"""So many exceptions are written to the log in `WINDOW_S` seconds: who makes a model fail must not fill the disk."""

_log = logging.getLogger(__name__)


class References:
    """Gives exceptions of a model references under which the log has their words.

    Args:
        clock: the source of time.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._began = self._clock.monotonic()
        self._noted = 0

    def told(self, error: StreambError) -> StreambError:
        """Return what a caller is told of an error: it as it is if streamb found the words, else a reference."""
        if not error.foreign:
            return error
        reference = self._note(error.message)
        under = f"reference {reference}" if reference else "so many fail that the log does not have each"
        if isinstance(error, InvalidInput):
            return type(error)(f"the model refused the rows ({under})")
        return ModelFailed(f"the model failed ({under})")

    def _note(self, words: str) -> str:
        """Write the words to the log; returns the reference, "" if there were too many just now."""
        now = self._clock.monotonic()
        if now - self._began > WINDOW_S:
            self._began, self._noted = now, 0
        self._noted += 1
        if self._noted > MOST_IN_WINDOW:
            return ""
        reference = secrets.token_hex(6)
        _log.error("reference %s: %s", reference, shown(words))
        return reference
