"""The search space: parameters, parents before children, and points as rows of unit positions.

Notation: a *row* is one point, with one number per searched parameter: the unit position of a numeric one, the number
of a category. An inactive parameter lies at `INACTIVE` or `INACTIVE_CATEGORY`, so each point has exactly one row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import Conflict, InvalidInput
from streamb.hashing import sha256_hex
from streamb.hpo.parameters import INACTIVE, INACTIVE_CATEGORY, Array, Condition, Fixed, Parameter, holds
from streamb.hpo.reading import read_parameters

_DIGITS: Final = 9
"""Two values of a continuous parameter are equal if their positions agree to this many decimal digits."""

_SAME: Final = 1e-9

_MOST_LISTED: Final = 4096
_TRIES: Final = 64


class SpaceExhausted(Conflict):
    """Every point of a finite search space has been tried: there is nothing left to suggest."""

    code = "space_exhausted"


class Space:
    """A search space over named parameters, some of them active only under conditions.

    Attributes:
        searched: the parameters that vary, parents before children: each has one column in a row.
        fixed: the parameters that do not vary.
        every: all points of a small discrete space (m, d); None if there are more than a few thousand.
        size: the number of points; `math.inf` with a continuous parameter; an upper bound with conditions and no
            `every`.

    Raises:
        InvalidInput: a name occurs twice, or a condition refers to an unknown parameter; the message names it.
    """

    def __init__(self, parameters: Iterable[Parameter | Fixed]) -> None:
        ordered = _parents_first(list(parameters))
        self.searched: tuple[Parameter, ...] = tuple(p for p in ordered if not isinstance(p, Fixed))
        self.fixed: tuple[Fixed, ...] = tuple(p for p in ordered if isinstance(p, Fixed))
        self.names: tuple[str, ...] = tuple(p.name for p in self.searched)
        self.categorical: NDArray[np.bool_] = np.array([p.categorical for p in self.searched], dtype=bool)
        self.discrete: NDArray[np.bool_] = np.array([p.levels is not None for p in self.searched], dtype=bool)
        self._column = {p.name: j for j, p in enumerate(self.searched)}
        self._conditional = [j for j, p in enumerate(self.searched) if p.conditions]
        self._constants = {p.name: p.constant for p in self.fixed}
        self._switches = [self._switch(j, c) for j in self._conditional for c in self.searched[j].conditions]
        self.every: Array | None = self._listing()
        levels = [float(p.levels or math.inf) for p in self.searched]
        self.size: float = float(len(self.every)) if self.every is not None else math.prod(levels)

    @classmethod
    def of(cls, described: Space | Mapping[str, Any]) -> Space:
        """Make a space from plain data; `streamb.hpo.reading` says how each parameter may be described.

        >>> space = Space.of({"C": (0.01, 100.0, "log"), "kernel": ["rbf", "linear"]})
        >>> space.decode(space.encode({"C": 1.0, "kernel": "linear"}))
        {'C': 1.0, 'kernel': 'linear'}
        """
        return described if isinstance(described, Space) else cls(read_parameters(described))

    def __len__(self) -> int:
        return len(self.searched)

    @property
    def conditional(self) -> bool:
        """Whether any searched parameter has a condition."""
        return bool(self._conditional)

    # --- rows and values ------------------------------------------------------------------------------------------

    def encode(self, parameters: Mapping[str, Any]) -> Array:
        """Return the row of a point (d).

        Raises:
            InvalidInput: a value is missing or outside the space; the message names the parameter.
        """
        row = np.empty(len(self))
        for j, parameter in enumerate(self.searched):
            if not self._active_given(parameter, parameters):
                row[j] = _resting(parameter)
                continue
            if parameter.name not in parameters:
                raise InvalidInput(f"parameter {parameter.name!r} has no value; give one within the search space")
            value = parameters[parameter.name]
            if not parameter.contains(value):
                raise InvalidInput(f"parameter {parameter.name!r}: {value!r} is outside of the search space")
            row[j] = parameter.position(value)
        return row

    def decode(self, row: Array) -> dict[str, Any]:
        """Return the values of a row's active parameters and of the fixed ones, by name."""
        values: dict[str, Any] = {}
        for parameter, position in zip(self.searched, row, strict=True):
            if self._active_given(parameter, values):
                values[parameter.name] = parameter.value(float(position))
        for fixed in self.fixed:
            if all(self._holds(condition, values) for condition in fixed.conditions):
                values[fixed.name] = fixed.constant
        return values

    def defaults(self) -> dict[str, Any]:
        """Return each parameter's default; where it has none, the middle of its range or its first category."""
        values: dict[str, Any] = {}
        for parameter in self.searched:
            if self._active_given(parameter, values):
                middle = parameter.value(0.0 if parameter.categorical else 0.5)
                values[parameter.name] = middle if parameter.default is None else parameter.default
        return self.decode(self.encode(values))

    def _active_given(self, parameter: Parameter, values: Mapping[str, Any]) -> bool:
        return all(self._holds(condition, values) for condition in parameter.conditions)

    def _holds(self, condition: Condition, values: Mapping[str, Any]) -> bool:
        known = values if condition.parent in values else self._constants
        return condition.parent in known and holds(condition, known[condition.parent])

    # --- many rows at once ----------------------------------------------------------------------------------------

    def spread(self, cube: Array) -> Array:
        """Map uniform points of the unit cube (n, d) to rows, each value equally likely."""
        rows = np.empty_like(cube)
        for j, parameter in enumerate(self.searched):
            rows[:, j] = parameter.spread(cube[:, j])
        return self._rest(rows)

    def snap(self, rows: Array) -> Array:
        """Return the nearest points of the space to the rows (n, d); inactive parameters get their fixed position."""
        rows = rows.copy()
        for j, parameter in enumerate(self.searched):
            if self.discrete[j]:
                rows[:, j] = parameter.snap(rows[:, j])
        np.clip(rows, 0.0, 1.0, out=rows, where=~self.categorical)
        return self._rest(rows)

    def active(self, rows: Array) -> NDArray[np.bool_]:
        """Return which parameters are active in each of the snapped rows (n, d)."""
        active = np.ones(rows.shape, dtype=bool)
        for j, parent, positions in self._switches:
            if parent is None:
                active[:, j] &= bool(positions)
                continue
            allowed = np.zeros(len(rows), dtype=bool)
            for position in positions:
                allowed |= np.abs(rows[:, parent] - position) < _SAME
            active[:, j] &= active[:, parent] & allowed
        return active

    def _switch(self, j: int, condition: Condition) -> tuple[int, int | None, tuple[float, ...]]:
        """Column, parent column, and the parent's positions that activate it; with no parent column: if any, always."""
        parent = self._column.get(condition.parent)
        if parent is None:
            return j, None, (0.0,) if holds(condition, self._constants[condition.parent]) else ()
        one = self.searched[parent]
        return j, parent, tuple(one.position(value) for value in condition.values if one.contains(value))

    def _rest(self, rows: Array) -> Array:
        if self._conditional:
            active = self.active(rows)
            for j in self._conditional:
                rows[~active[:, j], j] = _resting(self.searched[j])
        return rows

    def sample(self, rng: np.random.Generator, n: int) -> Array:
        """Return `n` independent random rows (n, d)."""
        return self.spread(rng.random((n, len(self))))

    def neighbours(self, row: Array) -> Array:
        """Return the rows that differ from `row` in one active discrete parameter (and in what it activates)."""
        active = self.active(row[None, :])[0]
        found = []
        for j in np.flatnonzero(self.discrete & active):
            positions = self.searched[j].neighbours(float(row[j]))
            rows = np.repeat(row[None, :], len(positions), axis=0)
            rows[:, j] = positions
            found.append(rows)
        if not found:
            return np.empty((0, len(self)))
        rows = np.concatenate(found)
        if not self._conditional:
            return rows
        fresh = self.active(rows) & ~active  # newly activated: the first category, the middle of a range
        rows[fresh & self.categorical] = 0.0
        return self.snap(rows)

    def key(self, row: Array) -> bytes:
        """Return bytes that identify the point; the same however the row was computed."""
        return (np.round(row, _DIGITS) + 0.0).tobytes()  # + 0.0: minus zero is zero

    def digest(self) -> str:
        """Return the SHA-256 of the space's parameters; objects among the categories count by their type."""
        told = [(type(p).__name__, p.name, p.levels, p.conditions, _shape(p)) for p in self.searched]
        return sha256_hex(repr([told, [(p.name, _plain(p.constant), p.conditions) for p in self.fixed]]).encode())

    def _listing(self) -> Array | None:
        levels = [parameter.levels or 0 for parameter in self.searched]
        if not np.all(self.discrete) or math.prod(levels) > _MOST_LISTED:
            return None
        axes = [parameter.spread((np.arange(m) + 0.5) / m) for parameter, m in zip(self.searched, levels, strict=True)]
        rows = self._rest(np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1))
        return np.unique(rows, axis=0)


