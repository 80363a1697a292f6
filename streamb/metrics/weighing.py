"""How much the counts of each caller weigh as evidence, once several call a model.

A single caller's traffic *is* the evidence. As soon as a second one calls, two rules hold, for errors, latencies,
feedback and copies each by itself:

- **No caller weighs more than all others together**, or than `FLOOR` requests where the others have fewer: else a
  second caller with one request would leave no evidence at all. Only the largest caller can exceed that; its counts are
  scaled down.
- **With 20 callers and more, up to 5 % of them are left out** if they differ from the rest beyond chance (p < .001,
  `stats.outliers`), to either side: some that fail on purpose neither condemn a good version, nor do some that succeed
  hide a bad one. A caller is left out of both versions alike. If those left out would have more than half of the
  requests, nobody can say who is the odd one: they are *doubted*, and what fails only with them does not fail. Those
  who *choose* their version (they get one of them at least twice as often as the rest, beyond chance) do not count
  towards that half: like who names the version, they choose what is seen of it.

Few requests of each do not show who is odd. Therefore a failure must also hold without those callers, within the same
5 %, who have most of what is counted against the first version (`Weights.spare`); until it does, it is not proven.

Scaling keeps shares and their order, but makes tests a little weaker than their number of requests says, never
stronger: a weight is 1 at most.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import median
from typing import Any, Final, NamedTuple

from streamb.metrics.callers import MINE, REST, THEIRS, Callers, Tally, prediction_key
from streamb.metrics.histogram import LatencyHistogram, bucket_value
from streamb.metrics.outcome import BLAMED, Outcome
from streamb.metrics.predictions import OTHER, Prediction
from streamb.metrics.snapshot import Snapshot
from streamb.stats.outliers import ALPHA, relative_entropy, striking

FLOOR: Final = 1_000
"""A caller may weigh so many requests, whatever the others have."""
MANY: Final = 20
"""From so many callers on, some are left out if they differ from the rest."""
SHARE: Final = 0.05
"""The share of the callers that may be left out."""

_SURE: Final = -math.log(ALPHA)
_P: Final = 0.95
_BLAMED: Final = tuple(outcome.value for outcome in BLAMED)
_JUDGED: Final = (Outcome.OK.value, *_BLAMED)
_COPIED: Final = ("shadow_compared", "shadow_failed", "shadow_refused")


class Group(StrEnum):
    """A kind of counts that is weighed by itself."""

    ERRORS = "errors"
    LATENCY = "latency"
    FEEDBACK = "feedback"
    COPIES = "copies"


_SIZES: Final[Mapping[Group, tuple[str, ...]]] = {
    Group.ERRORS: (*_JUDGED, Outcome.CLIENT_ERROR.value),
    Group.LATENCY: _JUDGED,
    Group.FEEDBACK: ("labels", "successes", "failures"),
    Group.COPIES: _COPIED,
}
"""What says how much a caller weighs in a group."""

_Ratio = tuple[tuple[str, ...], tuple[str, ...]]
_RATIOS: Final[Mapping[Group, tuple[_Ratio, ...]]] = {
    Group.ERRORS: ((_BLAMED, _JUDGED), (("client_error",), (*_JUDGED, "client_error"))),
    Group.LATENCY: (),
    Group.FEEDBACK: ((("correct",), ("labels",)), (("failures",), ("successes", "failures"))),
    Group.COPIES: (
        (("shadow_disagreed",), ("shadow_compared",)),
        (("shadow_retyped",), ("shadow_compared",)),
        (("shadow_failed", "shadow_refused"), _COPIED),
    ),
}
"""The shares by which callers are told apart: what is counted, of what."""


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of callers for one version.

    Attributes:
        of: by group, the weight of each caller that has less than 1.
        left_out: by group, the callers that are left out, the most striking first.
        doubted: by group, those that would be, but have more than half of the requests.
        spare: by group, those whose requests speak most against the first version, as far as they are 5 % together with
            the others: what fails only with them is not proven.
        callers: the number of callers.
    """

    of: Mapping[Group, Mapping[str, float]] = field(default_factory=dict)
    left_out: Mapping[Group, tuple[str, ...]] = field(default_factory=dict)
    doubted: Mapping[Group, tuple[str, ...]] = field(default_factory=dict)
    spare: Mapping[Group, tuple[str, ...]] = field(default_factory=dict)
    callers: int = 0

    def without(self, callers: Mapping[Group, tuple[str, ...]]) -> Weights:
        """Return the weights with which these callers count nothing."""
        of = {group: {**self.of.get(group, {}), **dict.fromkeys(names, 0.0)} for group, names in callers.items()}
        return replace(self, of={**self.of, **of})


