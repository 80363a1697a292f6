"""The load generator: its script, and what it makes of wrk's output; with wrk itself where it is installed."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks import loadgen
from benchmarks.loadgen import LoadError, load, parse_result

LINE = 'streamb-load-result {"duration_us": 2000000, "requests": 500, "connect": 1, "read": 2, "write": 3, '
LINE += '"timeout": 4, "status": 5, "p50_us": 1500, "p99_us": 9000, "max_us": 20000}'

needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")


def test_the_result_line_is_read() -> None:
    result = parse_result(f"Running 2s test\n{LINE}\n")
    assert (result.rate, result.p50_ms, result.p99_ms, result.max_ms) == (250.0, 1.5, 9.0, 20.0)
    assert (result.bad_status, result.socket_errors, result.timeouts, result.failures) == (5, 6, 4, 15)


def test_no_result_line_is_an_error() -> None:
    with pytest.raises(LoadError, match="printed no result: 'unable to connect'"):
        parse_result("unable to connect\n")
    with pytest.raises(LoadError, match="no answer at all"):
        parse_result(LINE.replace('"requests": 500', '"requests": 0'))


def test_a_missing_wrk_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(LoadError, match="apt-get install wrk"):
        load("http://127.0.0.1:1/", [b"{}"], connections=1, seconds=1)


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    """Answers 200 to the bodies it knows and 422 to others; keeps what it was sent."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.add((body, self.headers["Content-Type"], self.headers.get("X-Key")))
            self.send_response(422 if b"bad" in body else 200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *arguments: object) -> None:
            pass

    seen: set[tuple[bytes, str, str | None]] = set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen = seen  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def url_of(server: ThreadingHTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/predict"


@needs_wrk
def test_bodies_go_out_in_turns_as_they_are(server: ThreadingHTTPServer) -> None:
    bodies = [json.dumps({"text": 'say "hi" \\ \n', "n": n}, ensure_ascii=False).encode() for n in range(5)]
    bodies.append("grün €".encode())
    result = load(url_of(server), bodies, connections=2, seconds=1, headers={"X-Key": 'a"b'})
    assert result.failures == 0
    assert result.requests > len(bodies)
    assert 0.9 < result.duration_s < 10
    assert 0 < result.p50_ms <= result.p99_ms <= result.max_ms
    assert server.seen == {(body, "application/json", 'a"b') for body in bodies}  # type: ignore[attr-defined]


@needs_wrk
def test_refusals_are_counted(server: ThreadingHTTPServer) -> None:
    result = load(url_of(server), [b"good", b"bad"], connections=1, seconds=1)
    assert result.bad_status == pytest.approx(result.requests / 2, abs=1)
    assert result.statuses == {}


@needs_wrk
def test_statuses_are_counted_on_request(server: ThreadingHTTPServer) -> None:
    result = load(url_of(server), [b"good", b"good", b"bad"], connections=1, seconds=1, count_statuses=True)
    assert result.statuses == {200: result.requests - result.bad_status, 422: result.bad_status}
    assert result.bad_status == pytest.approx(result.requests / 3, abs=1)


@needs_wrk
def test_a_server_that_is_not_there_is_an_error() -> None:
    with pytest.raises(LoadError, match="could not load"):
        load("http://127.0.0.1:1/", [b"{}"], connections=1, seconds=1)


def test_lua_strings_hold_any_byte() -> None:
    literal = loadgen._lua_string(bytes(range(256)))
    assert literal.isascii()
    assert literal.count('"') == 2
