"""State machines as data: a table of allowed transitions, and one place that refuses the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from streamb.errors import InvalidTransition

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Lifecycle(Generic[S]):
    """Which states may follow which.

    Attributes:
        name: what has this life (for messages): "deployment", "model version stage".
        allowed: state -> the states that may follow it; a state that is missing is final.
    """

    name: str
    allowed: Mapping[S, frozenset[S]]

    def is_final(self, state: S) -> bool:
        """True when nothing may follow `state`."""
        return not self.allowed.get(state)

    def check(self, current: S, target: S) -> S:
        """Return `target`, or raise `InvalidTransition` naming what would have been allowed."""
        following = self.allowed.get(current, frozenset())
        if target not in following:
            options = ", ".join(sorted(following)) or "nothing: it is final"
            raise InvalidTransition(
                f"a {self.name} cannot go from {current} to {target}; from {current} it may go to {options}",
                current=str(current),
                target=str(target),
                allowed=sorted(map(str, following)),
            )
        return target