def weights(versions: Iterable[Snapshot], floor: int = FLOOR, present: int = 0) -> list[Weights]:
    """Return the weights of callers for each of several versions that are compared, counted over the same time.

    Args:
        versions: their counts.
        floor: so many requests a caller may weigh in any case.
        present: so many callers are known to call at present, although some of them may not be counted here yet.
    """
    counted = list(versions)
    found: list[Weights] = []
    odd = {group: _odd([one.callers for one in counted], group, present) for group in Group}
    left = {group: one.names for group, one in odd.items() if one.names and one.few}
    doubted = {group: one.names for group, one in odd.items() if one.names and not one.few}
    spare = {group: one.spare for group, one in odd.items() if one.spare}
    for one in counted:
        of = {group: _capped(one.callers, group, left.get(group, ()), floor) for group in Group}
        apart = {group: names for group, names in of.items() if names}
        found.append(Weights(apart, left, doubted, spare, max(present, len(one.callers))))
    return found


def weighed(snapshot: Snapshot, by: Weights) -> Snapshot:
    """Return the counts with the callers' weights; the same object if all weigh 1."""
    if not by.of or not snapshot.callers:
        return snapshot
    drop = {group: _dropped(snapshot.callers, found) for group, found in by.of.items()}
    changes: dict[str, Any] = {"callers": {}}
    if errors := drop.get(Group.ERRORS):
        changes["counts"] = _minus(snapshot.counts, errors)
    if slow := drop.get(Group.LATENCY):
        changes["latency"] = _less_latency(snapshot.latency, slow)
    if told := drop.get(Group.FEEDBACK):
        changes["feedback"] = _minus(snapshot.feedback, told)
    if copies := drop.get(Group.COPIES):
        changes["shadow"] = {key: max(0, n - copies.get(f"shadow_{key}", 0)) for key, n in snapshot.shadow.items()}
        changes["shadow_predictions"] = _less_predictions(snapshot.shadow_predictions, MINE, copies)
        changes["shadow_expected"] = _less_predictions(snapshot.shadow_expected, THEIRS, copies)
    return replace(snapshot, **changes)


# --- who is left out ----------------------------------------------------------------------------------------------


class _Odd(NamedTuple):
    """Who differs from the rest in a group; whether they have half of it at most; and who else may be spared."""

    names: tuple[str, ...] = ()
    few: bool = True
    spare: tuple[str, ...] = ()


def _odd(versions: list[Callers], group: Group, present: int) -> _Odd:
    size = _SIZES[group]
    sizes = [{name: _count(tally, size) for name, tally in callers.items()} for callers in versions]
    everybody = {name for one in sizes for name, count in one.items() if count and name != REST}
    many = max(present, len(everybody)) if everybody else 0
    if many < MANY:
        return _Odd()
    tables = [table for callers in versions for table in _proportions(callers, group)]
    out: list[str] = []
    while len(out) < round(SHARE * many):
        name, evidence = max((striking(table, out) for table in tables), key=lambda found: found[1], default=("", 0.0))
        if evidence < _SURE:
            break
        out.append(name)
    open_to_all = [name for name in out if not _chooses(name, sizes)]
    is_half = any(sum(one.get(name, 0) for name in open_to_all) > sum(one.values()) / 2 for one in sizes)
    against = _against(versions[0], group)
    others = sorted((name for name in against if against[name] and name not in out), key=lambda name: -against[name])
    return _Odd(tuple(out), not is_half, tuple(others[: round(SHARE * many) - len(out)]))


def _against(callers: Callers, group: Group) -> dict[str, int]:
    """How much of what is counted of each caller speaks against a version."""
    found: dict[str, int] = {}
    for table, (events, _) in zip(_proportions(callers, group), _RATIOS[group] or (((), ()),), strict=True):
        for name, (k, n) in table.items():
            found[name] = found.get(name, 0) + (n - k if events == ("correct",) else k)
    return found


