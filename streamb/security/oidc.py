"""OpenID Connect: checks the tokens by which an issuer (a company's login) says who a person is.

A token is a signed JSON Web Token (RFC 7519). The issuer publishes its public keys; they are fetched, kept for a while,
and fetched again when a token names one that is not known. The checks follow RFC 8725 (Best Current Practices):
only asymmetric algorithms, only the issuer's own keys (never one that the token brings or points to), the issuer, the
audience and the times.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import jwt

from streamb.clock import Clock
from streamb.config import Settings, is_loopback
from streamb.errors import Unauthorized, Unavailable
from streamb.security.permissions import ROLES, Role
from streamb.security.principals import Kind, Principal

FETCH_S: Final = 5.0
"""The longest time for an answer of the issuer, in seconds."""

_MOST_BYTES: Final = 512 * 1024
_LONGEST_TOKEN: Final = 16 * 1024
_MOST_KEYS: Final = 50
_MOST_GROUPS: Final = 1_000
_REFRESH_S: Final = 600.0
_LAST_S: Final = 3_600.0
"""Keys are fetched again after `_REFRESH_S`; while the issuer does not answer, they are used for `_LAST_S`."""
_MOST_FETCHES: Final = 6
_MINUTE_S: Final = 60.0
_PAUSE_S: Final = 5.0
"""They are fetched at most `_MOST_FETCHES` times a minute, whatever tokens come; after a failure not for a pause."""
_SKEW_S: Final = 60.0
"""How far the clock of the issuer may be ahead. A token that has ended has ended."""

_KEY_TYPES: Final[Mapping[str, str]] = {
    **{f"{family}{bits}": "RSA" for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": "EC",
    "ES384": "EC",
    "ES512": "EC",
    "EdDSA": "OKP",
}
"""The algorithms that are accepted, and the type of key of each. A token's "none" or "HS256" is none of them."""

_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt", "application/jwt"})
_TOKEN: Final = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_EMAIL: Final = re.compile(r"[a-z0-9][a-z0-9._+-]*@[a-z0-9][a-z0-9.-]*", re.ASCII)
_SUBJECT: Final = re.compile(r"[!-~]{1,255}", re.ASCII)
_CHECKS: Final = {
    "require": ["iss", "sub", "aud", "exp"],
    "verify_exp": False,  # with our own clock, below
    "verify_nbf": False,
    "verify_iat": False,
    "enforce_minimum_key_length": True,
}


@dataclass(frozen=True, slots=True)
class Person:
    """Who a token says a person is.

    Attributes:
        name: the email address, in lower case, if the issuer has verified it; else `oidc:` and the issuer's id.
        groups: those of the person's groups that have a role on this platform.
        issuer: the issuer.
    """

    name: str
    groups: tuple[str, ...]
    issuer: str


def principal_of_groups(name: str, groups: tuple[str, ...], roles: Mapping[str, frozenset[str]]) -> Principal:
    """Return a person with what the roles of its groups allow.

    Args:
        name: the person's name.
        groups: its groups.
        roles: the roles of each group, by name.
    """
    found = {Role(role) for group in groups for role in roles.get(group, ())}
    return Principal(name, frozenset().union(*(ROLES[role] for role in found)), Kind.PERSON)


def looks_like_token(text: str) -> bool:
    """Return whether a credential is a token rather than an API key: three parts with dots between."""
    return len(text) <= _LONGEST_TOKEN and _TOKEN.fullmatch(text) is not None


