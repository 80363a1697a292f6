"""What commands print: tables for people, JSON for scripts, and everything that is not the answer on stderr."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

import orjson

from streamb.clock import Clock, SystemClock, isoformat

_WIDTH_WITHOUT_TERMINAL: Final = 240
_TICK_S: Final = 0.1


def say(text: str) -> None:
    """A line about what goes on; never part of the answer."""
    print(text, file=sys.stderr, flush=True)


def print_json(answer: Any) -> None:
    """The answer for a script: one JSON document."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    print(orjson.dumps(answer, default=str, option=options).decode(), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str) -> None:
    """The answer for people: a table, or a sentence when there is nothing in it."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(as_text(cell) for cell in row))
    if table.row_count == 0:
        print(empty)
    else:
        _console().print(table)


def print_facts(facts: Mapping[str, Any]) -> None:
    """The answer for people: one fact a line."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, as_text(value))
    _console().print(table)


def as_text(value: Any) -> str:
    """A value as a person reads it."""
    if value is None or value == "" or value == {} or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={as_text(inner)}" for name, inner in value.items())
    return str(value)


def when(timestamp: float | None) -> str:
    """A time in seconds since the epoch, as a person reads it."""
    return isoformat(timestamp) if timestamp else "-"


class Waiting:
    """Says on stderr what is waited for, and for how long already: a line that ticks, or one line per change.

    >>> with Waiting() as waiting:
    ...     waiting.for_("the gateway")  # "waiting for the gateway … 0.0 s"
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._ticks = sys.stderr.isatty()
        self._what = ""
        self._ended = threading.Event()
        self._writing = threading.Lock()
        self._thread = threading.Thread(target=self._keep_ticking, name="waiting", daemon=True)

    def __enter__(self) -> Waiting:
        self._started = self._clock.monotonic()
        if self._ticks:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._ticks:
            self._thread.join()
            self._erase()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the waiting began."""
        return self._clock.monotonic() - self._started

    def for_(self, what: str) -> None:
        """From now on it is `what` that is waited for."""
        self._what = what
        if not self._ticks:
            say(self._line())

    def note(self, line: str) -> None:
        """A line that stays, with the time at which it was said."""
        with self._writing:
            if self._ticks:
                self._erase()
            say(f"{self.elapsed_s:7.1f} s  {line}")

    def _line(self) -> str:
        return f"waiting for {self._what} … {self.elapsed_s:.1f} s"

    def _keep_ticking(self) -> None:
        while not self._ended.wait(_TICK_S):
            if self._what:
                with self._writing:
                    self._erase()
                    print(self._line(), end="", file=sys.stderr, flush=True)

    def _erase(self) -> None:
        print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


def _console() -> Any:
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH_WITHOUT_TERMINAL
    return Console(width=width, highlight=False, markup=False)
