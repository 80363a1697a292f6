"""Divides the limits on callers among the gateways by their use, each second, in the answers to their heartbeats.

The rule that never breaks: for every limit, the shares of all gateways together are at most 1, at every moment. A
gateway may use the shares that it last reported or the ones that it was told since, so both count as held. A share is
given up before another gateway gets it: what a gateway is told is at most what is held by nobody else. And it is never
taken from a gateway that is silent, which may go on using it, but only from one whose process has ended.

More share brings no tokens (`serving.callers`), so a limit lets through at most its burst and its rate times the time,
whoever uses it where: also when gateways start, end, are late, or the Controller is another one.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from streamb.traffic import RateLimits
from streamb.traffic.shares import FROM_ADDRESS, NO_SHARES, Name, Shares, Uses

MOST_DIVIDED: Final = 256
"""How many limits of each kind are divided by use at once; of the others, every gateway has the same share."""
HOT_S: Final = 10.0
"""A limit is divided by use until it was in light use for so many seconds."""

_SMOOTHED_S: Final = 1.0
_HEADROOM: Final = 1.25
_FLOOR: Final = 0.04
"""Every gateway keeps this part of an even share, so that a caller who goes to another gateway is not refused there."""
_SMALL: Final = 0.03
_EPSILON: Final = 1e-9


@dataclass(slots=True)
class _Holder:
    """A gateway that may use shares.

    Attributes:
        used: the shares that it used when it last reported.
        told: the shares that it was told in the answer; it may use them by now.
        heard_at: when it last reported (monotonic seconds).
        uptime_s: its own age then.
        filled: the part of each burst that it began with; None: not decided yet.
        asked: what it is asked for, by limit, as a part of the limit's rate, smoothed.
    """

    used: Shares
    told: Shares
    heard_at: float
    uptime_s: float
    filled: float | None = None
    asked: dict[Name, float] = field(default_factory=dict)

    def held(self, name: Name | None) -> float:
        """Return the largest share of a limit that it may use now; of an unnamed one for None."""
        if name is None:
            return max(self.used.default, self.told.default)
        return max(self.used.share(name), self.told.share(name))


class Division:
    """The shares of all gateways. Safe to use from many threads.

    Args:
        limits: the limits, and the number of gateways that are expected.
        fresh: whether the platform is a new one, so that no gateway can have shares. Otherwise nothing is given to
            anybody before `expect` said which gateways to hear first.
    """

    def __init__(self, limits: RateLimits, *, fresh: bool) -> None:
        self._limits = limits
        self._unused = 1.0 if fresh else 0.0
        self._awaited: set[str] | None = set() if fresh else None
        self._holders: dict[str, _Holder] = {}
        self._hot: dict[Name, float] = {}
        self._lock = threading.Lock()

    @property
    def recovering(self) -> bool:
        """Whether `expect` is still to be called."""
        return self._awaited is None

    def expect(self, gateways: Iterable[str]) -> None:
        """Name the gateways that run; until each has reported or ended, nobody gets more than it has."""
        with self._lock:
            self._awaited = set(gateways) - self._holders.keys()

    def doubtful(self, now: float, silence_s: float) -> frozenset[str]:
        """Return the gateways that have been silent for `silence_s` seconds, or not reported yet: they may be gone."""
        with self._lock:
            silent = {name for name, one in self._holders.items() if now - one.heard_at > silence_s}
            return frozenset(silent | (self._awaited or set()))

    def gone(self, gateway: str) -> None:
        """Take back the shares of a gateway whose process has ended, or that uses them no more."""
        with self._lock:
            self._holders.pop(gateway, None)
            if self._awaited is not None:
                self._awaited.discard(gateway)

    def divide(self, gateway: str, uses: Uses, now: float, uptime_s: float) -> Shares:
        """Return the shares that a gateway may use from now on.

        Args:
            gateway: the name of its process.
            uses: what it told. It must have given up waiting for earlier answers when it did.
            now: monotonic seconds.
            uptime_s: its age when it told it, in seconds.
        """
        with self._lock:
            known = self._holders.get(gateway)
            if known is not None and uptime_s < known.uptime_s:
                return known.told  # it told this before what is known, and waits for no answer to it
            holder = self._hear(gateway, uses, now, uptime_s)
            self._hot = {name: at for name, at in self._hot.items() if now - at <= HOT_S}
            default = min(1.0 / max(self._limits.gateways, len(self._holders)), self._free(gateway, holder, None))
            of = {}
            for name in self._divided():
                share = min(self._target(name, gateway, default), self._free(gateway, holder, name))
                if name in self._hot or abs(share - default) > _EPSILON:
                    of[name] = share
            if uses.shares is None and holder.filled is None and default > 0.0:
                holder.filled = min(default, self._unused)
                self._unused -= holder.filled
            holder.told = Shares(default, of, (holder.filled or 0.0) if uses.shares is None else 0.0)
            return holder.told

    # --- what is known ------------------------------------------------------------------------------------------------

    def _hear(self, gateway: str, uses: Uses, now: float, uptime_s: float) -> _Holder:
        used = uses.shares or NO_SHARES
        holder = self._holders.get(gateway)
        if holder is None:
            if uses.shares is not None:  # told by another Controller before, as perhaps to others, too
                self._unused = 0.0
                if self._awaited is not None and gateway not in self._awaited:
                    self._awaited = None
            holder = self._holders[gateway] = _Holder(used, used, now, uptime_s - 1.0)
        if self._awaited is not None:
            self._awaited.discard(gateway)
        seconds = max(uptime_s - holder.uptime_s, 0.01)
        self._learn(holder, uses, now, seconds)
        holder.used = holder.told = used
        holder.heard_at, holder.uptime_s = now, uptime_s
        return holder

    def _learn(self, holder: _Holder, uses: Uses, now: float, seconds: float) -> None:
        """Note what a gateway is asked for, and which limits are in heavy use."""
        weight = 1.0 - math.exp(-seconds / _SMOOTHED_S)
        used = uses.shares or NO_SHARES
        asked = {}
        for name in uses.asked.keys() | used.of.keys():
            measured = uses.asked.get(name, 0) / seconds / self._rate(name)
            before = holder.asked.get(name, used.share(name))
            asked[name] = before + weight * (measured - before)
            if name in uses.asked and (name not in used.of or measured > used.share(name) / 2):
                self._heat(name, now)
        holder.asked = asked

    def _heat(self, name: Name, now: float) -> None:
        kind = name[1] == FROM_ADDRESS
        if name in self._hot or sum((one[1] == FROM_ADDRESS) is kind for one in self._hot) < MOST_DIVIDED:
            self._hot[name] = now

    def _rate(self, name: Name) -> float:
        a_minute = self._limits.address_per_minute if name[1] == FROM_ADDRESS else self._limits.per_minute
        return a_minute / 60.0

    # --- what follows -------------------------------------------------------------------------------------------------

    def _divided(self) -> Collection[Name]:
        """Every limit that is in heavy use, or of which some gateway may still have a share of its own."""
        held = {name for one in self._holders.values() for shares in (one.used, one.told) for name in shares.of}
        return held | self._hot.keys()

    def _free(self, gateway: str, holder: _Holder, name: Name | None) -> float:
        """The most that a gateway may have of a limit; what it has, while another one may have any share of it."""
        if self._awaited is None or self._awaited:
            return holder.used.default if name is None else holder.used.share(name)
        others = sum(one.held(name) for key, one in self._holders.items() if key != gateway)
        return max(0.0, 1.0 - others)

    def _target(self, name: Name, gateway: str, default: float) -> float:
        """The share of a limit that a gateway should have."""
        if name not in self._hot:
            return default
        asked = {key: one.asked.get(name, default) for key, one in self._holders.items()}
        wanted = by_use(asked)[gateway]
        has = self._holders[gateway].used.share(name)
        return has if abs(wanted - has) < _SMALL else wanted


def by_use(asked: Mapping[str, float]) -> dict[str, float]:
    """Return shares that add up to 1: who asks for little gets it, and the rest is shared evenly (max-min fairness).

    Args:
        asked: what each gateway is asked for, as a part of the limit.
    """
    number = len(asked)
    wanted = {key: max(_FLOOR / number, _HEADROOM * part) for key, part in asked.items()}
    shares, left = {}, 1.0
    for place, key in enumerate(sorted(wanted, key=lambda key: (wanted[key], key))):
        shares[key] = min(wanted[key], left / (number - place))
        left -= shares[key]
    return {key: share + max(0.0, left) / number for key, share in shares.items()}
