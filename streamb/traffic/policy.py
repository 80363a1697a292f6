"""What every gateway enforces besides routing: keys, limits on callers, and circuit breakers."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from streamb.errors import InvalidInput

EVERY_MODEL = ("*",)
"""The patterns of a key that is good for every model."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a gateway stops calling a version, and how it tries again.

    Attributes:
        failure_threshold: the number of consecutive failures that opens the breaker.
        recovery_timeout_s: how many seconds it stays open.
        half_open_max_calls: the number of trial calls after that; if all succeed, the breaker closes.
    """

    failure_threshold: int = 3
    recovery_timeout_s: float = 30.0
    half_open_max_calls: int = 10

    def __post_init__(self) -> None:
        if min(self.failure_threshold, self.half_open_max_calls) < 1 or not self.recovery_timeout_s > 0:
            raise InvalidInput(f"every value of a circuit breaker's policy must be above zero: {self}")


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """What the holder of one API key may do at a gateway.

    Attributes:
        key_id: the id in the key; the limits on requests belong to it.
        principal: the name of the person or service that the key belongs to: what one caller can weigh belongs to it.
        permissions: values of `security.permissions.Permission`.
        models: patterns of model ids, as in a shell ("energy-*").
        expires_at: seconds since the epoch from which the key is refused; None: it does not expire.
    """

    key_id: str
    principal: str
    permissions: frozenset[str]
    models: tuple[str, ...] = EVERY_MODEL
    expires_at: float | None = None

    def covers(self, model_id: str) -> bool:
        """Return whether the key is good for a model.

        >>> KeyGrant("k", "p", frozenset(), ("energy-*",)).covers("energy-use")
        True
        """
        return self.models == EVERY_MODEL or _match(self.models, model_id)


@lru_cache(maxsize=1024)
def _match(patterns: tuple[str, ...], model_id: str) -> bool:
    """Return whether a model id matches one of the patterns. Remembered: it is asked for each request."""
    return any(fnmatch.fnmatchcase(model_id, one) for one in patterns)


@dataclass(frozen=True, slots=True)
class RateLimits:
    """How many requests callers may make, over all gateways together.

    Attributes:
        per_minute: sustained requests per minute, of one key to one model.
        burst: so many more at once.
        address_per_minute: sustained requests per minute from one network address, counted before a key is looked at.
        address_burst: so many more at once.
        observe_only: whether what is above a limit is only counted.
        gateways: the number of gateways that are expected: each may use an even part of each limit, or another one as
            the Controller divides them (`traffic.shares`).
    """

    per_minute: int
    burst: int
    address_per_minute: int
    address_burst: int
    observe_only: bool = False
    gateways: int = 1


@dataclass(frozen=True, slots=True)
class GatewayPolicy:
    """What the gateways enforce besides routing.

    Attributes:
        api_key_required: whether requests without a valid key are refused.
        keys: what each valid API key allows, by the SHA-256 (hex) of the key; a key has two while it is rotated.
        check_permissions: whether the permissions of keys are checked; otherwise every valid key may do everything.
        keys_last_s: for so long (seconds) a gateway accepts the keys it knows while the Controller does not answer.
        limits: the limits on callers; None if there are none.
        breaker: the policy of each version's circuit breaker; None if there are no breakers.
        token_key: signs request tokens, by which feedback finds its prediction; empty if ids are not signed. The
            Controller sends it sealed with the platform key, and gateways open it.
    """

    api_key_required: bool = False
    keys: Mapping[str, KeyGrant] = field(default_factory=dict)
    check_permissions: bool = False
    keys_last_s: float = 3600.0
    limits: RateLimits | None = None
    breaker: BreakerPolicy | None = None
    token_key: bytes = field(default=b"", repr=False)
