"""The gateway under a real uvicorn, over real sockets."""

import asyncio
from dataclasses import replace

import httpx
import numpy as np
import orjson
import pytest

from streamb.serving.http import transport
from streamb.serving.http.transport import CorkedTransport
from streamb.traffic import GatewayPolicy, RateLimits
from tests.serving.predictors import SumPredictor
from tests.serving.sockets import BODY, PREDICT, listening, post, raw, read_reply

JSON = {"content-type": "application/json"}


async def test_many_clients_at_once_each_get_their_own_answer():
    async with listening() as (_, port):
        replies = await asyncio.gather(*(post(port, b'{"instances": [[%d, 0.5]]}' % number) for number in range(200)))
    assert [document["predictions"] for _, _, document in replies] == [[number + 0.5] for number in range(200)]
    assert len({document["request_id"] for _, _, document in replies}) == 200


async def test_ten_thousand_rows_in_one_request():
    rows = np.arange(300_000.0).reshape(10_000, 30)
    async with listening() as (_, port):
        _, _, document = await post(port, orjson.dumps({"instances": rows.tolist()}))
    assert document["predictions"] == rows.sum(axis=1).tolist()


async def test_pipelined_requests_are_answered_in_order():
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(raw(b'{"instances": [[%d, 0]]}' % number) for number in range(5)))
        replies = [await read_reply(reader) for _ in range(5)]
        writer.close()
    assert [document["predictions"] for _, _, document in replies] == [[number] for number in range(5)]


@pytest.mark.parametrize("body", [b"", b"{", b"\x00\xff", b'{"instances": [[1, 2]]', b"[" * 5000])
async def test_malformed_bodies_leave_the_connection_usable(body):
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for content, status in ((body, 400), (BODY, 200)):
            writer.write(raw(content))
            assert (await read_reply(reader))[0] == status
        writer.close()


async def test_what_is_not_http_is_refused_and_the_connection_closed():
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400")
        writer.close()


async def test_a_body_in_chunks_and_byte_by_byte():
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n"
        request = raw(b"", "transfer-encoding: chunked") + chunks
        for start in range(0, len(request), 7):
            writer.write(request[start : start + 7])
            await asyncio.sleep(0)
        assert (await read_reply(reader))[2]["predictions"] == [3.0]
        writer.close()


async def test_an_oversized_body_is_refused_before_it_is_sent():
    async with listening(max_body_bytes=1000) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw(b"{", "content-length: 100000000"))
        status, head, document = await read_reply(reader)
        assert (status, document["code"]) == (413, "body_too_large")
        assert b"connection: close" in head
        assert await reader.read() == b""  # it closed its side
        writer.close()


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_client_that_sends_on_still_reads_why_it_was_refused(chunked):
    async def chunks():
        for _ in range(300):
            yield b" " * 100_000

    content = chunks() if chunked else b" " * 30_000_000
    async with (
        listening(max_body_bytes=100_000) as (_, port),
        httpx.AsyncClient(verify=False, timeout=20) as http,
    ):
        reply = await http.post(f"http://127.0.0.1:{port}{PREDICT}", content=content, headers=JSON)
    assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")


async def send_on(writer, piece, *, pause):
    for _ in range(1000):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(pause)


@pytest.mark.parametrize(
    ("limit", "value", "piece", "pause"),
    [("_LINGER_BYTES", 1_000_000, b"2710\r\n" + b" " * 10_000 + b"\r\n", 0), ("_LINGER_S", 0.1, b"1\r\n \r\n", 0.01)],
)
async def test_a_refused_client_that_sends_for_ever_is_cut_off(monkeypatch, limit, value, piece, pause):
    monkeypatch.setattr(transport, limit, value)
    async with listening(max_body_bytes=1000) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw(b"", "transfer-encoding: chunked") + b"800\r\n" + b" " * 2048 + b"\r\n")
        assert (await read_reply(reader))[0] == 413
        with pytest.raises(ConnectionError):
            await send_on(writer, piece, pause=pause)
        writer.close()


async def test_a_slow_client_is_told_and_does_not_hold_up_others():
    async with listening(body_timeout_s=0.2) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw(BODY[:5], "content-length: 1000"))
        assert (await post(port))[0] == 200
        status, _, document = await read_reply(reader)
        assert (status, document["code"]) == (408, "request_timeout")
        writer.close()


async def test_rows_of_a_client_that_hung_up_are_not_computed():
    predictor = SumPredictor()
    async with listening(predictor) as (app, port):
        predictor.hold()
        streams = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        for number, (_, writer) in enumerate(streams):
            writer.write(raw(b'{"instances": [[%d, 0]]}' % number))
            await asyncio.sleep(0.01)
        assert app.in_flight("m-1.0.0") == 4
        streams[2][1].close()
        await asyncio.sleep(0.05)
        predictor.let_go()
        assert (await read_reply(streams[3][0]))[2]["predictions"] == [3.0]
        for _, writer in streams:
            writer.close()
        assert app.in_flight("m-1.0.0") == 0
    assert [batch.rows.tolist() for _, batch in predictor.batches] == [[[0, 0]], [[1, 0]], [[3, 0]]]


async def test_a_client_that_hangs_up_during_its_call_harms_nobody():
    predictor = SumPredictor()
    async with listening(predictor) as (app, port):
        predictor.hold()
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw())
        await asyncio.sleep(0.02)
        writer.close()
        await asyncio.sleep(0.02)
        predictor.let_go()
        assert (await post(port))[0] == 200
        assert app.in_flight("m-1.0.0") == 0


async def test_every_reply_says_once_what_is_left_of_the_limit():
    async with listening() as (app, port):
        app.apply(replace(app.table, epoch=2, policy=GatewayPolicy(limits=RateLimits(600, 3, 6000, 1000))))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        bodies = (BODY, b"{", BODY, BODY)
        writer.write(b"".join(raw(body) for body in bodies))
        writer.write(b"GET /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        replies = await reader.read()
        writer.close()
    heads = [part.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:] for part in replies.split(b"HTTP/1.1 ")[1:]]
    left = [[line for line in head if line.startswith(b"ratelimit-remaining")] for head in heads]
    assert left == [[b"ratelimit-remaining: %d" % tokens] for tokens in (2, 1, 0, 0)] + [[]]
    assert [sum(line.startswith(b"ratelimit-") for line in head) for head in heads] == [3, 3, 3, 4, 0]
    assert b" 429 " in b" " + replies.split(b"HTTP/1.1")[4]


async def test_head_has_no_body():
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HEAD /v2/health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        reply = await reader.read()
        writer.close()
    assert reply.startswith(b"HTTP/1.1 200")
    assert reply.endswith(b"\r\n\r\n")


async def test_the_head_and_the_body_of_a_reply_go_out_in_one_write():
    written = []

    class Real:
        is_closing = pause_reading = resume_reading = staticmethod(lambda: False)
        write = staticmethod(written.append)
        close = staticmethod(lambda: written.append(b"closed"))

    corked = CorkedTransport(Real(), asyncio.get_running_loop(), lambda: False)
    corked.write(b"head ")
    corked.write(b"body")
    assert written == []
    await asyncio.sleep(0)
    assert written == [b"head body"]
    corked.write(b"x" * 100_000)  # too much to hold back
    corked.write(b"last")
    corked.close()
    assert [len(part) for part in written[1:]] == [100_000, 4, 6]
