"""Parameters of a search space: which values each may take, and where a value lies between 0 and 1.

Notation: `u` is the unit position of a value. A continuous parameter maps `[low, high]` onto `[0, 1]`, through the
logarithm where `log` is set. A parameter with `m` levels gives each level a cell, so that rounding favours none: level
`k` of a linear one lies at `(k + 1/2) / m`; the cells of a logarithmic integer reach from `ln(v - 1/2)` to
`ln(v + 1/2)`. A category's position is its number, `0 .. m - 1`, whose order has no meaning.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

INACTIVE: Final = 0.5
"""The position of a numeric parameter that is not active: the middle, which is nearest to all its values."""

INACTIVE_CATEGORY: Final = -1.0
"""The position of a categorical parameter that is not active: an extra category that no value has."""

_REACH: Final = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True)
class Condition:
    """A parameter is active only while its parent is active and has one of these values."""

    parent: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Parameter(ABC):
    """One dimension of a search space; one with levels maps each value to its level and back.

    Attributes:
        name: unique in its space.
        default: the value to start with; None if none was given.
        conditions: conditions that must all hold for the parameter to be active.
        categorical: whether positions are numbers of categories, which have no order.
    """

    name: str
    default: Any = field(default=None, kw_only=True)
    conditions: tuple[Condition, ...] = field(default=(), kw_only=True)
    categorical: ClassVar[bool] = False

    @property
    @abstractmethod
    def levels(self) -> int | None:
        """The number of values; None if the parameter is continuous."""

    @abstractmethod
    def contains(self, value: Any) -> bool:
        """Whether the parameter may take this value."""

    @abstractmethod
    def _level(self, value: Any) -> int:
        """Return the level of a value, from 0."""

    @abstractmethod
    def _at(self, level: int) -> Any:
        """Return the value at a level."""

    def position(self, value: Any) -> float:
        """Return the position of a value that `contains` accepts, between 0 and 1; a category's number."""
        return (self._level(value) + 0.5) / (self.levels or 1)

    def value(self, position: float) -> Any:
        """Return the value whose cell contains the position (the nearest one, if continuous)."""
        return self._at(self._cell(position))

    def snap(self, positions: Array) -> Array:
        """Return the positions of the values that are nearest to `positions`."""
        u, levels = np.clip(positions, 0.0, 1.0), self.levels
        return u if levels is None else (np.minimum(np.floor(u * levels), levels - 1) + 0.5) / levels

    def spread(self, uniform: Array) -> Array:
        """Map uniform numbers from `[0, 1)` to positions, each value equally likely."""
        return self.snap(uniform)

    def neighbours(self, position: float) -> Array:
        """Return the other positions that one step of a local search may try; empty if the parameter is continuous."""
        levels = self.levels
        return np.empty(0) if levels is None else (_rungs(self._cell(position), levels) + 0.5) / levels

    def _cell(self, position: float) -> int:
        levels = self.levels or 1
        return min(max(int(position * levels), 0), levels - 1)


def _is_number(value: Any) -> bool:
    """Return whether a value is a Python or numpy number; True and False do not count."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _rungs(level: int, levels: int) -> NDArray[np.int64]:
    """Levels to try around one: all of them if there are few, else the nearest and some at growing distances."""
    if levels <= 2 * len(_REACH):
        return np.delete(np.arange(levels), level)
    near = np.array([level + sign * reach for reach in _REACH for sign in (-1, 1)])
    return near[(near >= 0) & (near < levels)]


@dataclass(frozen=True)
class Float(Parameter):
    """A real number between `low` and `high`, both included; with `step`, only `low + k * step`."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def levels(self) -> int | None:
        return None if self.step is None else math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def contains(self, value: Any) -> bool:
        if not _is_number(value) or not self.low <= value <= self.high:
            return False
        # a value off the grid (such as a model's own default) must not be moved silently
        return self.step is None or abs(self.value(self.position(value)) - value) <= 1e-9 * max(1.0, abs(value))

    def position(self, value: Any) -> float:
        if self.step is not None:
            return super().position(value)
        if self.high == self.low:
            return 0.5
        if self.log:
            return math.log(float(value) / self.low) / math.log(self.high / self.low)
        return (float(value) - self.low) / (self.high - self.low)

    def value(self, position: float) -> float:
        if self.step is not None:
            return self._at(self._cell(position))
        u = min(max(float(position), 0.0), 1.0)
        value = self.low * (self.high / self.low) ** u if self.log else self.low + u * (self.high - self.low)
        return min(max(value, self.low), self.high)

    def _level(self, value: Any) -> int:
        return round((float(value) - self.low) / (self.step or 1.0))

    def _at(self, level: int) -> float:
        return float(f"{self.low + level * (self.step or 1.0):.12g}")  # through 12 digits: 0.1 * 3 is to read 0.3