def something_new(space: Space, taken: Set[object], rng: np.random.Generator) -> Array:
    """Return a random point whose key is not in `taken`.

    Raises:
        SpaceExhausted: there is no such point.
    """
    every = space.every
    for rows in [rng.permutation(every)] if every is not None else (space.sample(rng, 256) for _ in range(_TRIES)):
        for row in rows:
            if space.key(row) not in taken:
                return np.asarray(row)
    raise SpaceExhausted("every point of the search space has been tried; widen the space or stop the search")


def _shape(parameter: Parameter) -> list[Any]:
    values = getattr(parameter, "values", ())
    return [getattr(parameter, end, None) for end in ("low", "high", "log", "step")] + [
        _plain(value) for value in values
    ]


def _plain(value: Any) -> Any:
    """A text that is the same in every process; `repr` of an object may contain its address."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, list | tuple):
        return [type(value).__name__, *map(_plain, value)]
    return value if isinstance(value, str | bool | int | float | type(None)) else type(value).__name__


def _resting(parameter: Parameter) -> float:
    return INACTIVE_CATEGORY if parameter.categorical else INACTIVE


def _parents_first(parameters: Sequence[Parameter | Fixed]) -> list[Parameter | Fixed]:
    names = [parameter.name for parameter in parameters]
    for name in names:
        if names.count(name) > 1:
            raise InvalidInput(f"parameter {name!r} is in the search space twice")
    for parameter in parameters:
        for condition in parameter.conditions:
            if condition.parent not in names:
                raise InvalidInput(
                    f"parameter {parameter.name!r} depends on {condition.parent!r}, which is not in the search space"
                )
    ordered: list[Parameter | Fixed] = []
    waiting = list(parameters)
    while waiting:
        placed = {parameter.name for parameter in ordered}
        ready = [p for p in waiting if all(condition.parent in placed for condition in p.conditions)]
        if not ready:
            stuck = ", ".join(repr(p.name) for p in waiting)
            raise InvalidInput(f"the conditions of {stuck} form a cycle; one of them must not depend on another")
        ordered += ready
        waiting = [p for p in waiting if p not in ready]
    return ordered
