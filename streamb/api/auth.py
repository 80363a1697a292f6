"""Who calls, and whether it may: finds the `Principal` of a request's API key, and compares it with what is needed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request

from streamb.api.console import Console, ConsoleDep
from streamb.api.cookies import secret_in
from streamb.clock import Clock
from streamb.config import Settings
from streamb.errors import Forbidden, Unauthorized
from streamb.hashing import same_secret
from streamb.security.keys import KeyRing, digest, parse
from streamb.security.oidc import Issuer, looks_like_token
from streamb.security.permissions import JUDGES_MODELS, Needed, Permission, Place
from streamb.security.principals import Principal
from streamb.security.sessions import Sessions, csrf_token, place_of
from streamb.serving.http.origins import SAFE_METHODS

_REMEMBER_S: Final = 0.5
_MOST_REMEMBERED: Final = 10_000

SECURITY_SCHEMES: Final = {
    "BearerKey": {"type": "http", "scheme": "bearer"},
    "HeaderKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
NEEDS_KEY: Final[list[dict[str, list[str]]]] = [{"BearerKey": []}, {"HeaderKey": []}]
"""OpenAPI's form of "an API key, in either header"."""


class KeyCache:
    """Caches checked keys for half a second, so that a busy client does not need the Controller for each request.

    Invalid keys are cached as well, at most `_MOST_REMEMBERED` of them together. Only digests are stored. A revoked key
    works for at most that half second: it counts from before the Controller was asked.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Principal | None]] = OrderedDict()

    async def check(self, console: Console, key: str) -> Principal | None:
        """Return the principal that `key` belongs to, or None if the key is not valid.

        Raises:
            Unauthorized: it is no key at all, or mistyped; the Controller is not asked.
        """
        parse(key)
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


async def authenticate(request: Request) -> Principal | None:
    """Return who makes a request, by key, token or session; None for an anonymous caller where the settings allow that.

    Raises:
        Unauthorized: what was sent is not valid, or nothing was sent and the settings require a key.
        Unavailable: a token was sent, and its issuer does not answer.
    """
    console: Console = request.app.state.console
    key = sent_key(request)
    if key is None:
        secret = own_session(request, console.settings)
        if secret is not None:
            return await _of_session(request, console, secret)
        if console.settings.api_key_required:
            raise Unauthorized("this needs an API key: send Authorization: Bearer KEY, or X-API-Key: KEY")
        return None
    people: Issuer | None = request.app.state.people
    if people is not None and looks_like_token(key):
        return people.principal(await people.check(key))
    keys: KeyCache = request.app.state.keys
    principal = await keys.check(console, key)
    if principal is None:
        raise Unauthorized("this API key is not valid here; it may have been revoked, or belong to another platform")
    return principal


async def _of_session(request: Request, console: Console, secret: str) -> Principal:
    principal = await console.ask(Sessions.check, place_of(secret))
    if principal is None:
        raise Unauthorized("this session has ended; sign in again with a key or a token: POST /api/session")
    request.state.session = secret
    return principal


def own_session(request: Request, settings: Settings) -> str | None:
    """Return the secret of the session in the request's cookie; None if there is none.

    A browser sends the cookie by itself, so a change must repeat what only a page of the Console knows.

    Raises:
        Forbidden: it is a change, and does not repeat the session's token.
    """
    secret = secret_in(request, settings)
    if secret is not None and request.method not in SAFE_METHODS:
        given = request.headers.get("x-csrf-token", "")
        if not same_secret(given, csrf_token(secret)):
            raise Forbidden(
                "a change by a session must repeat its `csrf_token` (GET /api/session) in the header X-CSRF-Token"
            )
    return secret


def authorize(
    settings: Settings, caller: Principal | None, place: Place, needed: Needed, model_id: str | None = None
) -> None:
    """Refuse what the caller may not do.

    What needs an administrator needs one in every environment, because it runs code or grants permissions. The rest is
    checked where the settings say so (`ML_ENABLE_AUTHORIZATION`), and for a key that was narrowed: it stays so.

    Args:
        settings: the settings of the platform.
        caller: who calls; None: nobody gave a key.
        place: method and path pattern of the route.
        needed: permissions of which the caller needs one.
        model_id: the model in the path, if the path has one.

    Raises:
        Unauthorized: it needs to be known who calls.
        Forbidden: the caller lacks the permission, or its key is not good for this model.
    """
    checked = is_checked(settings, caller)
    if not checked and needed != (Permission.ADMIN,):
        return
    if caller is None:
        raise Unauthorized(
            f"this needs an API key with the permission {_listed(needed)}{_even_here(checked=checked)}: send "
            "Authorization: Bearer KEY (`streamb up` prints the operator's key; it is in the file api-key of the state "
            "directory)"
        )
    if not caller.may(needed):
        has = _listed(caller.permissions) or "nothing"
        raise Forbidden(
            f"{caller.name} may not do this: it needs the permission {_listed(needed)}, and this key allows {has}",
            needed=[str(one) for one in needed],
        )
    if not checked or caller.every_model:
        return
    if model_id is not None:
        Reach(caller).demand(model_id)
    elif place not in JUDGES_MODELS:
        raise Forbidden(
            f"this concerns every model, and the key of {caller.name} is good for {', '.join(caller.models)} only"
        )


def is_checked(settings: Settings, caller: Principal | None) -> bool:
    """Return whether it is checked what a caller may do, beyond what needs an administrator."""
    return settings.enable_authorization or (caller is not None and caller.narrowed)


@dataclass(frozen=True, slots=True)
class Reach:
    """The models that a caller may do something with.

    Args:
        caller: the principal whose key limits them; None: every model.
    """

    caller: Principal | None

    def __contains__(self, model_id: object) -> bool:
        return self.caller is None or self.caller.covers(str(model_id))

    @property
    def limited(self) -> bool:
        """Whether there are models out of reach."""
        return self.caller is not None and not self.caller.every_model

    def demand(self, model_id: str) -> None:
        """Raise Forbidden if the caller's key is not good for a model."""
        if self.caller is not None and model_id not in self:
            allowed = ", ".join(self.caller.models)
            raise Forbidden(f"the key of {self.caller.name} is good for {allowed}, not for {model_id}")


