"""The checks on a request's headers: API key, media type and request id."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping
from functools import lru_cache
from itertools import count
from typing import Final

from streamb.errors import BadRequest, Forbidden, Unauthorized, UnsupportedMediaType
from streamb.security.permissions import GATEWAY, Permission
from streamb.serving.http.routes import Action, Route
from streamb.serving.tokens import MARK
from streamb.traffic import GatewayPolicy, KeyGrant

Headers = Mapping[bytes, bytes]

_TOKEN: Final = re.compile(rf"{MARK}[\w-]{{48,}}", re.ASCII)
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]{1,128}")
_JSON, _BINARY = b"application/json", b"application/octet-stream"
_VERSION_HEADER: Final = b"x-model-version"
_OF_BROWSERS: Final = frozenset({b"origin", b"sec-fetch-site"})
_LONGEST_KEY: Final = 512
_NEEDED: Final = {action: frozenset(map(str, GATEWAY[action.name.lower()])) for action in Action}
_PIN: Final = str(Permission.PIN)
_ANSWERED: Final = frozenset({Action.PREDICT, Action.INFER})
_CHARSETS: Final = frozenset({b"utf-8", b"utf8", b"us-ascii"})


class RequestIds:
    """Makes plain ids for requests that bring none: unique over all gateways, cheap to make, and not secret.

    An answered request gets a token instead, where the platform signs them (`serving.tokens`).
    """

    def __init__(self) -> None:
        self._prefix = os.urandom(8).hex()
        self._numbers = count(1)

    def new(self) -> str:
        """Return a new id."""
        return f"{self._prefix}-{next(self._numbers):x}"


def own_id(headers: Headers) -> str:
    """Return the client's X-Request-Id if it can be an id (see `as_own_id`), else ""."""
    given = headers.get(b"x-request-id")
    return "" if given is None else as_own_id(given.decode("latin-1"))


def as_own_id(given: str) -> str:
    """Return an id that a client chose if it is printable ASCII of at most 128 characters, else "".

    A token, which is the id of an earlier answer, is not accepted: an id used twice would be ambiguous.
    """
    return given if _PRINTABLE.fullmatch(given) and not _TOKEN.fullmatch(given) else ""


def key_in(headers: Headers) -> bytes:
    """Return the API key that a request brings; b"" if it brings none."""
    key = headers.get(b"x-api-key")
    if key:
        return key
    scheme, _, value = headers.get(b"authorization", b"").partition(b" ")
    return value.strip() if scheme.lower() == b"bearer" else b""


def grant_of(headers: Headers, policy: GatewayPolicy, now: float) -> KeyGrant | None:
    """Return what the request's API key allows; None if it brings none and the policy requires none.

    Looking up digests in a table reveals nothing useful about a key through its timing.

    Args:
        headers: the headers of the request.
        policy: the policy in force.
        now: seconds since the epoch.

    Raises:
        Unauthorized: the key is not valid, or there is none although the policy requires one.
    """
    key = key_in(headers)
    if not key:
        if not policy.api_key_required:
            return None
        raise Unauthorized("this platform requires an API key: send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'")
    grant = policy.keys.get(_digest(key)) if len(key) <= _LONGEST_KEY else None
    if grant is None:
        raise Unauthorized("the API key is not valid here; it may have been revoked")
    if grant.expires_at is not None and now >= grant.expires_at:
        raise Unauthorized("the API key has expired; ask for a new one")
    return grant


def check_permitted(grant: KeyGrant, route: Route, headers: Headers) -> None:
    """Check that a key allows what a request asks for: its action, its model, and the choice of a version.

    A key that is not good for a model hears the same whether or not there is such a model.

    Raises:
        Forbidden: it does not; the details name the permissions of which one is needed, or the model.
    """
    if grant.permissions.isdisjoint(_NEEDED[route.action]):
        raise _lacks(grant, _NEEDED[route.action], f"{route.action.name.lower()} requests")
    if route.model_id and not grant.covers(route.model_id):
        raise Forbidden(
            f"the key {grant.key_id} of {grant.principal} is not good for the model {route.model_id[:100]!r}; "
            "ask an administrator for one that is",
            model_id=route.model_id[:100],
        )
    if route.action in _ANSWERED and (route.version or headers.get(_VERSION_HEADER)) and _PIN not in grant.permissions:
        raise _lacks(grant, {_PIN}, "requests that name the version which is to answer")


def _lacks(grant: KeyGrant, needed: Collection[str], what: str) -> Forbidden:
    return Forbidden(
        f"the key {grant.key_id} of {grant.principal} does not allow {what}: "
        f"that needs the permission {' or '.join(sorted(needed))}",
        needed=sorted(needed),
    )


@lru_cache(maxsize=256)
def _digest(key: bytes) -> str:
    """The digest of a key, cached for recent keys: hashing takes a twentieth of the time of a small request."""
    return hashlib.sha256(key).hexdigest()


def json_length(headers: Headers, *, tensors: bool) -> int | None:
    """Check the media type; return how many bytes of the body are JSON if binary tensors follow, else None.

    Raises:
        UnsupportedMediaType: neither JSON nor (where `tensors` are read) the binary tensor extension.
        BadRequest: the length of the JSON part is not a number.
    """
    media = headers.get(b"content-type", _JSON)
    if media != _JSON:
        media = _media_type(media)
    given = headers.get(b"inference-header-content-length") if tensors else None
    if given is None:
        if tensors or media == _JSON:  # clients such as tritonclient's for asyncio name a body of JSON octet-stream
            return None
        raise UnsupportedMediaType("send rows as application/json; binary tensors go to …/infer")
    return _whole_number(given, "Inference-Header-Content-Length")


def demand_media_type(headers: Headers, *, tensors: bool) -> None:
    """Refuse a body that names no media type: a page of another site can send one so without asking first.

    Programs for tensors, such as tritonclient, name none either; browsers always say which page sends a body.

    Raises:
        UnsupportedMediaType: it names none.
    """
    if b"content-type" not in headers and not (tensors and headers.keys().isdisjoint(_OF_BROWSERS)):
        raise UnsupportedMediaType("send the body as JSON, with Content-Type: application/json")


def content_length(headers: Headers) -> int | None:
    """Return the declared length of the body in bytes; None if there is none."""
    given = headers.get(b"content-length")
    return None if given is None else _whole_number(given, "Content-Length")


def _media_type(value: bytes) -> bytes:
    media, *parameters = (part.strip().lower() for part in value.split(b";"))
    if media not in (_JSON, _BINARY):
        raise UnsupportedMediaType(f"Content-Type must be application/json, not {value[:100].decode('latin-1')!r}")
    for parameter in parameters:
        name, _, charset = parameter.partition(b"=")
        if name == b"charset" and charset.strip(b'"') not in _CHARSETS:
            raise UnsupportedMediaType("JSON must be in UTF-8")
    return media


def _whole_number(value: bytes, name: str) -> int:
    if not value.isdigit() or len(value) > 18:
        raise BadRequest(f"{name} must be a whole number")
    return int(value)
