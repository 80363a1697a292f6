"""The history of a search: the trials handed out and their results, also restored from a journal.

`Optimizer` holds its lock while it calls anything here.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from streamb.errors import Conflict, InvalidInput, NotFound
from streamb.hpo.journal import Asked, Opened, Told, entries_of, line_of
from streamb.hpo.parameters import Array
from streamb.hpo.space import Space
from streamb.hpo.trial import Status, Trial
from streamb.store.files import LineFile


class History:
    """The trials of a search.

    Attributes:
        trials: all trials, in the order in which they were asked for.
        tried: the keys of their rows, which must not be suggested again.
        told: how many trials have a result.
        theta: the hyperparameters that were fitted last.
        fitted_to: how many results `theta` was fitted to.
        again: trials that an earlier process handed out and that have no result, to be handed out again.

    Args:
        initial: the points to try first.
        journal: the file to keep everything in, and to resume from.
        opened: what identifies the search; a journal of another search is rejected.
    """

    def __init__(
        self, space: Space, initial: Sequence[Mapping[str, Any]], journal: Path | str | None, opened: Opened
    ) -> None:
        self.trials: list[Trial] = []
        self.tried: set[object] = set()
        self.told = 0
        self.theta: tuple[float, ...] | None = None
        self.fitted_to = -1
        self.again: list[int] = []
        self._space, self._initial = space, [dict(point) for point in initial]
        self._initial_keys = [self._key(point, self.row_of(point)) for point in self._initial]
        self._journal = LineFile(journal) if journal is not None else None
        if self._journal is not None:
            try:
                self._replay(self._journal, opened)
            except BaseException:
                self._journal.close()
                raise

    def next_initial(self) -> int | None:
        """Return the index of the next initial point that has not been tried; None if there is none."""
        return next((place for place, key in enumerate(self._initial_keys) if key not in self.tried), None)

    def row_of(self, parameters: Mapping[str, Any]) -> tuple[float, ...] | None:
        """Return the row of a point; None when it lies outside the space."""
        try:
            row = self._space.encode(parameters)
        except InvalidInput:
            return None
        return tuple(self._space.snap(row[None, :])[0].tolist())

    def begin_initial(self, place: int) -> Trial:
        """Hand out the initial point with index `place`."""
        return self._begin(Asked(len(self.trials), self.row_of(self._initial[place]), place, None, {}), None)

    def begin(self, row: tuple[float, ...], theta: Array | None = None, fitted_to: int = 0) -> Trial:
        """Hand out a point, chosen by a surrogate with these hyperparameters if there are any."""
        kept = None if theta is None else tuple(theta.tolist())
        return self._begin(Asked(len(self.trials), row, None, kept, {}, fitted_to), None)

    def begin_given(self, parameters: Mapping[str, Any]) -> Trial:
        """Hand out a point that the caller chose."""
        return self._begin(Asked(len(self.trials), self.row_of(parameters), None, None, {}), parameters)

    def end(self, told: Told) -> None:
        """Record the result of a trial.

        Raises:
            NotFound: there is no such trial. Conflict: it already has a result.
            StorageFailed: the journal cannot be written; the result was not recorded.
        """
        if not 0 <= told.id < len(self.trials):
            raise NotFound(f"there is no trial {told.id}; {len(self.trials)} have been asked for")
        if self.trials[told.id].status is not Status.RUNNING:
            raise Conflict(f"trial {told.id} has been told before; a trial has one result")
        if self._journal is not None:
            self._journal.append(line_of(told))
        self._ended(told)

    def close(self) -> None:
        """Close the journal, so that another process may open it."""
        if self._journal is not None:
            self._journal.close()

    def _key(self, parameters: Mapping[str, Any], row: tuple[float, ...] | None) -> object:
        return repr(sorted(parameters.items())) if row is None else self._space.key(np.array(row))

    def _begin(self, asked: Asked, given: Mapping[str, Any] | None) -> Trial:
        trial = self._trial(asked, given)
        if self._journal is not None:
            told = {name: repr(value) for name, value in trial.parameters.items()}
            self._journal.append(line_of(replace(asked, parameters=told)))
        self._begun(asked, trial)
        return trial

    def _trial(self, asked: Asked, given: Mapping[str, Any] | None) -> Trial:
        if asked.row is not None:
            return Trial(asked.id, self._space.decode(np.array(asked.row)), asked.row)
        if asked.initial is None:
            return Trial(asked.id, dict(given or {}), None)
        if asked.initial >= len(self._initial):
            raise InvalidInput(
                f"the journal tells of initial point {asked.initial}, and {len(self._initial)} are given; give the"
                " search the initial points that it began with"
            )
        return Trial(asked.id, dict(self._initial[asked.initial]), None)

    def _begun(self, asked: Asked, trial: Trial) -> None:
        self.trials.append(trial)
        self.tried.add(self._key(trial.parameters, trial.row))
        if asked.theta is not None:
            self.theta, self.fitted_to = asked.theta, asked.fitted_to

    def _ended(self, told: Told) -> None:
        self.trials[told.id] = replace(
            self.trials[told.id],
            status=Status(told.status),
            value=told.value,
            variance=told.variance,
            constraints=dict(told.constraints) if told.constraints else None,
        )
        self.told += 1
        self.again = [number for number in self.again if number != told.id]

    def _replay(self, journal: LineFile, opened: Opened) -> None:
        entries = entries_of(journal)
        if not entries:
            journal.append(line_of(opened))
            return
        if entries[0] != opened:
            raise InvalidInput(f"the journal {journal.path} is of another search: its space, seed or direction differs")
        for entry in entries[1:]:
            if isinstance(entry, Asked):
                self._begun(entry, self._trial(entry, {k: _value_of(text) for k, text in entry.parameters.items()}))
            elif isinstance(entry, Told):
                self._ended(entry)
        self.again = [trial.id for trial in self.trials if trial.status is Status.RUNNING]


def _value_of(text: str) -> Any:
    """Parse a value from its text; a value that is not plain data stays text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
