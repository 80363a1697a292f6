"""Divides rows into folds for training and scoring; folds can keep classes, groups or the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput

Rows = NDArray[np.intp]
Kind = Literal["stratified", "grouped", "time", "plain"]


@dataclass(frozen=True, slots=True)
class Folds:
    """A way to divide rows into folds, repeatable with other folds.

    Attributes:
        kind: stratified keeps the shares of the classes; grouped keeps the rows of a group together; time trains on
            earlier rows than it scores (the rows must be in order of time).
        n: number of folds.
        seed: seed of the shuffling.
    """

    kind: Kind
    n: int
    seed: int

    @property
    def repeatable(self) -> bool:
        """Whether another repeat gives other folds."""
        return self.kind != "time"

    def split(self, y: NDArray[Any] | None, groups: NDArray[Any] | None, rows: int, repeat: int) -> list[_Pair]:
        """Return pairs of row numbers to train on and to score on; the same repeat always gives the same pairs."""
        from sklearn.model_selection import TimeSeriesSplit

        if self.kind == "time":
            return list(TimeSeriesSplit(n_splits=self.n).split(np.zeros(rows)))
        rng = np.random.default_rng([self.seed, repeat])
        if self.kind == "grouped" and groups is not None:
            place = _grouped(groups, self.n, rng)
        elif self.kind == "stratified" and y is not None:
            place = _stratified(y, self.n, rng)
        else:
            place = rng.permutation(np.arange(rows) % self.n)
        return [(np.flatnonzero(place != fold), np.flatnonzero(place == fold)) for fold in range(self.n)]


_Pair = tuple[Rows, Rows]


def _stratified(y: NDArray[Any], n: int, rng: np.random.Generator) -> Rows:
    """Deal the rows of a class to the folds in random order; the next class starts where the last one ended."""
    _, codes = np.unique(_comparable(y), return_inverse=True)
    order = np.lexsort((rng.permutation(len(codes)), codes.ravel()))
    place = np.empty(len(codes), dtype=np.intp)
    place[order] = np.arange(len(codes)) % n
    return place


def _grouped(groups: NDArray[Any], n: int, rng: np.random.Generator) -> Rows:
    """Assign whole groups, the largest first, to the fold with the fewest rows; equally large ones in random order."""
    _, codes, sizes = np.unique(_comparable(groups), return_inverse=True, return_counts=True)
    home, load = np.empty(len(sizes), dtype=np.intp), np.zeros(n)
    for group in np.lexsort((rng.permutation(len(sizes)), -sizes)):
        fold = int(np.argmin(load))
        home[group], load[fold] = fold, load[fold] + sizes[group]
    return np.asarray(home[codes.ravel()])


def _comparable(values: NDArray[Any]) -> NDArray[Any]:
    """Convert objects to text: a column that mixes numbers, strings and None cannot be sorted."""
    return values.astype(str) if values.dtype.kind == "O" else values


def choose_kind(wanted: str, y: NDArray[Any] | None, groups: NDArray[Any] | None, *, classifies: bool) -> Kind:
    """Return the kind of folds that suits the data.

    Raises:
        InvalidInput: grouped folds are wanted without groups, or stratified ones without classes.
    """
    if wanted == "grouped" and groups is None:
        raise InvalidInput("grouped folds need groups: one value per row that says which rows belong together")
    if wanted == "stratified" and y is None:
        raise InvalidInput("stratified folds need classes: give training_data as (X, y)")
    if wanted == "auto":
        wanted = "grouped" if groups is not None else ("stratified" if classifies and y is not None else "plain")
    return cast("Kind", wanted)


def check_folds(folds: Folds, rows: int, groups: NDArray[Any] | None) -> None:
    """Raise InvalidInput if there are more folds than the data has rows or groups for."""
    units, what = (
        (len(np.unique(_comparable(groups))), "groups")
        if folds.kind == "grouped" and groups is not None
        else (rows, "rows")
    )
    least = folds.n + 1 if folds.kind == "time" else folds.n
    if units < least:
        raise InvalidInput(f"{folds.n} folds need at least {least} {what}, but there are {units}; use fewer folds")
