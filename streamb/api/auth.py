"""Who is calling: the API key of a request becomes a `Principal`, and routes say whether they need one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Annotated, Final

from fastapi import Depends, Request

from streamb.api.console import Console, ConsoleDep
from streamb.clock import Clock
from streamb.errors import Unauthorized
from streamb.security.keys import KeyRing, Principal, digest

_REMEMBER_S: Final = 5.0
_MOST_REMEMBERED: Final = 10_000

SECURITY_SCHEMES: Final = {
    "BearerKey": {"type": "http", "scheme": "bearer"},
    "HeaderKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
NEEDS_KEY: Final[list[dict[str, list[str]]]] = [{"BearerKey": []}, {"HeaderKey": []}]
"""The OpenAPI words for "a key, in either header"."""


class KeyCache:
    """Answers about keys, remembered for a few seconds, so that a busy client does not ask the Controller each time.

    Wrong keys are remembered as well. Only digests are held. A revoked key works for at most those seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Principal | None]] = OrderedDict()

    async def check(self, console: Console, key: str) -> Principal | None:
        """The principal behind `key`, or None."""
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
    """The checked caller; None for an anonymous one where the settings allow that.

    Raises:
        Unauthorized: a key was sent and is not valid, or the settings demand one and none was sent.
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
"""For a whole router: refuse what `_caller` refuses."""

Caller = Annotated[Principal | None, needs_caller]


async def _known_caller(caller: Caller) -> Principal:
    """A caller with a valid key, whatever the settings say.

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
