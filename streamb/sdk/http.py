"""The one HTTP client: JSON in and out, errors back as the classes of `streamb.errors`, careful retries.

A request is repeated only where repeating is harmless: reads, predictions, and changes that carry an Idempotency-Key
(every change made here does).
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import orjson

from streamb.config import is_loopback
from streamb.errors import (
    BadRequest,
    DeadlineExceeded,
    NotRunning,
    RateLimited,
    StreambError,
    Unavailable,
    error_classes,
)

UPLOAD_S: Final = 600.0
"""The shortest wait for the answer to an upload, in seconds: a version is tried before it is registered."""

_ATTEMPTS: Final = 4
_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0


class HttpClient:
    """An HTTP client of one platform. Thread-safe.

    Args:
        url: the platform's address, "http://127.0.0.1:8000".
        api_key: sent with every request; None sends no key.
        timeout_s: maximum wait for one answer, in seconds.
        transport: replaces the network, for tests.
        sleep: how to pause between attempts.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = _checked_url(url)
        headers = {"User-Agent": "streamb-python"}
        if api_key:
            headers["Authorization"] = f"Bearer {api_key}"
        self._sleep = sleep
        connect_s = min(timeout_s, 5.0)
        self._upload_timeout = httpx.Timeout(max(timeout_s, UPLOAD_S), connect=connect_s)
        loopback = is_loopback(urlsplit(self.url).hostname or "")
        self._client = httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=httpx.Timeout(timeout_s, connect=connect_s),
            limits=httpx.Limits(max_connections=64, max_keepalive_connections=32, keepalive_expiry=15.0),
            # Requests to this machine use no proxy, and their certificate is not checked.
            trust_env=not loopback,
            verify=not loopback,
            transport=transport,
        )

    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """Return the JSON object at `path`; parameters that are None are left out."""
        return self._json(
            self._send("GET", path, params={name: one for name, one in params.items() if one is not None})
        )

    def text(self, path: str) -> str:
        """Return the text at `path`."""
        return self._send("GET", path).text

    def pages(self, path: str, *, limit: int | None = None, **params: Any) -> Iterator[dict[str, Any]]:
        """Iterate over the items of a paged list, or over the first `limit`. Pages are read when needed."""
        cursor, left = None, limit
        while left is None or left > 0:
            size = 100 if left is None else min(left, 100)
            page = self.get(path, limit=size, cursor=cursor, **params)
            yield from page["items"]
            left = None if left is None else left - len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def change(self, method: str, path: str, body: Any = None, *, patient: bool = False) -> dict[str, Any]:
        """Make a change. It happens once, even if the request is repeated after a broken connection.

        Args:
            method, path: the route.
            body: sent as JSON.
            patient: whether to wait at least `UPLOAD_S` for the answer, because a version may be tried first.
        """
        content = None if body is None else _encode(body)
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        if content is not None:
            headers["Content-Type"] = "application/json"
        timeout = self._upload_timeout if patient else httpx.USE_CLIENT_DEFAULT
        return self._json(self._send(method, path, content=content, headers=headers, timeout=timeout))

    def ask(self, path: str, body: Any, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Post a body that changes nothing on the platform, such as rows to predict."""
        sent = {"Content-Type": "application/json", **(headers or {})}
        return self._json(self._send("POST", path, content=_encode(body), headers=sent, retry_answers=False))

    def upload(
        self,
        path: str,
        source: Path,
        metadata: Mapping[str, Any],
        *,
        part: str = "artifact",
        media_type: str = "application/zip",
        example: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Upload a file and its metadata as a form. Waits for the answer at least `UPLOAD_S`.

        Args:
            path: the path on the platform.
            source: the file to send.
            metadata: sent as JSON in the part `metadata`.
            part: the name of the part that holds the file.
            media_type: the content type of the file.
            example: sent as JSON in the part `example`, unless it is None.
        """
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        with source.open("rb") as file:
            form: dict[str, Any] = {
                "metadata": (None, _encode(metadata), "application/json"),
                part: (source.name, file, media_type),
            }
            if example is not None:
                form["example"] = (None, _encode(example), "application/json")
            again = partial(file.seek, 0)
            return self._json(
                self._send("POST", path, files=form, headers=headers, timeout=self._upload_timeout, before=again)
            )

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _send(
        self,
        method: str,
        path: str,
        *,
        retry_answers: bool = True,
        before: Callable[[], object] | None = None,
        **request: Any,
    ) -> httpx.Response:
        """Send a request, with retries; returns a successful response or raises its error."""
        for attempt in range(1, _ATTEMPTS + 1):
            last = attempt == _ATTEMPTS
            if before is not None:
                before()
            try:
                response = self._client.request(method, path, **request)
            except httpx.TimeoutException as error:
                # A connection that was never opened can be retried; one that fell silent has used up the time.
                if last or not isinstance(error, httpx.ConnectTimeout | httpx.PoolTimeout):
                    raise DeadlineExceeded(f"{self.url}{path} did not answer in time") from error
                self._pause(attempt, None)
                continue
            except httpx.TransportError as error:
                if last:
                    raise NotRunning(
                        f"no platform answers at {self.url} ({error}); start it with `streamb up`"
                    ) from error
                self._pause(attempt, None)
                continue
            if response.is_success:
                return response
            refusal = _error_of(response)
            # A limit on callers that says when is waited for: what polls a deployment must not fail of it.
            later = isinstance(refusal, Unavailable) or (
                isinstance(refusal, RateLimited) and "retry_after_s" in refusal.details
            )
            if last or not retry_answers or not later:
                raise refusal
            self._pause(attempt, refusal.details.get("retry_after_s"))
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, attempt: int, wanted_s: Any) -> None:
        pause = _FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
        if isinstance(wanted_s, int | float):
            pause = max(pause, wanted_s)
        self._sleep(min(pause, _LONGEST_PAUSE_S))

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            answer = orjson.loads(response.content)
        except orjson.JSONDecodeError:
            answer = None
        if isinstance(answer, dict):
            return answer
        raise NotRunning(
            f"{response.request.url} did not answer with a JSON object; is a streamb platform at this address?"
        )


def _error_of(response: httpx.Response) -> StreambError:
    """Return the exception that an error response stands for."""
    try:
        body = orjson.loads(response.content)
        message, code = str(body["error"]), str(body["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        kind = Unavailable if response.status_code in {502, 503} else StreambError
        return kind(f"{response.request.url} answered {response.status_code}, but not like a streamb platform")
    details = {name: value for name, value in body.items() if name not in {"error", "code", "message"}}
    return error_classes().get(code, StreambError)(message, **details)


def _encode(body: Any) -> bytes:
    try:
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    except (TypeError, orjson.JSONEncodeError) as error:
        raise BadRequest(f"this cannot be sent as JSON: {error}") from error


def _checked_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadRequest(f"{url!r} is not the address of a platform; it must be http://HOST:PORT or https://HOST:PORT")
    return url.rstrip("/")
