"""Authentication: finds the `Principal` of a request's API key, for the routes that need one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Final

from fastapi import Depends, Request

from streamb.api.console import Console, ConsoleDep
from streamb.clock import Clock
from streamb.errors import Unauthorized
from streamb.security.keys import KeyRing, digest
from streamb.security.principals import Principal

_REMEMBER_S: Final = 5.0
_MOST_REMEMBERED: Final = 10_000

SECURITY_SCHEMES: Final = {
    "BearerKey": {"type": "http", "scheme": "bearer"},
    "HeaderKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
NEEDS_KEY: Final[list[dict[str, list[str]]]] = [{"BearerKey": []}, {"HeaderKey": []}]
"""OpenAPI's form of "an API key, in either header"."""


class KeyCache:
    """Caches checked keys for a few seconds, so that a busy client does not need the Controller for each request.

    Invalid keys are cached as well. Only digests are stored. A revoked key works for at most those few seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Principal | None]] = OrderedDict()

    async def check(self, console: Console, key: str) -> Principal | None:
        """Return the principal that `key` belongs to, or None if the key is not valid."""
        name, now = digest(key), self._clock.monotonic()
        known = self._known.get(name)
        if known is not None and known[0] > now:
            return known[1]
        principal = await console.ask(KeyRing.check, key)
        self._known[name] = (now + _REMEMBER_S, principal)
        self._known.move_to_end(name)
        while len(self._known) > _MOST_REMEMBERED:
            self._known.popitem(last=False)
        return principal


async def _caller(request: Request, console: ConsoleDep) -> Principal | None:
    """Return the principal of the request's key; None for an anonymous caller where the settings allow that.

    Raises:
        Unauthorized: the key that was sent is not valid, or no key was sent and the settings require one.
    """
    key = _sent_key(request)
    if key is None:
        if console.settings.api_key_required:
            raise Unauthorized("this needs an API key: send Authorization: Bearer KEY, or X-API-Key: KEY")
        return None
    keys: KeyCache = request.app.state.keys
    principal = await keys.check(console, key)
    if principal is None:
        raise Unauthorized("this API key is not valid here; it may have been revoked, or belong to another platform")
    return principal


needs_caller: Final = Depends(_caller)
"""A dependency for a whole router: refuses every request that `_caller` refuses."""

Caller = Annotated[Principal | None, needs_caller]


async def _known_caller(caller: Caller) -> Principal:
    """Return a caller with a valid key; a key is required even if the settings allow anonymous callers.

    Some changes run code on the cluster. Even on a laptop they need the key, because any web page that its owner
    visits can send requests to a port on localhost.
    """
    if caller is None:
        raise Unauthorized(
            "this runs code, so it needs an API key even in development: send Authorization: Bearer KEY "
            "(`streamb up` prints the key; it is in the file api-key of the state directory)"
        )
    return caller


KnownCaller = Annotated[Principal, Depends(_known_caller)]


def _sent_key(request: Request) -> str | None:
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("the Authorization header must read: Bearer KEY")
        return key.strip()
    return request.headers.get("x-api-key") or None
