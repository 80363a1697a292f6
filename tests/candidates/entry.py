"""What a candidate is, and what must become of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

REFUSED, AT_ORDER = "refused at registration", "refused at order"
FAILED, BACK, WAITS, DONE = "failed", "rolled_back", "awaiting_approval", "completed"


@dataclass(frozen=True)
class Candidate:
    """One version that is wrong in one way.

    Attributes:
        name: what is wrong with it.
        make: makes its model.
        ends: how its deployment may end: the states above.
        reason: words of which the reason must hold at least one, in any case of letters.
        family: which stable version it would follow (`families.FAMILIES`).
        hurt: how many users may have had a failed request.
        example: whether it is registered with an example, so that its signature is known.
        columns: the columns of its example, if they are others than the family's: a function of the family's frame.
        options: options of its deployment, besides those of the harness.
        quick: whether `make test` tries it; `make soak` tries all.
    """

    name: str
    make: Callable[[], Any]
    ends: tuple[str, ...]
    reason: tuple[str, ...] = ()
    family: str = "numbers"
    hurt: int = 0
    example: bool = False
    columns: Callable[[Any], Any] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    quick: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a candidate.

    Attributes:
        end: how its deployment ended; one of the names above.
        reason: why, as the platform says.
        hurt, failed, asked: users with a failed request, failed requests, all requests.
        seconds: from the order to the end.
        reached: the highest share of traffic that it had, in percent.
        left: what is not as it was before, in words; empty if the state is clean.
        summary: the answers by status, code and version.
    """

    name: str
    end: str
    reason: str
    hurt: int = 0
    failed: int = 0
    asked: int = 0
    seconds: float = 0.0
    reached: float = 0.0
    left: str = ""
    summary: str = ""

    def complaints(self, wanted: Candidate) -> list[str]:
        """Return what is not as it must be."""
        found = []
        if self.end not in wanted.ends:
            found.append(f"it ended {self.end}, not {' or '.join(wanted.ends)}")
        if wanted.reason and not any(word.lower() in self.reason.lower() for word in wanted.reason):
            found.append(f"its reason says none of {', '.join(map(repr, wanted.reason))}")
        if self.hurt > wanted.hurt:
            found.append(f"{self.hurt} users were hurt, not at most {wanted.hurt}")
        if self.left:
            found.append(f"left behind: {self.left}")
        return found
