"""Routes of sessions: signing in and out of the Console with a browser.

They are for the Console's own pages, so they are not part of the described API: an answer with a secret is never kept
for repetitions, as those of other changes are.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import Field

from streamb.api.auth import Caller, sent_key
from streamb.api.console import ConsoleDep
from streamb.api.cookies import clear, put, secret_in
from streamb.api.shapes import Answer
from streamb.errors import BadRequest
from streamb.security.oidc import Issuer, looks_like_token
from streamb.security.principals import ANONYMOUS
from streamb.security.sessions import Sessions, csrf_token, new_secret, place_of

router = APIRouter(prefix="/api/session", include_in_schema=False)

_CSRF: Final = "Send this as X-CSRF-Token with every change that the session makes; null without a session."


class SessionAnswer(Answer):
    """Who calls, and what it may do."""

    principal: str = Field(description="The name of the caller; `anonymous` without a key.")
    permissions: list[str]
    models: list[str] = Field(description="Patterns of the models that it may do it with.")
    expires_at: float | None = Field(default=None, description="When a session that was just opened ends.")
    csrf_token: str | None = Field(default=None, description=_CSRF)


@router.post("", status_code=201)
async def open_session(request: Request, response: Response, console: ConsoleDep, caller: Caller) -> SessionAnswer:
    """Sign in with an API key or a token in the header: the answer sets the cookie of a new session.

    The session ends after `ML_SESSION_HOURS`, with the key, or when it is deleted.
    """
    key = sent_key(request)
    if caller is None or key is None:
        raise BadRequest("a session is opened with a key or a token: send Authorization: Bearer KEY")
    secret = new_secret(caller.name)
    people: Issuer | None = request.app.state.people
    if people is not None and looks_like_token(key):
        opened = await console.ask(Sessions.open_for, place_of(secret), await people.check(key))
    else:
        opened = await console.ask(Sessions.open_with_key, place_of(secret), key)
    put(response, request, console.settings, secret)
    return _about(caller, secret, opened.until)


@router.get("")
async def read_session(request: Request, caller: Caller) -> SessionAnswer:
    """Return who calls, and the token for changes if a session does."""
    return _about(caller, getattr(request.state, "session", None))


@router.delete("", status_code=204)
async def close_session(request: Request, response: Response, console: ConsoleDep) -> None:
    """Sign out: the session ends, and the cookie is removed."""
    secret = secret_in(request, console.settings)
    if secret is not None:
        await console.ask(Sessions.close, place_of(secret))
    clear(response, request, console.settings)


def _about(caller: Caller, secret: str | None, until: float | None = None) -> SessionAnswer:
    return SessionAnswer(
        principal=ANONYMOUS if caller is None else caller.name,
        permissions=[] if caller is None else sorted(caller.permissions),
        models=["*"] if caller is None else list(caller.models),
        expires_at=until,
        csrf_token=None if secret is None else csrf_token(secret),
    )