class Issuer:
    """The issuer of people's tokens. Belongs to one event loop.

    Args:
        address: its address, as in its tokens.
        audience: what a token must be made for.
        groups_claim: the claim that lists the person's groups.
        roles: the roles of each group, by name.
        clock: the source of time.
    """

    def __init__(
        self, address: str, audience: str, groups_claim: str, roles: Mapping[str, frozenset[str]], clock: Clock
    ) -> None:
        self._address = address
        self._audience = audience
        self._groups_claim = groups_claim
        self._roles = roles
        self._clock = clock
        self._keys: list[dict[str, Any]] = []
        self._fetched: float | None = None
        self._tries: list[float] = []
        self._fetches = 0
        self._failure = ""
        self._fetching = asyncio.Lock()

    async def check(self, token: str) -> Person:
        """Return whom a token names.

        Raises:
            Unauthorized: the token is not valid here; the message says why, and repeats nothing of it.
            Unavailable: the issuer's keys are not known, because it does not answer.
        """
        header = _header(token)
        keys = await self._keys_for(header)
        claims = self._verified(token, header["alg"], keys)
        self._check_times(claims)
        groups = claims.get(self._groups_claim)
        listed = [groups] if isinstance(groups, str) else groups if isinstance(groups, list) else []
        known = tuple(sorted({one for one in listed[:_MOST_GROUPS] if isinstance(one, str) and one in self._roles}))
        return Person(_name(claims), known, self._address)

    def principal(self, person: Person) -> Principal:
        """Return a person with what its roles allow."""
        return principal_of_groups(person.name, person.groups, self._roles)

    # --- one token ----------------------------------------------------------------------------------------------------

    def _verified(self, token: str, algorithm: str, keys: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the claims of a token that one of these keys has signed."""
        problem: Exception = Unauthorized("")
        for key in keys:
            try:
                usable = jwt.PyJWK(key, algorithm)
                claims: dict[str, Any] = jwt.decode(
                    token,
                    usable,
                    algorithms=[algorithm],
                    audience=self._audience,
                    issuer=self._address,
                    options=_CHECKS,  # type: ignore[arg-type]  # a plain dict of its options
                )
            except jwt.InvalidSignatureError as error:
                problem = error
            except jwt.PyJWTError as error:
                problem = error
                if isinstance(error, jwt.InvalidTokenError) and not isinstance(error, jwt.InvalidKeyError):
                    break  # signed, but not valid
            except (ValueError, TypeError, KeyError, RecursionError, OverflowError) as error:
                problem = error
            else:
                return claims
        raise Unauthorized(f"this token is not valid here: {_why(problem)}; sign in again") from None

    def _check_times(self, claims: Mapping[str, Any]) -> None:
        now = self._clock.now()
        times: dict[str, float] = {}
        for name in ("exp", "nbf", "iat"):
            value = claims.get(name)
            if value is None and name != "exp":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                raise Unauthorized(f"this token is not valid here: its {name} is no time; sign in again")
            times[name] = value
        if now >= times["exp"]:
            raise Unauthorized("this token has expired; sign in again")
        if max(times.get("nbf", now), times.get("iat", now)) > now + _SKEW_S:
            raise Unauthorized("this token is not valid yet; is the clock of this machine or the issuer wrong?")

    # --- the issuer's keys --------------------------------------------------------------------------------------------

    async def _keys_for(self, header: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the keys that may have signed a token with this header; fetches them where necessary.

        Raises:
            Unauthorized: there is no such key.
            Unavailable: the issuer does not answer, and no keys of it are fresh enough.
        """
        age = self._age()
        if age >= _LAST_S or (age >= _REFRESH_S and not self._fetching.locked()):
            await self._fetch_soon()
        if self._age() >= _LAST_S:
            raise self._unreachable()
        found = _matching(self._keys, header)
        if not found:
            before = self._fetched
            await self._fetch_soon()
            found = _matching(self._keys, header)
            if not found and self._failure and self._fetched == before:
                raise self._unreachable()
        if not found:
            raise Unauthorized("this token is not valid here: no key of the issuer fits it; sign in again")
        return found

    def _age(self) -> float:
        return math.inf if self._fetched is None else self._clock.monotonic() - self._fetched

    def _unreachable(self) -> Unavailable:
        return Unavailable(
            f"tokens cannot be checked: the issuer {self._address} does not tell its keys ({self._failure}); try again "
            "later, or use an API key",
            retry_after_s=_PAUSE_S,
        )

    async def _fetch_soon(self) -> None:
        """Fetch the keys, unless that was tried too often of late. A failure is noted, and is no error."""
        fetches = self._fetches
        async with self._fetching:
            if self._fetches != fetches:  # while this one waited
                return
            now = self._clock.monotonic()
            self._tries = [one for one in self._tries if now - one < _MINUTE_S]
            if len(self._tries) >= _MOST_FETCHES or (
                self._failure and self._tries and now - self._tries[-1] < _PAUSE_S
            ):
                return
            self._tries.append(now)
            try:
                async with asyncio.timeout(FETCH_S):
                    keys = await _fetch_keys(self._address)
            except TimeoutError:
                self._failure = f"no answer within {FETCH_S:g} s"
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, RecursionError, OSError) as error:
                self._failure = str(error)[:200] or type(error).__name__
            else:
                self._keys, self._fetched, self._failure = keys, self._clock.monotonic(), ""
            self._fetches += 1


