"""Progress as one table that redraws itself: the last trials, the best one, and the time that is left."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, TextIO

from streamb.clock import Clock, SystemClock
from streamb.hpo.reporting.axes import shared_prefix, show, show_all, without_prefix
from streamb.hpo.reporting.lines import LogLines, lasting
from streamb.hpo.study.study import OptimizationResult, Outcome, Progress, StudyView, TrialResult

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

ROWS: Final = 16
_PER_SECOND: Final = 4
_MOST_PARAMETERS: Final = 6


class LiveTable:
    """Watches a study in a terminal; one table at the place where it began, and a last look at it when it ends.

    Args:
        console: of rich; None for standard error.
        clock: for the time that has passed.
    """

    def __init__(self, console: Console | None = None, clock: Clock | None = None) -> None:
        self._console = console
        self._clock = clock or SystemClock()
        self._rows: deque[TrialResult] = deque(maxlen=ROWS)
        self._study: StudyView | None = None
        self._best: TrialResult | None = None
        self._left_s: float | None = None
        self._done, self._prefix = 0, ""
        self._live: Any = None
        self._began = self._clock.monotonic()

    def began(self, study: StudyView) -> None:
        from rich.console import Console
        from rich.live import Live

        self._study, self._done = study, len(study.finished)
        self._rows.extend(study.finished)
        self._prefix = shared_prefix(study.parameters)
        self._began = self._clock.monotonic()
        console = self._console or Console(stderr=True, highlight=False)
        self._live = Live(get_renderable=self.render, console=console, refresh_per_second=_PER_SECOND)
        self._live.start()

    def trial(self, result: TrialResult, best: TrialResult | None, left_s: float | None) -> None:
        self._rows.append(result)
        self._done += 1
        self._best, self._left_s = best, left_s

    def ended(self, result: OptimizationResult) -> None:
        self._left_s = None
        self._best = next((one for one in result.trials if one.number == result.best_number), self._best)
        self.close()

    def close(self) -> None:
        """Leave the table as it is now; also after an error, which `ended` is not called for."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def render(self) -> Table:
        """The table as it is now."""
        from rich.table import Table
        from rich.text import Text

        study, names, prefix = self._study, self._names(), self._prefix
        table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
        table.title = Text(self._title())  # texts of the user's are never markup
        objective = study.objective if study is not None else "score"
        for column in ("trial", objective):
            table.add_column(Text(column), justify="right", no_wrap=True)
        for name in (*names, "time", "status"):
            table.add_column(Text(name.removeprefix(prefix)), overflow="ellipsis", no_wrap=True)
        for trial in self._rows:
            values = [show(trial.parameters[name]) if name in trial.parameters else "" for name in names]
            status = trial.error.splitlines()[0] if trial.error else trial.status.value
            style = (
                "bold green" if self._best is not None and trial.number == self._best.number else _STYLES[trial.status]
            )
            cells = (
                str(trial.number),
                "" if trial.score is None else show(trial.score),
                *values,
                lasting(trial.seconds),
            )
            table.add_row(*map(Text, (*cells, status)), style=style)
        table.caption = Text(self._caption())
        table.caption_justify = "left"
        return table

    def _names(self) -> list[str]:
        """Columns for what varies: parameters that never change would only take room."""
        trials = [*self._rows, *([self._best] if self._best else [])]
        names = dict.fromkeys(name for trial in trials for name in trial.parameters)
        varied = [name for name in names if len({show(trial.parameters.get(name)) for trial in trials}) > 1]
        return (varied or list(names))[:_MOST_PARAMETERS]

    def _title(self) -> str:
        study = self._study
        if study is None:
            return ""
        return f"{study.name}: {study.direction} {study.objective}, trial {self._done} of {study.n_trials}"

    def _caption(self) -> str:
        best = "no best yet"
        if self._best is not None:
            told = show_all(without_prefix(self._prefix, self._best.parameters))
            best = f"best {show(self._best.score)} (trial {self._best.number}): {told}"
        left = "" if self._left_s is None else f"; about {lasting(self._left_s)} left"
        return f"{best}\n{lasting(self._clock.monotonic() - self._began)} passed{left}"


_STYLES: Final = {
    Outcome.COMPLETED: "",
    Outcome.PRUNED: "dim",
    Outcome.FAILED: "red",
    Outcome.TIMED_OUT: "yellow",
}


def progress_for(stream: TextIO, clock: Clock | None = None) -> Progress:
    """What suits a stream: the live table on a terminal, else a line a trial."""
    if stream.isatty():
        from rich.console import Console

        return LiveTable(Console(file=stream, highlight=False), clock)
    return LogLines(lambda line: print(line, file=stream, flush=True))
