"""How the limits on callers are divided among gateways: what one gateway may use of them, and what it tells of its use.

A limit counts for all gateways together, and none of them asks another one before it lets a request through. So each
has a share of every limit, and the shares of one limit never add up to more than 1 (`control.shares`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Name: TypeAlias = tuple[str, str]
"""What one limit counts: the requests of a caller (a key's id, or "@" and an address) to a model; or, with
`FROM_ADDRESS` in place of a model, all that come from that address."""

FROM_ADDRESS: Final = "@"
"""Stands for the model in the name of a limit on an address; no model is called that."""


@dataclass(frozen=True, slots=True)
class Shares:
    """What one gateway may use of each limit, as a part of its rate and of its burst.

    Attributes:
        default: its share of every limit that `of` does not name, 0 to 1.
        of: its shares of the limits that are in heavy use.
        filled: the part of each burst that a gateway may let through when it gets its first shares. It is 0 for one
            that takes the place of another: that one may just have used it up.
    """

    default: float
    of: Mapping[Name, float] = field(default_factory=dict)
    filled: float = 0.0

    def share(self, name: Name) -> float:
        """Return the share of one limit."""
        return self.of.get(name, self.default)


NO_SHARES: Final = Shares(0.0)
"""The shares of a gateway that was told none yet."""


@dataclass(frozen=True, slots=True)
class Uses:
    """What a gateway tells of its use of the limits.

    Attributes:
        shares: the shares that it uses at this moment; None if it was told none yet.
        asked: how many requests it got since it told this last, those that it refused included, by the limits that it
            has a share of its own of, or has used more than half of.
    """

    shares: Shares | None
    asked: Mapping[Name, int] = field(default_factory=dict)