def _chooses(name: str, sizes: list[dict[str, int]]) -> bool:
    """Return whether a caller gets one of two versions at least twice as often as the rest, beyond chance."""
    if len(sizes) != 2:
        return False
    own = [one.get(name, 0) for one in sizes]
    rest = [sum(one.values()) - count + 1 for one, count in zip(sizes, own, strict=True)]
    shares = own[0] / (sum(own) or 1), rest[0] / sum(rest)
    twice = shares[0] >= 2 * shares[1] or 1 - shares[0] >= 2 * (1 - shares[1])
    return twice and sum(own) * relative_entropy(*shares) >= _SURE


def _proportions(callers: Callers, group: Group) -> list[dict[str, tuple[int, int]]]:
    named = {name: tally for name, tally in callers.items() if name != REST}
    if group is Group.LATENCY:
        return [_slow(named)]
    return [
        {name: (_count(tally, events), _count(tally, trials)) for name, tally in named.items()}
        for events, trials in _RATIOS[group]
    ]


def _slow(callers: Callers) -> dict[str, tuple[int, int]]:
    """How many latencies of each caller are above the median of all callers' 95th percentiles."""
    buckets = {
        name: sorted((key, count) for key, count in tally.items() if isinstance(key, int))
        for name, tally in callers.items()
    }
    ends = [_quantile(found) for found in buckets.values() if found]
    if not ends:
        return {}
    limit = median(ends)
    return {
        name: (sum(count for key, count in found if key > limit), sum(count for _, count in found))
        for name, found in buckets.items()
    }


def _quantile(buckets: list[tuple[int, int]]) -> int:
    wanted, so_far = _P * sum(count for _, count in buckets), 0
    for key, count in buckets:
        so_far += count
        if so_far >= wanted:
            return key
    return buckets[-1][0]


# --- weights ------------------------------------------------------------------------------------------------------


def _capped(callers: Callers, group: Group, left_out: tuple[str, ...], floor: int) -> dict[str, float]:
    """Return the weights below 1: 0 of those left out, and that of the one caller with more than all others."""
    found = dict.fromkeys(left_out, 0.0)
    sizes = {name: _count(tally, _SIZES[group]) for name, tally in callers.items() if name not in found}
    largest = max((name for name in sizes if name != REST), key=sizes.__getitem__, default="")
    if largest not in sizes:
        return found
    own = sizes[largest]
    others = sum(sizes.values()) - own
    most = max(floor, others)
    if others and own > most:
        found[largest] = most / own
    return found


def _count(tally: Tally, keys: Iterable[str]) -> int:
    return sum(tally.get(key, 0) for key in keys)


def _dropped(callers: Callers, of: Mapping[str, float]) -> dict[str | int, int]:
    """Return the part of the counts that does not weigh."""
    dropped: dict[str | int, int] = {}
    for name, weight in of.items():
        for key, count in callers.get(name, {}).items():
            dropped[key] = dropped.get(key, 0) + round(count * (1.0 - weight))
    return dropped


def _minus(counts: Mapping[str, int], dropped: Tally) -> dict[str, int]:
    return {key: left for key, count in counts.items() if (left := max(0, count - dropped.get(key, 0)))}


def _less_latency(latency: LatencyHistogram, dropped: Tally) -> LatencyHistogram:
    gone = {key: count for key, count in dropped.items() if isinstance(key, int)}
    kept = tuple((key, left) for key, n in latency.buckets if (left := max(0, n - gone.get(key, 0))))
    seconds = sum(bucket_value(key) * count for key, count in gone.items())
    return LatencyHistogram(kept, max(0, latency.total_ns - int(seconds * 1e9)))


def _less_predictions(counts: Mapping[Prediction, int], whose: str, dropped: Tally) -> dict[Prediction, int]:
    """Take predictions away; a label that is not counted by name is within "other"."""
    known = {prediction_key(whose, key) for key in counts}
    mine = {key: n for key, n in dropped.items() if isinstance(key, str) and key.startswith((f"{whose}=", f"{whose}#"))}
    unnamed = sum(n for key, n in mine.items() if key not in known)
    left = {
        key: n - mine.get(prediction_key(whose, key), 0) - (unnamed if key == OTHER else 0) for key, n in counts.items()
    }
    return {key: n for key, n in left.items() if n > 0}
