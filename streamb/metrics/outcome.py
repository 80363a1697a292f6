"""How a request ended, in the seven classes that health, rollouts and dashboards count."""

from __future__ import annotations

from enum import StrEnum

from streamb.errors import BreakerOpen, DeadlineExceeded, Overloaded, StorageFailed, StreambError, Unavailable


class Outcome(StrEnum):
    """The class of one answer."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    MODEL_ERROR = "model_error"
    OVERLOAD = "overload"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    UNAVAILABLE = "unavailable"


BLAMED: frozenset[Outcome] = frozenset({Outcome.MODEL_ERROR, Outcome.TIMEOUT, Outcome.UNAVAILABLE})
"""Outcomes that count against the version. A client's mistake never does, and neither does what we refuse ourselves:
the gateway was full, or the version's circuit breaker open. What opened it was counted; a version that fails now and
then would otherwise look as if it always did, for as long as the breaker is open."""


def outcome_of(error: StreambError) -> Outcome:
    """The class of an error.

    >>> from streamb.errors import InvalidFeatures
    >>> outcome_of(InvalidFeatures("column 'age' is missing"))
    <Outcome.CLIENT_ERROR: 'client_error'>
    """
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
