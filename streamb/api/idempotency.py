"""A change that is requested twice under one `Idempotency-Key` happens once; the second answer repeats the first.

The Controller keeps the answer of each of its verbs in the transaction of the change, so a repetition is told what was
done even if the first answer was lost on its way, whichever Console it reaches. The whole answer is kept as well, for
24 hours. Only successes are kept: after a failure the same key may be used again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from streamb.api.auth import Caller
from streamb.api.console import Console, ConsoleDep, InChange, in_change
from streamb.asking import Once
from streamb.errors import Conflict, StreambError
from streamb.hashing import sha256_hex
from streamb.options import Strict, spoken
from streamb.security.principals import ANONYMOUS
from streamb.store import Idempotency, Remembered
from streamb.store.idempotency import IN_PROGRESS, OTHER_REQUEST

_log = logging.getLogger(__name__)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Any name for this one change; repeating the request under the same name changes nothing.",
        min_length=1,
        max_length=200,
        pattern=spoken(r"^[!-~]+$", "cannot be a key: use printable ASCII without spaces"),
    ),
]


@dataclass(frozen=True, slots=True)
class Change:
    """One requested change.

    Attributes:
        actor: the name of the caller, for the history.
        key: the idempotency key, made unique to the caller; None if none was sent.
        place: method and path of the request.
    """

    console: Console
    actor: str
    key: str | None
    place: str

    def name_of(self, content: str) -> str | None:
        """Return a name shared only by this request and its repetitions; None if no key was sent.

        It is for work that must not run twice even if the answer to the first request was lost.
        """
        return None if self.key is None else sha256_hex(f"{self.key}\n{self.fingerprint(content)}".encode())

    def fingerprint(self, content: str) -> str:
        """Return a hash of the place and `content`; equal requests have equal hashes."""
        return sha256_hex(f"{self.place}\n{content}".encode())

    async def make(
        self,
        answer: type[BaseModel],
        body: Strict | None,
        act: Callable[[], Awaitable[Any]],
        *,
        status: int = 200,
        location: str | None = None,
        shown_once: tuple[str, ...] = (),
    ) -> JSONResponse:
        """Make the change with `once`, and return its result as the answer.

        Args:
            answer: the model of the answer.
            body: the body of the request; None if it has none.
            act: makes the change; returns the object that `answer` is made from.
            status: the HTTP status of success.
            location, shown_once: as in `once`.
        """

        async def answered() -> tuple[int, BaseModel]:
            return status, answer.model_validate(await act())

        return await self.once(body.canonical() if body is not None else "", answered, location, shown_once)

    async def once(
        self,
        content: str,
        act: Callable[[], Awaitable[tuple[int, BaseModel]]],
        location: str | None = None,
        shown_once: tuple[str, ...] = (),
    ) -> JSONResponse:
        """Make the change, unless it was made before under the same key.

        Args:
            content: the content of the request, in a form that is equal for equal requests.
            act: makes the change; returns the HTTP status and the answer.
            location: pattern of the path of the new object, with `{id}` for the answer's id.
            shown_once: names of fields that are secret: they are empty in the answer to a repetition, and never stored.

        Raises:
            Conflict: the key was used for another request, or its first request has not finished.
        """
        if self.key is None:
            status, answer = await act()
            return _respond(status, answer.model_dump(mode="json", by_alias=True), location, replayed=False)
        if self.key in self.console.keys_in_use:
            raise Conflict(IN_PROGRESS)
        self.console.keys_in_use.add(self.key)
        try:
            return await self._once(Once(self.key, self.fingerprint(content)), act, location, shown_once)
        finally:
            self.console.keys_in_use.discard(self.key)

    async def _once(
        self,
        once: Once,
        act: Callable[[], Awaitable[tuple[int, BaseModel]]],
        location: str | None,
        shown_once: tuple[str, ...],
    ) -> JSONResponse:
        console = self.console
        before = await console.ask(Idempotency.recall, once.key) or Remembered(once.fingerprint)
        if before.fingerprint != once.fingerprint:
            raise Conflict(OTHER_REQUEST)
        if before.status:
            return _respond(before.status, json.loads(before.body), location, replayed=True)
        token = in_change.set(within := InChange(once))
        try:
            status, answer = await act()
        finally:
            in_change.reset(token)
        body = answer.model_dump(mode="json", by_alias=True)
        kept = json.dumps({**body, **{name: "" for name in shown_once if name in body}})
        try:
            await console.ask(Idempotency.remember, once.key, once.fingerprint, status, kept)
        except StreambError as error:
            # The change is made: an error now would invite the repetition that the key is there to prevent.
            _log.warning("%s was done, but its answer cannot be stored for repetitions: %s", self.place, error.message)
        return _respond(status, body, location, replayed=within.told)


async def _change(request: Request, console: ConsoleDep, caller: Caller, key: IdempotencyKey = None) -> Change:
    owner = caller.name if caller else ANONYMOUS  # a repetition with another key of the same person is told as well
    return Change(
        console=console,
        actor=caller.name if caller else ANONYMOUS,
        key=sha256_hex(f"{owner}\n{key}".encode()) if key else None,
        place=f"{request.method} {request.url.path}",
    )


ChangeDep = Annotated[Change, Depends(_change)]


def _respond(status: int, body: dict[str, object], location: str | None, *, replayed: bool) -> JSONResponse:
    headers = {"Location": location.format_map(body)} if location else {}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(body, status_code=status, headers=headers)
