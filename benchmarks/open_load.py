"""Open-loop load in a process of its own: so many requests a second, whatever the answers do.

Requests fall due at a steady rate and wait for a free keep-alive connection when all are busy. A latency counts from
the moment a request fell due, not from when it was sent: a server that stands still for a second makes every request
of that second late, which a closed loop (wrk) would not see. At rate 0 each connection asks again at once: that
measures capacity, with the costs of this client included.

`LoadProcess` is the parent's side; the child, `benchmarks.open_load_child`, reads its `LoadSpec` from stdin and stops
when stdin closes.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

_STOP_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """What to ask.

    Attributes:
        rate: requests per second; 0: as fast as the answers come.
    """

    host: str
    port: int
    path: str
    bodies: Sequence[str]
    rate: float
    connections: int
    headers: Mapping[str, str] = field(default_factory=dict)

    def requests(self) -> list[bytes]:
        """The bytes of every request."""
        named = {"Host": f"{self.host}:{self.port}", "Content-Type": "application/json", **self.headers}
        head = f"POST {self.path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in named.items())
        return [f"{head}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode() for body in self.bodies]


@dataclass(frozen=True, slots=True)
class OpenLoadResult:
    """Every request that was sent, none left out.

    Attributes:
        failures: how many were not answered 200, by what came instead.
        examples: the first of those answers.
        behind: requests that had fallen due but were not sent when the load ended.
        p50_ms, p99_ms, max_ms: of all answers, from when the request fell due.
    """

    requests: int
    duration_s: float
    failures: Mapping[str, int]
    examples: Sequence[str]
    behind: int
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def failed(self) -> int:
        """Requests without a good answer."""
        return sum(self.failures.values())

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.requests / self.duration_s


class LoadProcess:
    """`with LoadProcess(spec) as load:` load in a child process; `stop` ends it and says what it saw."""

    def __init__(self, spec: LoadSpec) -> None:
        self._spec = spec
        self._last: dict[str, object] = {}
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self._child = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.open_load_child"],
            cwd=Path(__file__).resolve().parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(asdict(self._spec)) + "\n")
        self._child.stdin.flush()
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._child.kill()
        self._child.wait()

    @property
    def answered(self) -> int:
        """How many requests have an answer, or have failed, so far."""
        return cast("int", self._last.get("requests", 0))

    @property
    def failed(self) -> int:
        """How many have failed so far."""
        return sum(cast("dict[str, int]", self._last.get("failures", {})).values())

    def stop(self) -> OpenLoadResult:
        """End the load, wait for the answers that are out, and say what came of it."""
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        if not self._ended.wait(_STOP_S) or "p50_ms" not in self._last:
            raise RuntimeError(f"the load generator gave no result (exit code {self._child.poll()})")
        return OpenLoadResult(**self._last)  # type: ignore[arg-type]  # written by the child's `_Load`

    def _listen(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._last = json.loads(line)
        self._ended.set()
