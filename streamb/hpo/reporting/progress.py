"""Progress of a study: a line for each trial in a log, a table that redraws itself on a terminal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TextIO

from streamb.charts.axes import show
from streamb.clock import Clock, SystemClock
from streamb.hpo.study.study import OptimizationResult, Outcome, Progress, StudyView, TrialResult

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

ROWS: Final = 16
_PER_SECOND: Final = 4
_MOST_PARAMETERS: Final = 6
_STYLES: Final = {
    Outcome.COMPLETED: "",
    Outcome.PRUNED: "dim",
    Outcome.FAILED: "red",
    Outcome.TIMED_OUT: "yellow",
}


class LogLines:
    """Watches a study and reports its beginning, each trial and its end in one line each.

    Args:
        say: writes a line, and flushes it.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._study: StudyView | None = None
        self._done, self._prefix = 0, ""

    def began(self, study: StudyView) -> None:
        self._study, self._done, self._prefix = study, len(study.finished), shared_prefix(study.parameters)
        until = "" if study.deadline_s is None else f", at most {lasting(study.deadline_s)}"
        left = f", {self._done} of them done before" if self._done else ""
        how = f"{study.folds} folds, {study.workers} at a time ({study.executor})"
        self._say(f"{study.name}: {study.direction} {study.objective}, {study.n_trials} trials{left}, {how}{until}")

    def trial(self, result: TrialResult, best: TrialResult | None, left_s: float | None) -> None:
        self._done += 1
        planned = f"/{self._study.n_trials}" if self._study is not None else ""
        left = "" if left_s is None else f", {lasting(left_s)} left"
        top = "" if best is None else f"best {show(best.score)} (trial {best.number})"
        self._say(
            f"trial {result.number} [{self._done}{planned}] {told(result, self._prefix)}; {top or 'no best yet'}{left}"
        )

    def ended(self, result: OptimizationResult) -> None:
        again = "" if result.rescored is None else f", {show(result.rescored.mean)} on other folds"
        best = show_all(without_prefix(self._prefix, result.best_parameters))
        self._say(f"best {result.objective} {result.best_score:.6g}{again}: {best}")
        self._say(f"{len(result.trials)} trials in {lasting(result.seconds)}, stopped by {result.stopped_by.value}")


class LiveTable:
    """Watches a study in a terminal: one table that is redrawn in place, for the last time when the study ends.

    Args:
        console: a console of rich; None for standard error.
        clock: measures the elapsed time.
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
        """Stop redrawing the table; also needed after an error, when `ended` is not called."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def render(self) -> Table:
        """Return the table in its present state."""
        from rich.table import Table
        from rich.text import Text

        study, names, prefix = self._study, self._names(), self._prefix
        table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
        table.title = Text(self._title())  # the user's texts are never read as markup
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
        """Columns for the parameters that vary; constant ones would only take space."""
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


def progress_for(stream: TextIO, clock: Clock | None = None) -> Progress:
    """Return the progress display for a stream: the live table on a terminal, otherwise one line per trial."""
    if stream.isatty():
        from rich.console import Console

        return LiveTable(Console(file=stream, highlight=False), clock)
    return LogLines(lambda line: print(line, file=stream, flush=True))


def told(result: TrialResult, prefix: str = "") -> str:
    """Return a trial as one line: result, duration, and parameters (without the prefix that all names share)."""
    if result.score is None:
        reason = result.error.splitlines()[0] if result.error else "no score"
        outcome = f"{result.status.value}: {reason}"
    elif result.status is Outcome.COMPLETED:
        outcome = show(result.score)
    else:
        outcome = f"{show(result.score)} ({result.status.value} after {len(result.fold_scores)} folds)"
    return f"{outcome} in {lasting(result.seconds)} {show_all(without_prefix(prefix, result.parameters))}"


def lasting(seconds: float) -> str:
    """Return a duration, in seconds, as text for people.

    >>> lasting(0.034), lasting(12.34), lasting(125.0), lasting(7260.0)
    ('34 ms', '12.3 s', '2 min 5 s', '2 h 1 min')
    """
    if seconds < 1.0:
        return f"{1000.0 * seconds:.0f} ms"
    if seconds < 60.0:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def shared_prefix(names: Iterable[str]) -> str:
    """Return the prefix shared by all parameter names, such as that of a pipeline's step; empty if there is none.

    >>> shared_prefix(["estimator__C", "estimator__gamma"]), shared_prefix(["C", "estimator__gamma"])
    ('estimator__', '')
    """
    stems = {name.rpartition("__")[0] for name in names}
    stem = stems.pop() if len(stems) == 1 else ""
    return f"{stem}__" if stem else ""


def without_prefix(prefix: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with the prefix removed from their names."""
    return {name.removeprefix(prefix): value for name, value in parameters.items()}


def show_all(parameters: Mapping[str, Any]) -> str:
    """Return parameters as one line of text: `C=1.5 kernel=rbf`."""
    return " ".join(f"{name}={show(value)}" for name, value in parameters.items())
