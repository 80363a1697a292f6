"""Clients that send much, read nothing, or leave: others do not notice it, and what is refused costs little."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time

import pytest

from tests.conformance.asking import body
from tests.conformance.talking import ROW, connected, post, read, waited


def test_ten_thousand_requests_sent_ahead_are_answered_in_order(address):
    asked = 10_000
    stream = b"".join(post(b'{"instances": [[%d, 0, 0]]}' % number) for number in range(asked))
    with connected(address) as talk:
        sending = threading.Thread(target=talk.sendall, args=(stream,))
        sending.start()
        answers = talk.makefile("rb")
        assert [read(answers)[1]["predictions"][0] for _ in range(asked)] == list(range(asked))
        sending.join()


def test_good_and_bad_requests_sent_ahead_do_not_disturb_each_other(address):
    round_of = (
        (b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        (post(b"{}"), 400),
        (post(ROW), 200),
        (b"GET /nothing HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        (post(b'{"instances": [[1, 2]]}'), 422),
    )
    with connected(address) as talk:
        sending = threading.Thread(target=talk.sendall, args=(b"".join(asked for asked, _ in round_of) * 200,))
        sending.start()
        answers = talk.makefile("rb")
        assert [read(answers)[0] for _ in range(1000)] == [status for _, status in round_of] * 200
        sending.join()


def test_clients_that_read_nothing_hold_up_nobody(address):
    rows = json.dumps({"instances": [[1.0] * 20] * 5000}).encode()
    idle = [connected(address, window=65_536) for _ in range(20)]
    for talk in idle:
        talk.sendall(post(rows, "echo"))
    for talk in idle[:10]:
        talk.close()  # with an answer on its way
    assert waited(address) < 15
    time.sleep(0.2)
    assert waited(address) < 3
    for talk in idle[10:]:
        status, document = read(talk.makefile("rb"))
        assert (status, len(document["predictions"])) == (200, 5000)
        talk.close()


def test_clients_that_leave_while_answers_wait_leave_no_trace(address, caplog):
    for _ in range(10):
        with connected(address) as talk:
            talk.sendall(post(ROW) * 500)
            read(talk.makefile("rb"))
            talk.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closing is a reset
    assert waited(address) < 5
    assert not caplog.records


@pytest.mark.parametrize("what", ["4 million texts", "5 million rows", "4 million objects"])
def test_a_large_body_that_is_refused_costs_little(address, what):
    """It is read in the gateway's only thread: while it is, everybody waits."""
    route, more = "sum/predict", b""
    if what == "4 million texts":
        entry = {
            "name": "a",
            "shape": [4_000_000, 1],
            "datatype": "BYTES",
            "parameters": {"binary_data_size": 16 * 10**6},
        }
        head = json.dumps(body(entry)).encode()
        route, more = "echo/infer", b"inference-header-content-length: %d\r\n" % len(head)
        sent = head + bytes(16 * 10**6)
    else:
        row = b"[]" if "rows" in what else b"{}"
        sent = b'{"instances": [' + b",".join([row] * 5_000_000) + b"]}"
    with connected(address) as talk:
        begun = time.process_time()  # of the gateway, too: it runs in this process
        talk.sendall(post(sent, route=route, more=more))
        status, document = read(talk.makefile("rb"))
    assert (status, document["limit_rows"]) == (422, 20_000)
    assert time.process_time() - begun < 2.5


def test_a_body_in_chunks_of_one_byte(address):
    rows = json.dumps({"instances": [[1, 2, 3]] * 2000}).encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in rows) + b"0\r\n\r\n"
    with connected(address) as talk:
        talk.sendall(b"POST /v2/models/sum/predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" + chunks)
        status, document = read(talk.makefile("rb"))
    assert (status, document["predictions"]) == (200, [6.0] * 2000)