def demand_admin(caller: Principal | None, what: str, *, for_code: bool = False) -> None:
    """Refuse what only an administrator may do, in every environment.

    Args:
        caller: who calls; None: nobody gave a key.
        what: the subject of the message, such as "`force`".
        for_code: whether it runs code, which reaches every model: a key for some models is not enough.

    Raises:
        Unauthorized: nobody gave a key.
        Forbidden: the caller is no administrator.
    """
    if caller is None:
        raise Unauthorized(f"{what} needs the API key of an administrator, even in development")
    if not caller.admin:
        raise Forbidden(f"{what} needs the API key of an administrator; {caller.name} is none with this key")
    if for_code and not caller.every_model:
        raise Forbidden(f"{what} reaches every model, and the key of {caller.name} is good for some of them only")


async def _caller(request: Request) -> Principal | None:
    """Return the caller whom the gate let through to this very route.

    Raises:
        Forbidden: the route is not in the table of permissions, so the gate has judged another one.
    """
    route = request.scope.get("route")
    if getattr(request.state, "judged", None) != (request.method, getattr(route, "path", None)):
        raise Forbidden("this route has no place in the table of permissions, so it is closed")
    caller: Principal | None = request.state.caller
    return caller


needs_caller: Final = Depends(_caller)
"""A dependency for a whole router: refuses every request that the gate did not let through to this route."""

Caller = Annotated[Principal | None, needs_caller]


async def _reach(caller: Caller, console: ConsoleDep) -> Reach:
    return Reach(caller if is_checked(console.settings, caller) else None)


ReachDep = Annotated[Reach, Depends(_reach)]


async def _known_caller(caller: Caller) -> Principal:
    """Return a caller with a valid key; a key is required even if the settings allow anonymous callers.

    Some changes stop what runs on the cluster. Even on a laptop they need the key, because any web page that its owner
    visits can send requests to a port on localhost.
    """
    if caller is None:
        raise Unauthorized(
            "this needs an API key even in development: send Authorization: Bearer KEY "
            "(`streamb up` prints the key; it is in the file api-key of the state directory)"
        )
    return caller


KnownCaller = Annotated[Principal, Depends(_known_caller)]


def _listed(permissions: Collection[Permission]) -> str:
    return " or ".join(one for one in Permission if one in permissions)


def _even_here(*, checked: bool) -> str:
    return "" if checked else ", even in development"


def sent_key(request: Request) -> str | None:
    """Return the key or token that a request brings in a header; None if it brings none.

    Raises:
        Unauthorized: the header is not one of a key.
    """
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise Unauthorized("the Authorization header must read: Bearer KEY")
        return key.strip()
    return request.headers.get("x-api-key") or None
