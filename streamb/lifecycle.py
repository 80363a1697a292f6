"""State machines as data: a table of allowed transitions, and a check that refuses all others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from streamb.errors import InvalidTransition

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Lifecycle(Generic[S]):
    """The allowed transitions between states.

    Attributes:
        name: what the states belong to, for messages: "deployment", "model version's stage".
        allowed: state -> the states that may follow it; a state without an entry is final.
    """

    name: str
    allowed: Mapping[S, frozenset[S]]

    def is_final(self, state: S) -> bool:
        """Return True if no other state may follow `state`."""
        return not self.allowed.get(state)

    def check(self, current: S, target: S) -> S:
        """Return `target`, or raise InvalidTransition with the allowed states if it may not follow `current`."""
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
