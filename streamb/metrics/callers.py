"""Counts of a version by caller, so that what one caller can weigh is bounded (`metrics.weighing`).

A *tally* is what was counted of one caller's requests: answers by `Outcome` value, labels and copies by the name of
their counter, predictions for copies by `prediction_key`, and latencies by the (whole) number of their bucket. Callers
are principals; all requests without a key are one caller, "". At most 128 callers are counted by name, and all others
together as `REST`: a caller that has been quiet makes room for a new one, and what was counted of it moves to the rest.
No sum over all callers changes by that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final, TypeAlias

Tally: TypeAlias = Mapping[str | int, int]
Callers: TypeAlias = Mapping[str, Tally]

MOST_CALLERS: Final = 128
REST: Final = "(others)"
"""The name of all further callers together; no principal has such a name."""

QUIET_LOOKS: Final = 60
"""A caller without a request in so many reports (one a second) makes room for another one."""

MOST_KEYS: Final = 2_000
"""In a tally with so many counts, further predictions are counted as "other"."""

MINE: Final = "mine"
THEIRS: Final = "theirs"
"""Whose predictions for copied requests: the shadow version's, or those of the version that answered."""


def prediction_key(whose: str, prediction: int | str) -> str:
    """Return the key of a tally under which a prediction for copied requests is counted.

    >>> prediction_key(MINE, "setosa"), prediction_key(THEIRS, -513)
    ('mine=setosa', 'theirs#-513')
    """
    return f"{whose}={prediction}" if isinstance(prediction, str) else f"{whose}#{prediction}"


class CallerCounter:
    """Counts by caller in one gateway, for one version. Not thread-safe: it belongs to the gateway's event loop."""

    __slots__ = ("_full", "_look", "_seen", "_tallies")

    def __init__(self) -> None:
        self._tallies: dict[str, defaultdict[str | int, int]] = {}
        self._seen: dict[str, int] = {}
        self._look = 0
        self._full = False

    def of(self, caller: str) -> defaultdict[str | int, int]:
        """Return the tally that a caller's request is counted in."""
        tally = self._tallies.get(caller)
        if tally is None:
            caller = self._place(caller)
            tally = self._tallies.setdefault(caller, defaultdict(int))
        self._seen[caller] = self._look
        return tally

    def counts(self) -> dict[str, dict[str | int, int]]:
        """Return all tallies; call it once a second, as it also tells how long a caller has been quiet."""
        self._look += 1
        self._full = False
        return {caller: dict(tally) for caller, tally in self._tallies.items() if tally}

    def _place(self, caller: str) -> str:
        """Return the name under which a new caller is counted."""
        if len(self._tallies) < MOST_CALLERS - 1:
            return caller
        if self._full:
            return REST
        quiet = min((name for name in self._tallies if name != REST), key=self._seen.__getitem__)
        if self._look - self._seen[quiet] < QUIET_LOOKS:
            self._full = True  # nobody is looked for again in this second
            return REST
        rest = self._tallies.setdefault(REST, defaultdict(int))
        for key, count in self._tallies.pop(quiet).items():
            rest[key] += count
        self._seen.setdefault(REST, self._look)
        del self._seen[quiet]
        return caller


def added(parts: Iterable[Callers]) -> Callers:
    """Return the sums by caller. Of too many callers, those of the first parts become part of the rest.

    >>> added([{"ada": {"ok": 2}}, {"ada": {"ok": 1}, "bob": {"ok": 5}}])
    {'ada': {'ok': 3}, 'bob': {'ok': 5}}
    """
    total: dict[str, Tally] = {}
    for part in parts:
        for caller, tally in part.items():
            before = total.pop(caller, None)
            total[caller] = tally if before is None else summed((before, tally))
    if len(total) > MOST_CALLERS:
        spare = [caller for caller in total if caller != REST][: len(total) - MOST_CALLERS + (REST not in total)]
        total[REST] = summed([total.get(REST, {}), *(total.pop(caller) for caller in spare)])
    return total


def since(later: Callers, earlier: Callers) -> Callers:
    """Return what was added to each caller. The counts of callers that moved to the rest are not new there.

    >>> since({"bob": {"ok": 1}, REST: {"ok": 7}}, {"ada": {"ok": 5}, REST: {"ok": 1}})
    {'bob': {'ok': 1}, '(others)': {'ok': 1}}
    """
    new: dict[str, Tally] = {}
    moved = [earlier[REST]] if REST in earlier else []
    moved += [tally for caller, tally in earlier.items() if caller not in later and caller != REST]
    for caller, tally in later.items():
        before = earlier.get(caller)
        if caller == REST or tally == before:
            continue
        if before is None:
            new[caller] = tally
        elif any(tally.get(key, 0) < count for key, count in before.items()):
            new[caller] = tally  # it moved to the rest, and came back
            moved.append(before)
        else:
            new[caller] = _less(tally, before)
    rest = _less(later.get(REST, {}), summed(moved))
    return {**new, REST: rest} if rest else new


def summed(tallies: Iterable[Tally]) -> dict[str | int, int]:
    """Return the sum of tallies."""
    total: Counter[str | int] = Counter()
    for tally in tallies:
        total.update(tally)
    return dict(total)


def _less(later: Tally, earlier: Tally) -> dict[str | int, int]:
    return {key: count - earlier.get(key, 0) for key, count in later.items() if count > earlier.get(key, 0)}
