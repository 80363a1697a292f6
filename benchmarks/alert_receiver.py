"""A receiver of alerts on a bad day, which also kills the sender: for `benchmarks.alert_incidents`."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PATIENCE_S = 0.2
"""How long the sender waits for an answer, in real seconds."""
HANG, RESET = "hang", "reset"
ANSWERS = (*["200"] * 8, "429", "500", RESET, HANG)


class Receiver:
    """Records what is posted to it, answers as a receiver on a bad day, and kills the sender at random moments.

    Whether a look or a notification: the sender is killed before it is answered, or a little after.
    """

    def __init__(self, address: str, *, looks: int, kills: int, seed: int) -> None:
        self.looks, self.kills_left, self.kills = looks, kills, 0
        self.received: list[dict[str, Any]] = []
        self.answers: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._gap = max(1, 2 * looks // max(kills, 1))
        self._pid, self._look, self._messages = 0, 0, self._random.randint(1, self._gap)
        self._lock = threading.Lock()
        self._progress = socket.socket(socket.AF_UNIX)
        self._progress.bind(address)
        self._progress.listen(64)
        self._web = _web_server(self)
        for serve in (self._serve, self._web.serve_forever):
            threading.Thread(target=serve, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._progress.close()
        self._web.shutdown()
        self._web.server_close()

    def notified(self, request: BaseHTTPRequestHandler) -> None:
        """A notification has come."""
        body = json.loads(request.rfile.read(int(request.headers["Content-Length"])))
        with self._lock:
            self.received.append(body)
            answer, victim = self._random.choice(ANSWERS), self._victim()
            self.answers[answer] += 1
        with contextlib.suppress(OSError):
            self._strike(victim, lambda: _answer(request, answer))

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._progress.accept()
                threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection, connection.makefile("rw") as lines:
            for line in lines:
                answer, victim = self._heard(json.loads(line))
                self._strike(victim, lambda answer=answer: lines.write(json.dumps(answer) + "\n") and lines.flush())

    def _heard(self, message: dict[str, Any]) -> tuple[Any, int]:
        """What to answer to the child, and whom to kill (0: nobody)."""
        with self._lock:
            if "pid" in message:
                self._pid = message["pid"]
                return [self._look, self.looks, self._web.server_address[1]], 0
            self._look = message["look"]
            return True, self._victim()

    def _victim(self) -> int:
        self._messages -= 1
        if self._messages > 0 or not self.kills_left:
            return 0
        self._messages = self._random.randint(1, self._gap)
        self.kills_left -= 1
        self.kills += 1
        victim, self._pid = self._pid, 0
        return victim

    def _strike(self, victim: int, answer: Callable[[], object]) -> None:
        """Answer; and kill the victim before, or after."""
        if victim and self._random.random() < 0.3:
            os.kill(victim, signal.SIGKILL)
        answer()
        if victim:
            time.sleep(self._random.random() * 0.006)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)


def _web_server(receiver: Receiver) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            receiver.notified(self)

        def log_message(self, *_words: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_where: object) -> None:
            pass  # the sender was killed

    return Server(("127.0.0.1", 0), Handler)


def _answer(request: BaseHTTPRequestHandler, how: str) -> None:
    if how == HANG:
        time.sleep(2 * PATIENCE_S)
    elif how == RESET:
        request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        request.send_response(int(how))
        if how == "429":
            request.send_header("Retry-After", "90")
        request.send_header("Content-Length", "0")
        request.end_headers()
    request.close_connection = True
