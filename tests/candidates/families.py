"""The stable versions that candidates would follow, and the rows that clients send them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tests.candidates.models import Labels, Priced, Steady

USERS = 400
_SPREAD = 0.6180339887498949  # multiples of the golden ratio are even over 0 to 1


def numbers(request: int, user: int) -> list[float]:
    """The row of a request: chance, segment, a, b."""
    return [request * _SPREAD % 1, user % 50, request * 0.7548776662 % 1, request * 0.5698402910 % 1]


def house(request: int, user: int) -> dict[str, Any]:
    """The same as a row with names."""
    _, segment, a, b = numbers(request, user)
    return {"size": a, "age": int(100 * b), "rooms": int(segment) % 5, "town": ["Oslo", "Lima"][request % 2]}


@dataclass(frozen=True)
class Family:
    """One stable version.

    Attributes:
        stable: makes its model.
        row: the row of a request, by the request's and the user's number.
        example: rows for its registration, from many of these; None registers it without an example.
        pause_s: how long each connection waits between two requests.
        connections: how many requests are under way at most.
    """

    stable: Callable[[], Any]
    row: Callable[[int, int], Any]
    example: Callable[[list[Any]], Any] | None
    pause_s: float = 0.03
    connections: int = 8


FAMILIES = {
    "numbers": Family(Steady, numbers, np.array),
    "unhurried": Family(lambda: Steady(0.06), numbers, np.array, pause_s=0.0, connections=24),
    "labels": Family(lambda: Labels(["no", "yes"]), numbers, np.array),
    "columns": Family(lambda: Priced(["size", "age"]), house, pd.DataFrame),
}


def example_of(family: Family) -> Any:
    """Fifty rows as clients send them."""
    return None if family.example is None else family.example([family.row(i + 1, i) for i in range(50)])