def issuer_of(settings: Settings, clock: Clock) -> Issuer | None:
    """Return the issuer that settings name; None if they name none."""
    if settings.oidc_issuer is None or not settings.oidc_audience:
        return None
    return Issuer(
        settings.oidc_issuer, settings.oidc_audience, settings.oidc_groups_claim, settings.roles_of_groups, clock
    )


async def _fetch_keys(address: str) -> list[dict[str, Any]]:
    """Return an issuer's public keys (OpenID Connect Discovery 1.0, section 4; RFC 7517).

    Raises:
        ValueError, httpx.HTTPError: it does not answer, or with something else.
    """
    near = is_loopback(urlsplit(address).hostname or "")
    limits = httpx.Timeout(FETCH_S)
    async with httpx.AsyncClient(timeout=limits, follow_redirects=False, trust_env=not near) as client:
        described = await _document(client, f"{address.rstrip('/')}/.well-known/openid-configuration")
        if described.get("issuer") != address:
            raise ValueError("its description names another issuer")
        where = described.get("jwks_uri")
        parts = urlsplit(where) if isinstance(where, str) else urlsplit("")
        if parts.scheme != "https" and not (parts.scheme == "http" and near and is_loopback(parts.hostname or "")):
            raise ValueError("its description has no https:// address of its keys")
        keys = (await _document(client, str(where))).get("keys")
    if not isinstance(keys, list):
        raise ValueError("its keys cannot be read")  # noqa: TRY004 - what came is wrong, not what was called
    return [key for key in keys[:_MOST_KEYS] if isinstance(key, dict)]


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    body = bytearray()
    async with client.stream("GET", url, headers={"Accept-Encoding": "identity"}) as answer:
        if answer.status_code != httpx.codes.OK or answer.headers.get("content-encoding", "identity") != "identity":
            raise ValueError(f"it answered {answer.status_code} at {url}")
        async for piece in answer.aiter_raw():
            body += piece
            if len(body) > _MOST_BYTES:
                raise ValueError(f"its answer is longer than {_MOST_BYTES} bytes")
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("its answer is no JSON object")  # noqa: TRY004
    return document


def _header(token: str) -> dict[str, Any]:
    """Return the header of a token, whose algorithm and type are accepted.

    Raises:
        Unauthorized: they are not, or it is no token.
    """
    if not looks_like_token(token):
        raise Unauthorized("this is no token: three parts with dots between, at most 16 KiB")
    try:
        header: dict[str, Any] = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
        raise Unauthorized("this token cannot be read; sign in again") from None
    algorithm, kind = header.get("alg"), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in _KEY_TYPES:
        raise Unauthorized(f"this token is not valid here: it must be signed with one of {', '.join(_KEY_TYPES)}")
    if not isinstance(kind, str) or kind.lower() not in _TYPES or "crit" in header or "b64" in header:
        raise Unauthorized("this token is not valid here: it is of another type, or has extensions")
    return header


def _matching(keys: list[dict[str, Any]], header: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the keys that may have signed a token with this header: the one it names, or all if it names none."""
    algorithm = header["alg"]
    fit = [
        key
        for key in keys
        if key.get("kty") == _KEY_TYPES[algorithm]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and "verify" in (key.get("key_ops") or ["verify"])
    ]
    return [key for key in fit if key.get("kid") == header["kid"]] if "kid" in header else fit


def _name(claims: Mapping[str, Any]) -> str:
    """Return the name of a person. Anybody can give an address that the issuer has not verified."""
    email, subject = claims.get("email"), claims.get("sub")
    if isinstance(email, str) and claims.get("email_verified") is True and len(email) <= 100:
        lowered = email.lower()
        if _EMAIL.fullmatch(lowered):
            return lowered
    if not isinstance(subject, str) or _SUBJECT.fullmatch(subject) is None:
        raise Unauthorized("this token is not valid here: its subject has other characters than printable ASCII")
    return f"oidc:{subject}"


def _why(problem: Exception) -> str:
    for kind, words in _WORDS.items():
        if isinstance(problem, kind):
            return words
    return "it cannot be read"


_WORDS: Final[Mapping[type[Exception], str]] = {
    jwt.InvalidSignatureError: "no key of the issuer has signed it",
    jwt.InvalidAudienceError: "it was made for another audience",
    jwt.InvalidIssuerError: "another issuer made it",
    jwt.MissingRequiredClaimError: "it lacks one of iss, sub, aud and exp",
    jwt.PyJWKError: "the key of the issuer cannot be used",
    jwt.InvalidKeyError: "the key of the issuer cannot be used",
}
