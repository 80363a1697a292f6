"""What the listener makes of heads: bounds, offers of other protocols, and what is no HTTP."""

import asyncio
import time

import orjson
import pytest

from streamb.serving.http import listener
from tests.serving.predictors import SumPredictor
from tests.serving.sockets import BODY, listening, raw, read_reply


async def converse(port, data):
    """Everything that is answered until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    writer.write(data)
    said = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return said


async def test_what_is_no_http_gets_an_error_in_the_form_of_all_errors():
    async with listening() as (_, port):
        said = await converse(port, raw(BODY, "content-length: -1"))
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close" in head
    document = orjson.loads(body)
    assert document["code"] == "bad_request"
    assert f"x-request-id: {document['request_id']}".encode() in head


@pytest.mark.parametrize("begun", [b"", b"GET /v2 HTTP/1.1\r\nhost"])
async def test_a_head_that_does_not_come_ends_the_connection(monkeypatch, begun):
    monkeypatch.setattr(listener, "_HEAD_S", 0.1)
    async with listening() as (_, port):
        said = await converse(port, begun)
        assert said.startswith(b"HTTP/1.1 408 ") if begun else said == b""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw())
        assert (await read_reply(reader))[0] == 200
        writer.write(b"POST")  # the second head on a connection
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_connection_between_requests_is_not_waiting_for_a_head(monkeypatch):
    monkeypatch.setattr(listener, "_HEAD_S", 0.5)
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(raw())
            assert (await read_reply(reader))[0] == 200
            await asyncio.sleep(0.7)
        writer.close()


async def test_a_head_without_end_is_refused():
    async with listening() as (_, port):
        said = await converse(port, b"GET /v2 HTTP/1.1\r\n" + b"name: %b\r\n" % (b"a" * 10_000) * 7)
    assert said.startswith(b"HTTP/1.1 400 ")
    assert b"larger than 65536 bytes" in said


async def test_a_connection_is_closed_after_a_pause_and_not_before():
    predictor = SumPredictor()
    async with listening(predictor, keep_alive_s=1.5) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):  # together longer than a pause may be
            writer.write(raw())
            assert (await read_reply(reader))[0] == 200
            began = time.monotonic()
            await asyncio.sleep(0.6)
            if time.monotonic() - began > 1.4:
                writer.close()
                pytest.skip("this machine stood still for as long as a pause may be")
        predictor.hold()  # neither is a request that takes long a pause
        writer.write(raw())
        await asyncio.sleep(1.8)
        predictor.let_go()
        assert (await read_reply(reader))[0] == 200
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.2)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()


OFFER = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQBAAAAAAIAAAAA")


async def test_an_offer_of_http2_is_declined_and_the_request_answered():
    chunked = raw(b"", "transfer-encoding: chunked", *OFFER) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw(BODY, *OFFER) + chunked + raw(BODY))  # and the connection goes on
        for _ in range(3):
            assert (await read_reply(reader))[2]["predictions"] == [3.0]
        slowly = raw(BODY, *OFFER)
        for start in range(0, len(slowly), 11):
            writer.write(slowly[start : start + 11])
            await asyncio.sleep(0.001)
        assert (await read_reply(reader))[2]["predictions"] == [3.0]
        writer.close()


async def test_hundreds_of_offers_in_one_piece_are_all_answered():
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw(BODY, *OFFER) * 800)
        for _ in range(800):
            assert (await read_reply(reader))[0] == 200
        writer.close()


async def test_a_tunnel_is_refused():
    async with listening() as (_, port):
        said = await converse(port, b"CONNECT other:80 HTTP/1.1\r\nhost: other\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 405 ")


async def test_trailers_are_no_headers():
    body = b"%x\r\n%b\r\n0\r\nx-request-id: from-a-trailer\r\n\r\n" % (len(BODY), BODY)
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(raw(b"", "transfer-encoding: chunked") + body)
        assert (await read_reply(reader))[2]["request_id"] != "from-a-trailer"
        writer.close()


async def test_requests_that_come_in_one_piece_are_no_large_head():
    """Pieces of 100,000 bytes that end inside the head of a request, after hundreds of whole ones."""
    sent = 3000
    stream = b"".join(raw(b'{"instances": [[%d, 0]]}' % number) for number in range(sent))
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)

        async def send():
            for start in range(0, len(stream), 100_003):
                writer.write(stream[start : start + 100_003])
                await writer.drain()

        sending = asyncio.create_task(send())
        answers = [(await read_reply(reader))[2]["predictions"][0] for _ in range(sent)]
        assert answers == list(range(sent))
        await sending
        writer.close()


async def test_the_head_behind_a_large_body_is_no_large_head():
    large = orjson.dumps({"instances": [[1.5, 2.5]] * 9000})
    async with listening() as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        writer.write(raw(large) + raw()[:50])
        assert (await read_reply(reader))[0] == 200
        writer.write(raw()[50:])
        assert (await read_reply(reader))[0] == 200
        writer.close()
