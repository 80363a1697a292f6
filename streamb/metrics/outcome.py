"""The outcome of a request, in the eight classes that health, rollouts and dashboards count."""

from __future__ import annotations

from enum import StrEnum

from streamb.errors import (
    BreakerOpen,
    DeadlineExceeded,
    Overloaded,
    OwnDeadlineExceeded,
    StorageFailed,
    StreambError,
    Unavailable,
)


class Outcome(StrEnum):
    """The class of one request's end."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    MODEL_ERROR = "model_error"
    OVERLOAD = "overload"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"
    ABANDONED = "abandoned"


BLAMED: frozenset[Outcome] = frozenset({Outcome.MODEL_ERROR, Outcome.TIMEOUT, Outcome.UNAVAILABLE})
"""Outcomes that count against the version. A client's mistake does not, nor does a request that the gateway refuses
because it is full or the version's circuit breaker is open. The failures that opened the breaker were counted;
otherwise a version that fails sometimes would seem to fail always while the breaker is open. Nor does a request that
was given up: its client left, or set a time limit that is shorter than an answer may usually take."""


def outcome_of(error: StreambError) -> Outcome:
    """Return the class of an error.

    >>> from streamb.errors import InvalidFeatures
    >>> outcome_of(InvalidFeatures("column 'age' is missing"))
    <Outcome.CLIENT_ERROR: 'client_error'>
    """
    if isinstance(error, OwnDeadlineExceeded):
        return Outcome.ABANDONED
    if error.status < 500:
        return Outcome.CLIENT_ERROR
    if isinstance(error, Overloaded):
        return Outcome.OVERLOAD
    if isinstance(error, BreakerOpen):
        return Outcome.REFUSED
    if isinstance(error, DeadlineExceeded):
        return Outcome.TIMEOUT
    if isinstance(error, (Unavailable, StorageFailed)):
        return Outcome.UNAVAILABLE
    return Outcome.MODEL_ERROR
