"""Steady requests from several connections, and what became of each."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Outcome:
    at: float
    status: int
    code: str
    version: str | None
    error: str = ""
    user: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 200


class Load:
    """`with Load(url, "iris", [row]) as load:` keeps asking; `load.outcomes` holds every answer, none excluded.

    Args:
        rows: the rows of every request.
        rows_of: instead, the one row of a request, by the numbers of the request and of its user.
        users: how many users ask in turn (header `X-User-Id`); 0: nobody says who asks.
        connections: how many requests are under way at most.
        pause_s: how long a connection waits after an answer, in seconds.
    """

    def __init__(
        self, url: str, model_id: str, rows: list | None = None, connections: int = 8, pause_s: float = 0.01,
        *, rows_of: Callable[[int, int], Any] | None = None, users: int = 0,
    ) -> None:  # fmt: skip
        self._address = urlsplit(url).netloc
        self._path = f"/v2/models/{model_id}/predict"
        self._rows = rows
        self._rows_of = rows_of
        self._users = users
        self._numbers = count(1)
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(connections)]
        self.outcomes: list[Outcome] = []

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    @property
    def failed(self) -> list[Outcome]:
        return [o for o in self.outcomes if not o.ok]

    @property
    def hurt(self) -> set[str]:
        """The users with a failed request."""
        return {o.user for o in self.failed}

    def summary(self) -> str:
        return str(Counter((o.status, o.code, o.version, o.error) for o in self.outcomes))

    def wait_for(self, more: int, timeout_s: float = 120) -> None:
        """Block until `more` further answers have come."""
        target, deadline = len(self.outcomes) + more, time.monotonic() + timeout_s
        while len(self.outcomes) < target:
            assert time.monotonic() < deadline, f"no {more} answers in {timeout_s} s: {self.summary()}"
            time.sleep(0.02)

    def _run(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=120)
        while not self._stop.is_set():
            user, body, headers = self._next()
            try:
                connection.request("POST", self._path, body, headers)
                answer = connection.getresponse()
                told = json.loads(answer.read())
                said = (told.get("code", ""), told.get("version"), told.get("error", ""))
                outcome = Outcome(time.monotonic(), answer.status, *said, user=user)
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                outcome = Outcome(time.monotonic(), 0, type(error).__name__, None, user=user)
            self.outcomes.append(outcome)
            time.sleep(self._pause_s)
        connection.close()

    def _next(self) -> tuple[str, str, dict[str, str]]:
        """The user, body and headers of the next request."""
        number = next(self._numbers)
        user = number * 7 % self._users if self._users else 0
        rows = self._rows if self._rows_of is None else [self._rows_of(number, user)]
        who = {"X-User-Id": f"user-{user}"} if self._users else {}
        return (
            f"user-{user}" if self._users else "",
            json.dumps({"instances": rows}),
            {"Content-Type": "application/json", **who},
        )
