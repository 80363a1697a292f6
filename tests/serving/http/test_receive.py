import asyncio

import pytest

from streamb.errors import BodyTooLarge, RequestTimeout
from streamb.serving.http.receive import SMALL_BODY, has_disconnected, poll, read_body
from tests.serving.asgi_client import Connection


async def read(connection, *, declared=None, limit=100, timeout_s=5.0, hold=lambda _: None):
    return await read_body(connection.receive, declared=declared, limit=limit, timeout_s=timeout_s, hold=hold)


async def test_a_body_in_one_part_and_in_many():
    assert await read(Connection(b"abc")) == b"abc"
    assert await read(Connection(b"a", b"b", b"", b"c")) == b"abc"


async def test_a_body_that_comes_later():
    connection = Connection(b"a", more_to_come=True)
    reading = asyncio.create_task(read(connection))
    await asyncio.sleep(0.01)
    connection.feed(b"b")
    assert await reading == b"ab"


async def test_a_body_declared_too_large_is_refused_unread():
    connection = Connection(b"x" * 101)
    with pytest.raises(BodyTooLarge):
        await read(connection, declared=101)
    assert connection.received == 0


async def test_a_stream_that_grows_too_large_is_not_read_to_its_end():
    connection = Connection(*[b"x" * 30] * 10)
    with pytest.raises(BodyTooLarge):
        await read(connection)
    assert connection.received == 4


async def test_a_single_part_over_the_limit_is_refused():
    with pytest.raises(BodyTooLarge):
        await read(Connection(b"x" * 101))


async def test_only_of_large_bodies_the_size_is_told_and_as_it_grows():
    told = []
    part = b"x" * (SMALL_BODY // 2)
    for parts in ([part, part], [part, part, part, b"x"], [part * 3]):
        await read(Connection(*parts), limit=2**20, hold=told.append)
    half = SMALL_BODY // 2
    assert told == [3 * half, 3 * half + 1, 3 * half]


async def test_a_body_that_does_not_come_in_time():
    with pytest.raises(RequestTimeout):
        await read(Connection(b"x", more_to_come=True), timeout_s=0.02)


async def test_a_client_that_leaves_while_it_sends():
    connection = Connection(b"x", more_to_come=True)
    asyncio.get_running_loop().call_later(0.01, connection.disconnect)
    assert await read(connection) is None


async def test_polling_loses_nothing():
    connection = Connection(more_to_come=True)
    assert poll(connection.receive)["body"] == b""
    assert poll(connection.receive) is None
    assert poll(connection.receive) is None
    connection.feed(b"later")
    assert poll(connection.receive)["body"] == b"later"


async def test_polling_sees_a_client_that_left():
    connection = Connection(b"body")
    await read(connection)
    assert not has_disconnected(connection.receive)
    connection.disconnect()
    assert has_disconnected(connection.receive)
