"""What commands print: tables for people, JSON for scripts, and everything that is not the answer on stderr."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from streamb.clock import Clock, SystemClock, isoformat
from streamb.text import shown, shown_in_json

_WIDTH_WITHOUT_TERMINAL: Final = 240
_TICK_S: Final = 0.1

Row = Mapping[str, Any]
Column = str | Callable[[Row], Any]
Columns = Mapping[str, Column]


def say(text: str) -> None:
    """Print a progress line to stderr; stdout is only for the answer."""
    print(shown(text, lines=True), file=sys.stderr, flush=True)


def print_json(answer: Any) -> None:
    """Print the answer for a script: one JSON document."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
    print(shown_in_json(orjson.dumps(answer, default=str, option=options).decode()), flush=True)


class Table:
    """Rows for people, or a sentence where there are none.

    Args:
        columns: for each heading, what to show of a row: the name of a field, or a function of the row.
        rows: as many as there are to show.
        empty: the sentence to show when there are no rows.
    """

    def __init__(self, columns: Columns, rows: Iterable[Row], *, empty: str) -> None:
        self._columns = columns
        self._rows = rows
        self._empty = empty

    def print(self) -> None:
        """Print it to stdout."""
        from rich.table import Table as RichTable

        table = RichTable(box=None, pad_edge=False, header_style="bold")
        for heading in self._columns:
            table.add_column(heading, overflow="fold")
        for row in self._rows:
            cells = (column(row) if callable(column) else row[column] for column in self._columns.values())
            table.add_row(*map(as_text, cells))
        if table.row_count == 0:
            print(self._empty)
        else:
            _console().print(table)


class Facts:
    """Facts for people: one on each line, its name and its value."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts

    def print(self) -> None:
        """Print them to stdout."""
        from rich.table import Table as RichTable

        table = RichTable(box=None, pad_edge=False, show_header=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in self._facts.items():
            table.add_row(shown(name), as_text(value))
        _console().print(table)


class Answer:
    """What a command found or did.

    Args:
        value: the answer for scripts, printed as one JSON document with `--json`.
        *shown: the answer for people, from top to bottom: lines, facts and tables.
        exit_code: 1 when what was asked for has not been reached, so that a script can tell.
    """

    def __init__(self, value: Any, *shown: str | Facts | Table, exit_code: int = 0) -> None:
        self.value = value
        self.exit_code = exit_code
        self._shown = shown

    def print(self) -> None:
        """Print it for people."""
        for part in self._shown:
            if isinstance(part, str):
                print(shown(part, lines=True), flush=True)
            else:
                part.print()


def listing(rows: Sequence[Row], columns: Columns, *, empty: str) -> Answer:
    """The answer of a command that lists something: one table; for scripts, the rows as they are.

    Args:
        rows: what was found.
        columns: as for a `Table`.
        empty: the sentence to show when nothing was found.
    """
    return Answer(rows, Table(columns, rows, empty=empty))


def as_text(value: Any) -> str:
    """Return a value as text for people, made harmless: "-" for an empty value, "yes" and "no" for booleans."""
    if value is None or value == "" or value == {} or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{shown(str(name))}={as_text(inner)}" for name, inner in value.items())
    return shown(str(value), lines=True)


def print_output(text: str, *, end: str = "") -> None:
    """Print what programs have written (logs, output of jobs): unchanged into a pipe, made harmless on a terminal."""
    print(shown(text, lines=True) if sys.stdout.isatty() else text, end=end, flush=True)


def when(timestamp: float | None) -> str:
    """Return a time in seconds since the epoch as text for people; "-" for no time."""
    return isoformat(timestamp) if timestamp else "-"


def at(field: str) -> Column:
    """Make a column that shows a field holding a time in seconds since the epoch."""
    return lambda row: when(row[field])


class Waiting:
    """Shows on stderr what the command is waiting for and for how long.

    On a terminal it updates one line; otherwise it prints a line for each change.

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

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        if self._ticks:
            self._thread.join()
            self._erase()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the waiting began."""
        return self._clock.monotonic() - self._started

    def for_(self, what: str) -> None:
        """Say that the command now waits for `what`."""
        self._what = shown(what)
        if not self._ticks:
            say(self._line())

    def hush(self) -> None:
        """Show nothing until `for_` is called again, so that something can be asked."""
        with self._writing:
            self._what = ""
            if self._ticks:
                self._erase()

    def note(self, line: str) -> None:
        """Print a line that stays, with the seconds since the waiting began."""
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