@dataclass(frozen=True)
class Integer(Parameter):
    """A whole number between `low` and `high`, both included, in steps of `step`."""

    low: int
    high: int
    log: bool = False
    step: int = 1

    @property
    def levels(self) -> int:
        return (self.high - self.low) // self.step + 1

    def contains(self, value: Any) -> bool:
        whole = _is_number(value) and float(value).is_integer() and self.low <= value <= self.high
        return bool(whole) and self._level(value) * self.step == int(value) - self.low

    def position(self, value: Any) -> float:
        return float(self._log_position(np.asarray(float(value)))) if self.log else super().position(value)

    def value(self, position: float) -> int:
        return int(self._log_value(np.asarray(float(position)))) if self.log else self._at(self._cell(position))

    def snap(self, positions: Array) -> Array:
        if not self.log:
            return super().snap(positions)
        return self._log_position(self._log_value(np.clip(positions, 0.0, 1.0)))

    def neighbours(self, position: float) -> Array:
        if not self.log:
            return super().neighbours(position)
        # far steps by cell of the logarithm too: from 16 to 1024 is one step for a search
        value = self.value(position)
        near = self.low + _rungs(self._level(value), self.levels) * self.step
        reach = self._log_value(np.clip(position + np.array([-0.4, -0.2, -0.1, -0.05, 0.05, 0.1, 0.2, 0.4]), 0.0, 1.0))
        found = np.unique(np.concatenate([near, reach]))
        return self._log_position(found[found != value].astype(float))

    def _level(self, value: Any) -> int:
        return (int(value) - self.low) // self.step

    def _at(self, level: int) -> int:
        return self.low + level * self.step

    def _log_value(self, u: Array) -> Array:
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return np.clip(np.rint(np.exp(low + u * (high - low))), self.low, self.high)

    def _log_position(self, values: Array) -> Array:
        low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
        return np.asarray((np.log(values) - low) / (high - low))


@dataclass(frozen=True)
class Ordinal(Parameter):
    """One of several values whose order is meaningful, such as layer sizes 16, 64, 256; equally spaced."""

    values: tuple[Any, ...]

    @property
    def levels(self) -> int:
        return len(self.values)

    def contains(self, value: Any) -> bool:
        return _index(self.values, value) is not None

    def _level(self, value: Any) -> int:
        return _index(self.values, value) or 0

    def _at(self, level: int) -> Any:
        return self.values[level]


@dataclass(frozen=True)
class Categorical(Ordinal):
    """One of several values without an order: its position is its number."""

    categorical: ClassVar[bool] = True

    def position(self, value: Any) -> float:
        return float(self._level(value))

    def snap(self, positions: Array) -> Array:
        return np.clip(np.rint(positions), 0, self.levels - 1)

    def spread(self, uniform: Array) -> Array:
        return np.minimum(np.floor(uniform * self.levels), self.levels - 1)

    def neighbours(self, position: float) -> Array:
        return np.delete(np.arange(self.levels, dtype=float), int(position))

    def _cell(self, position: float) -> int:
        return min(max(int(position), 0), self.levels - 1)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value that never changes: it is given to every trial and is not searched."""

    name: str
    constant: Any
    conditions: tuple[Condition, ...] = ()


def _index(values: tuple[Any, ...], value: Any) -> int | None:
    """The index of a value; unlike in `tuple.index`, True is not equal to 1."""
    for number, one in enumerate(values):
        if isinstance(one, bool) == isinstance(value, bool) and _equal(one, value):
            return number
    return None


def _equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except (TypeError, ValueError):  # comparing arrays and the like gives neither True nor False
        return one is other


def holds(condition: Condition, value: Any) -> bool:
    """Return whether the parent's value fulfils the condition.

    >>> holds(Condition("kernel", ("rbf", "poly")), "rbf"), holds(Condition("flag", (True,)), 1)
    (True, False)
    """
    return _index(condition.values, value) is not None
