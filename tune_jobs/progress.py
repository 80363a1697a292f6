"""Progress lines of a job, with the time since its start."""

from __future__ import annotations

from streamb.clock import Clock


class Progress:
    """Prints lines like `[  3.2s] read 150 rows` without buffering, as the output is often a log file."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._begun = clock.monotonic()

    def say(self, line: str) -> None:
        """Print one line."""
        print(f"[{self.clock.monotonic() - self._begun:5.1f}s] {line}", flush=True)
