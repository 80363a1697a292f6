"""The cookie of a session: no script reads it, no other site sends it, and under TLS it never leaves in clear."""

from __future__ import annotations

from typing import Final

from fastapi import Request, Response

from streamb.config import Settings
from streamb.security.sessions import is_secret

PLAIN: Final = "streamb-session"
SECURE: Final = f"__Host-{PLAIN}"
"""Browsers keep a cookie of this name only if it came over TLS from this very host, so no neighbour can plant one."""


def secret_in(request: Request, settings: Settings) -> str | None:
    """Return the secret of a session in the request's cookies; None if it has none. It may have ended."""
    names = (SECURE,) if settings.tls_enabled else (SECURE, PLAIN)
    found = next((request.cookies[name] for name in names if name in request.cookies), None)
    return found if found is not None and is_secret(found) else None


def put(response: Response, request: Request, settings: Settings, secret: str) -> None:
    """Set the cookie of a session."""
    secure = _is_secure(request, settings)
    response.set_cookie(
        SECURE if secure else PLAIN,
        secret,
        max_age=int(settings.session_hours * 3600),
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def clear(response: Response, request: Request, settings: Settings) -> None:
    """Remove the cookie of a session."""
    for name, secure in ((SECURE, True), (PLAIN, False)):
        if secure or not _is_secure(request, settings):
            response.delete_cookie(name, path="/", secure=secure, httponly=True, samesite="strict")


def _is_secure(request: Request, settings: Settings) -> bool:
    """Return whether the browser speaks TLS: to the platform, or to a proxy in front, as the page's origin tells."""
    return settings.tls_enabled or request.headers.get("origin", "").startswith("https://")
