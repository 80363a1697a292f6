"""Raw requests over sockets, for what no client library sends."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

ROW = b'{"instances": [[1, 2, 3]]}'


def connected(address: str, window: int = 0) -> socket.socket:
    host, port = address.split(":")
    talk = socket.socket()
    talk.settimeout(60)
    if window:  # how many bytes wait on this side
        talk.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    talk.connect((host, int(port)))
    return talk


def post(sent: bytes, model: str = "sum", *, route: str = "", more: bytes = b"") -> bytes:
    path = route or f"{model}/predict"
    return (
        b"POST /v2/models/%b HTTP/1.1\r\nhost: x\r\n%bcontent-length: %d\r\n\r\n" % (path.encode(), more, len(sent))
        + sent
    )


def read(answers) -> tuple[int, Any]:
    """The next answer on a connection: its status and document."""
    status = int(answers.readline().split()[1])
    length = 0
    while (line := answers.readline().lower()) not in (b"\r\n", b""):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    return status, json.loads(answers.read(length))


def waited(address: str) -> float:
    """How long another client waits for one small answer, in seconds."""
    begun = time.perf_counter()
    with connected(address) as talk:
        talk.sendall(post(ROW))
        assert read(talk.makefile("rb"))[0] == 200
    return time.perf_counter() - begun
