"""Progress as lines: one a trial, for logs and for terminals that cannot redraw."""

from __future__ import annotations

from collections.abc import Callable

from streamb.hpo.reporting.axes import shared_prefix, show, show_all, without_prefix
from streamb.hpo.study.study import OptimizationResult, Outcome, StudyView, TrialResult


class LogLines:
    """Watches a study and says one line for its beginning, each trial, and its end.

    Args:
        say: takes a line, and sees to it that it is read at once.
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


def told(result: TrialResult, prefix: str = "") -> str:
    """A trial on one line: what came of it, how long it took, with which parameters (less a prefix of all names)."""
    if result.score is None:
        reason = result.error.splitlines()[0] if result.error else "no score"
        outcome = f"{result.status.value}: {reason}"
    elif result.status is Outcome.COMPLETED:
        outcome = show(result.score)
    else:
        outcome = f"{show(result.score)} ({result.status.value} after {len(result.fold_scores)} folds)"
    return f"{outcome} in {lasting(result.seconds)} {show_all(without_prefix(prefix, result.parameters))}"


def lasting(seconds: float) -> str:
    """A duration as a person reads it.

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
