"""Compressed bodies: the same answers, within the same limits, whatever they unpack to."""

import asyncio
import gzip
import resource
import time
import zlib

import numpy as np
import orjson
import pyarrow as pa
import pytest

from streamb.errors import BadRequest, BodyTooLarge, UnsupportedMediaType
from streamb.serving.http.compressed import coding_of, unpack
from streamb.serving.http.receive import SMALL_BODY
from tests.serving.gateways import ONE_ROW, PREDICT, error_of


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


def zstd(data: bytes) -> bytes:
    return pa.compress(data, codec="zstd", asbytes=True)


PACKERS = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "GZip": gzip.compress,
    "deflate": zlib.compress,
    " deflate": raw_deflate,
    "zstd": zstd,
}
ROWS = orjson.dumps(ONE_ROW)
LIMIT = 1_000_000


@pytest.mark.parametrize("coding", PACKERS)
@pytest.mark.parametrize("body", [ROWS, b"", b"x", bytes(range(256)) * 3000, b"a" * LIMIT])
async def test_a_body_comes_out_as_it_went_in(coding, body):
    held = []
    packed = PACKERS[coding](body)
    assert await unpack(packed, coding_of(coding.encode()), limit=LIMIT, hold=held.append) == body
    if len(body) > SMALL_BODY:
        assert held[-1] == len(body), "in the end, the unpacked body is what is held"
        assert max(held) <= len(body) + len(packed)


@pytest.mark.parametrize("coding", PACKERS)
async def test_a_body_that_grows_past_the_limit_is_refused_early(coding):
    bomb = PACKERS[coding](b"\0" * 200_000_000)
    assert len(bomb) < 300_000
    before, began, held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time(), []
    with pytest.raises(BodyTooLarge, match="unpacked"):
        await unpack(bomb, coding_of(coding.encode()), limit=LIMIT, hold=held.append)
    assert max(held) <= LIMIT + len(bomb)
    assert time.process_time() - began < 0.5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000, "kilobytes"


async def test_others_are_answered_while_a_large_body_is_unpacked():
    body = bytes(range(256)) * 40_000
    turns, done = 0, asyncio.create_task(unpack(zstd(body), "zstd", limit=2**24, hold=lambda _size: None))
    while not done.done():
        turns += 1
        await asyncio.sleep(0)
    assert await done == body
    assert turns > 10


@pytest.mark.parametrize("coding", PACKERS)
@pytest.mark.parametrize("change", ["cut", "garbage", "more", "flipped head", "plain"])
async def test_a_broken_body_is_refused_with_a_sentence(coding, change):
    packed = PACKERS[coding](ROWS * 100)
    broken = {
        "cut": packed[:-3],
        "garbage": b"\xff\xfe\xfdgarbage",
        "more": packed + b"garbage",
        "flipped head": bytes([packed[0] ^ 0x06]) + packed[1:],
        "plain": ROWS,
    }[change]
    with pytest.raises(BadRequest, match="cannot be unpacked as"):
        await unpack(broken, coding_of(coding.encode()), limit=LIMIT, hold=lambda _size: None)


@pytest.mark.parametrize("header", [b"br", b"compress", b"gzip, gzip", b"gzip,identity", b"\xff", b"gzip;q=1"])
def test_other_codings_are_refused(header):
    with pytest.raises(UnsupportedMediaType, match="gzip, deflate, zstd or identity"):
        coding_of(header)


@pytest.mark.parametrize("header", [None, b"", b"identity", b"Identity "])
def test_no_coding(header):
    assert coding_of(header) is None


@pytest.mark.parametrize("coding", PACKERS)
async def test_every_body_of_the_data_plane_may_be_compressed(make, coding):
    client = make()
    rows = await client.post(PREDICT, PACKERS[coding](ROWS), content_encoding=coding)
    assert (rows.status, rows.json()["predictions"]) == (200, [3.0])
    tensor = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]}
    packed = PACKERS[coding](orjson.dumps(tensor))
    asked = await client.post("/v2/models/m/infer", packed, content_encoding=coding)
    assert (asked.status, asked.json()["outputs"][0]["data"]) == (200, [3.0])
    told = {"request_id": rows.json()["request_id"], "label": 3.0}
    packed = PACKERS[coding](orjson.dumps(told))
    assert (await client.post("/v2/models/m/feedback", packed, content_encoding=coding)).status == 202


async def test_the_length_of_the_head_of_a_binary_body_counts_what_is_unpacked(make):
    head = orjson.dumps(
        {
            "inputs": [
                {"name": "x", "shape": [1, 2], "datatype": "FP64", "parameters": {"binary_data_size": 16}},
            ]
        }
    )

    packed = gzip.compress(head + np.array([1.0, 2.0]).tobytes())
    headers = {
        "content-type": "application/octet-stream",
        "content-encoding": "gzip",
        "inference-header-content-length": str(len(head)),
    }
    reply = await make().request("POST", "/v2/models/m/infer", packed, headers)
    assert (reply.status, reply.json()["outputs"][0]["data"]) == (200, [3.0])


async def test_the_gateway_refuses_a_bomb_and_keeps_its_room(make):
    client = make(max_body_bytes=LIMIT, max_held_bytes=LIMIT * 2)
    bomb = gzip.compress(b" " * 20_000_000)
    for _ in range(5):
        document = error_of(await client.post(PREDICT, bomb, content_encoding="gzip"), 413, "body_too_large")
        assert document["limit_bytes"] == LIMIT
    large = orjson.dumps({"instances": [[1, 2]] * 20_000})
    assert (await client.post(PREDICT, gzip.compress(large), content_encoding="gzip")).status == 200
    error_of(await client.post(PREDICT, ROWS, content_encoding="gzip"), 400, "bad_request")
    error_of(await client.post(PREDICT, ROWS, content_encoding="br"), 415, "unsupported_media_type")
    assert client.app._room.taken == 0
