"""When a version is late: which requests are overdue, whether another version is late too, and what a client hears."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

from streamb.errors import DeadlineExceeded, OwnDeadlineExceeded, StreambError, Unavailable
from streamb.serving.lane import Call, Lane, Waiting

OVERDUE_S: Final = 2.0
"""No request is overdue before this many seconds."""

RECENTLY_S: Final = 0.5
"""A slow answer says that a version is late now if it came within this many seconds."""


def overdue(requests: Iterable[tuple[Lane, Waiting]], now: float, longest_s: float) -> Counter[Lane]:
    """Return how many requests of each lane wait for their answer longer than the version should take.

    That is more than two seconds, and more than the version that it is compared with usually takes, three times over.

    Args:
        requests: the requests in progress.
        now: the present time on the monotonic clock, in seconds.
        longest_s: after how many seconds a request is overdue whatever is usual, or if that is not known.
    """
    found: Counter[Lane] = Counter()
    for lane, waiting in requests:
        age = now - waiting.since
        if age > OVERDUE_S:
            allowed = longest_s if lane.other is None else lane.other.usual.allows_s(waiting.row_count)
            if age > min(allowed, longest_s):
                found[lane] += 1
    return found


def note(call: Call, now: float) -> None:
    """Note whether a call came back quickly. Its time in the queue does not count: others may have caused it.

    Nor does a call of requests that named the version: with slow rows, it could excuse the other version's lateness.
    """
    if call.aside:
        return
    if now - call.sent < call.lane.usual.quick_s:
        call.lane.quick_at = now
    else:
        call.lane.slow_at = now


def is_stuck(lane: Lane, calls: Iterable[Call], now: float) -> bool:
    """Return whether a version has been returning no call as quickly as usual, although it has requests.

    Args:
        lane: the version.
        calls: the calls in flight, of all versions.
        now: the present time on the monotonic clock, in seconds.
    """
    if lane.quick_at > now - lane.usual.quick_s:
        return False
    oldest = min((call.sent for call in calls if call.lane is lane and not call.aside), default=now)
    return lane.slow_at > now - RECENTLY_S or now - oldest > lane.usual.quick_s


def too_late(lane: Lane, waiting: Waiting, replicas: int, longest_s: float) -> StreambError:
    """Return the error of a request whose time is over, in the words of the cause.

    A request's own limit counts against the version only if it is as much as another version may take for an answer
    (`Usual.allows_s`). Else a client could have a canary rolled back by limits of a millisecond.

    Args:
        lane: the version.
        waiting: the request.
        replicas: the number of the version's replicas that can be called at present.
        longest_s: the gateway's own limit, in seconds.
    """
    version, limit = lane.target.version, round(waiting.deadline - waiting.since, 3)
    allowed = lane.other.usual.allows_s(waiting.row_count) if lane.other is not None else math.inf
    too_short = waiting.own_limit and limit < allowed
    if not replicas and not too_short:
        message = f"no replica of version {version} could be reached within {limit:g} s; try again later"
        return Unavailable(message, retry_after_s=1)
    message = f"version {version} did not answer within {limit:g} s"
    advice = "send fewer rows or try again later"
    if waiting.own_limit:
        text = f"{message}, the limit that this request set (X-Request-Timeout-Ms); allow more time, or {advice}"
        return (OwnDeadlineExceeded if too_short else DeadlineExceeded)(text, limit_s=limit, limit_of="request")
    own = lane.target.timeout_s
    whose = "model" if own is not None and own <= min(limit, longest_s) else "gateway" if limit >= longest_s else ""
    if not whose:  # a share of the time, while another version can answer
        return DeadlineExceeded(f"{message}; {advice}", limit_s=limit)
    return DeadlineExceeded(f"{message}, the limit of the {whose}; {advice}", limit_s=limit, limit_of=whose)
