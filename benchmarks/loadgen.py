"""Load from `wrk`, a load generator in C: one run against one URL, and what it measured.

wrk is closed-loop: each connection sends its next request when the answer to the last one is there. So the rate is what
the server can do at that many connections, and the latency is what a client of such a loaded server sees.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_RESULT_MARK = "streamb-load-result "
_STATUS_MARK = "streamb-load-status "

_SCRIPT = """
local bodies = {bodies}
local headers = {headers}
local requests = {{}}
local turn = 0

function init(args)
  for i, body in ipairs(bodies) do
    requests[i] = wrk.format("POST", nil, headers, body)
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{mark}{{"duration_us": %d, "requests": %d, "connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d, '
    .. '"p50_us": %d, "p99_us": %d, "max_us": %d}}\\n',
    summary.duration, summary.requests, errors.connect, errors.read, errors.write, errors.timeout, errors.status,
    latency:percentile(50), latency:percentile(99), latency.max))
end
"""


# Looking at every answer costs wrk itself some of its speed, so this part is added only on request.
_COUNT_STATUSES = """
local threads = {}
statuses = {}

function setup(thread)
  table.insert(threads, thread)
end

function response(status)
  local key = tostring(status)
  statuses[key] = (statuses[key] or 0) + 1
end

local done_before = done
function done(summary, latency, requests)
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("statuses")) do
      io.write("STATUS_MARK", status, " ", count, "\\n")
    end
  end
  done_before(summary, latency, requests)
end
""".replace("STATUS_MARK", _STATUS_MARK)


class LoadError(Exception):
    """wrk is missing, or did not measure anything."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What one run measured.

    Attributes:
        requests: answered requests, whatever their status.
        duration_s: how long wrk really ran.
        bad_status: answers that were not 2xx or 3xx.
        socket_errors: connections that were refused or broke.
        timeouts: requests without an answer within 10 s.
        p50_ms, p99_ms, max_ms: latency of the answered requests.
        statuses: answers by their status; empty unless they were to be counted.
    """

    requests: int
    duration_s: float
    bad_status: int
    socket_errors: int
    timeouts: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    statuses: Mapping[int, int] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Answered requests per second."""
        return self.requests / self.duration_s

    @property
    def failures(self) -> int:
        """Requests that did not get a good answer."""
        return self.bad_status + self.socket_errors + self.timeouts


def wrk_command() -> str:
    """Where wrk is; says how to get it when it is missing."""
    found = shutil.which("wrk")
    if found is None:
        raise LoadError("the load generator wrk is not installed: `apt-get install wrk` or `brew install wrk`")
    return found


def load(
    url: str,
    bodies: Sequence[bytes],
    *,
    connections: int,
    seconds: float,
    headers: Mapping[str, str] | None = None,
    count_statuses: bool = False,
) -> LoadResult:
    """POST `bodies` in turns to `url` over `connections` connections for `seconds` (whole seconds, at least one).

    Args:
        count_statuses: say how often each status was answered; the load generator is then slower.

    Raises:
        LoadError: wrk is missing, cannot reach the server at all, or answered something unreadable.
    """
    command = wrk_command()
    with tempfile.TemporaryDirectory(prefix="streamb-wrk-") as folder:
        script = Path(folder) / "load.lua"
        text = _lua_script(bodies, {"Content-Type": "application/json", **(headers or {})})
        script.write_text(text + _COUNT_STATUSES if count_statuses else text)
        whole_seconds = max(1, round(seconds))
        finished = subprocess.run(
            [command, "-t1", f"-c{connections}", f"-d{whole_seconds}s", "--timeout", "10s", "-s", str(script), url],
            capture_output=True,
            text=True,
            timeout=whole_seconds + 60,
            check=False,
        )
    if finished.returncode != 0:
        raise LoadError(f"wrk could not load {url}: {(finished.stderr or finished.stdout).strip()}")
    return parse_result(finished.stdout)


def parse_result(output: str) -> LoadResult:
    """What our script made wrk print at its end."""
    lines = [line for line in output.splitlines() if line.startswith(_RESULT_MARK)]
    if not lines:
        raise LoadError(f"wrk printed no result: {output.strip()[-500:]!r}")
    counts: dict[str, Any] = json.loads(lines[-1].removeprefix(_RESULT_MARK))
    if counts["requests"] == 0:
        raise LoadError("wrk got no answer at all: is the server still running?")
    return LoadResult(
        requests=counts["requests"],
        duration_s=counts["duration_us"] / 1e6,
        bad_status=counts["status"],
        socket_errors=counts["connect"] + counts["read"] + counts["write"],
        timeouts=counts["timeout"],
        p50_ms=counts["p50_us"] / 1e3,
        p99_ms=counts["p99_us"] / 1e3,
        max_ms=counts["max_us"] / 1e3,
        statuses=_parse_statuses(output),
    )


def _parse_statuses(output: str) -> dict[int, int]:
    lines = [line.removeprefix(_STATUS_MARK) for line in output.splitlines() if line.startswith(_STATUS_MARK)]
    return {int(status): int(count) for status, count in (line.split() for line in lines)}


def _lua_script(bodies: Sequence[bytes], headers: Mapping[str, str]) -> str:
    texts = ", ".join(_lua_string(body) for body in bodies)
    pairs = ", ".join(f"[{_lua_string(k.encode())}] = {_lua_string(v.encode())}" for k, v in headers.items())
    return _SCRIPT.format(bodies=f"{{{texts}}}", headers=f"{{{pairs}}}", mark=_RESULT_MARK)


def _lua_string(content: bytes) -> str:
    """A Lua string literal with every byte that is not plain ASCII text escaped by its decimal number."""
    plain = bytes(byte for byte in range(32, 127) if byte not in b'"\\')
    return '"' + "".join(chr(byte) if byte in plain else f"\\{byte:03d}" for byte in content) + '"'
