"""Steady requests from several connections, and what became of each."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Outcome:
    at: float
    status: int
    code: str
    version: str | None
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == 200


class Load:
    """`with Load(url, "iris", [row]) as load:` keeps asking; `load.outcomes` holds every answer, none excluded."""

    def __init__(self, url: str, model_id: str, rows: list, connections: int = 8, pause_s: float = 0.01) -> None:
        self._address = urlsplit(url).netloc
        self._path = f"/v2/models/{model_id}/predict"
        self._body = json.dumps({"instances": rows})
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
            try:
                connection.request("POST", self._path, self._body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                body = json.loads(answer.read())
                said = (body.get("code", ""), body.get("version"), body.get("error", ""))
                outcome = Outcome(time.monotonic(), answer.status, *said)
            except (OSError, http.client.HTTPException, ValueError) as error:
                connection.close()
                outcome = Outcome(time.monotonic(), 0, type(error).__name__, None)
            self.outcomes.append(outcome)
            time.sleep(self._pause_s)
        connection.close()
