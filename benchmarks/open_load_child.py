"""The child of `benchmarks.open_load`: sends the requests and keeps count.

It reads a `LoadSpec` from the first line of stdin and stops when stdin closes. What it has seen so far goes to stdout,
one JSON object a line; the last one is the result.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import sys
from array import array
from typing import Final, cast

import uvloop

from benchmarks.open_load import LoadSpec
from streamb.clock import SystemClock

ANSWER_TIMEOUT_S: Final = 10.0
_PACE_S: Final = 0.001
_REPORT_S: Final = 0.25
_KEPT_EXAMPLES: Final = 20
_OK: Final = b"200"
_LENGTH: Final = b"\r\ncontent-length:"
_clock = SystemClock()


class _Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request out."""

    def __init__(self, load: _Load) -> None:
        self._load = load
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self.due: float | None = None
        self.sent = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._load.free(self)

    def send(self, request: bytes, due: float, now: float) -> None:
        assert self._transport is not None
        self.due, self.sent, self._buffer = due, now, b""
        self._transport.write(request)

    def give_up(self) -> None:
        assert self._transport is not None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or self.due is None:
            return
        head = self._buffer[:end].lower()
        at = head.find(_LENGTH)
        length = int(head[at + len(_LENGTH) :].split(b"\r", 1)[0]) if at >= 0 else 0
        if len(self._buffer) < end + 4 + length:
            return
        due, self.due = self.due, None
        status = head[9:12]
        self._load.answered(due, "" if status == _OK else status.decode(), self._buffer[end + 4 :])
        self._load.free(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.due is not None:
            late = _clock.monotonic() - self.sent > ANSWER_TIMEOUT_S
            self._load.answered(self.due, "no answer in time" if late else "connection broke", str(exc or "").encode())
            self.due = None
        self._load.lost(self)


class _Load:
    """Paces the requests over the connections and keeps count."""

    def __init__(self, spec: LoadSpec) -> None:
        self._spec = spec
        self._requests = spec.requests()
        self._turn = 0
        self._all: set[_Connection] = set()
        self._idle: collections.deque[_Connection] = collections.deque()
        self._due: collections.deque[float] = collections.deque()
        self._latencies = array("d")
        self._failures: collections.Counter[str] = collections.Counter()
        self._examples: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._began = 0.0
        self._fallen_due = 0

    async def run(self) -> None:
        """Load until stdin closes."""
        stop = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        await asyncio.gather(*(self._connect() for _ in range(self._spec.connections)))
        self._began = reported = _clock.monotonic()
        while not stop.done():
            now = _clock.monotonic()
            self._pace(now)
            if now - reported >= _REPORT_S:
                reported = now
                print(json.dumps({"requests": len(self._latencies), "failures": self._failures}), flush=True)
                self._end_silent(now)
            await asyncio.sleep(_PACE_S)
        self._stopping = True
        ended = _clock.monotonic()
        while any(one.due is not None for one in self._all):
            if _clock.monotonic() - ended > ANSWER_TIMEOUT_S:
                break
            await asyncio.sleep(0.01)
        self._end_silent(float("inf"))
        print(json.dumps(self._result(_clock.monotonic() - self._began)), flush=True)

    def free(self, connection: _Connection) -> None:
        """A connection can take the next request."""
        self._all.add(connection)
        self._idle.append(connection)
        if self._began and not self._stopping and (self._due or not self._spec.rate):
            self._dispatch(_clock.monotonic())

    def lost(self, connection: _Connection) -> None:
        """A connection has ended; another one takes its place."""
        self._all.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)
        if not self._stopping:
            task = asyncio.get_running_loop().create_task(self._connect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def answered(self, due: float, failure: str, body: bytes) -> None:
        """A request is over; `failure` is empty when it was answered 200."""
        self._latencies.append(_clock.monotonic() - due)
        if failure:
            self._failures[failure] += 1
            if len(self._examples) < _KEPT_EXAMPLES:
                at = _clock.monotonic() - self._began
                self._examples.append(f"{at:.2f} s: {failure}: {body[:300].decode(errors='replace')}")

    async def _connect(self) -> None:
        while not self._stopping:
            try:
                loop = asyncio.get_running_loop()
                await loop.create_connection(lambda: _Connection(self), self._spec.host, self._spec.port)
            except OSError:
                await asyncio.sleep(0.05)  # requests fall due meanwhile, and are late
            else:
                return

    def _pace(self, now: float) -> None:
        reached = int((now - self._began) * self._spec.rate)
        while self._fallen_due < reached:
            self._fallen_due += 1
            self._due.append(self._began + self._fallen_due / self._spec.rate)
        self._dispatch(now)

    def _dispatch(self, now: float) -> None:
        while self._idle and (self._due or not self._spec.rate):
            due = self._due.popleft() if self._spec.rate else now
            self._turn = (self._turn + 1) % len(self._requests)
            self._idle.popleft().send(self._requests[self._turn], due, now)

    def _end_silent(self, now: float) -> None:
        for connection in [one for one in self._all if one.due is not None and now - one.sent > ANSWER_TIMEOUT_S]:
            connection.give_up()
            if now == float("inf"):  # the loop ends before it would tell of the connection's end
                connection.connection_lost(None)

    def _result(self, duration_s: float) -> dict[str, object]:
        ordered = sorted(self._latencies) or [0.0]
        at = {f"p{p}_ms": ordered[min(len(ordered) - 1, len(ordered) * p // 100)] * 1e3 for p in (50, 99)}
        return {
            "requests": len(self._latencies),
            "duration_s": duration_s,
            "failures": dict(self._failures),
            "examples": self._examples,
            "behind": len(self._due),
            **at,
            "max_ms": ordered[-1] * 1e3,
        }


def main() -> None:
    """The child: load as the first line of stdin says."""
    spec = LoadSpec(**json.loads(sys.stdin.readline()))
    uvloop.run(_Load(spec).run())


if __name__ == "__main__":
    main()
