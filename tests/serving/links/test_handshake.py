import asyncio
import socket
import struct
from dataclasses import replace

import pytest
import uvloop

from streamb.errors import Unavailable
from streamb.serving.links import server as server_module
from streamb.serving.links.frames import Kind
from streamb.serving.links.link import Link, LinkAddress
from tests.serving.linked import SECRET, Desk, linked, no_loss, until


class TestHandshake:
    async def test_a_wrong_secret_is_refused(self):
        async with linked() as (_, link, _):
            with pytest.raises(Unavailable, match="refused"):
                await Link.connect(link.address, bytes(32), on_lost=no_loss)

    async def test_another_replica_is_refused(self):
        async with linked() as (_, link, _):
            with pytest.raises(Unavailable, match="another replica"):
                await Link.connect(replace(link.address, replica="r2"), SECRET, on_lost=no_loss)

    async def test_nobody_listens(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = LinkAddress("127.0.0.1", free.getsockname()[1], "r")
            with pytest.raises(Unavailable, match="cannot be reached"):
                await Link.connect(address, SECRET, on_lost=no_loss)

    async def test_who_says_nothing_is_not_waited_for(self):
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            address = LinkAddress("127.0.0.1", silent.getsockname()[1], "r")
            with pytest.raises(Unavailable, match="no answer within"):
                await Link.connect(address, SECRET, timeout_s=0.05, on_lost=no_loss)

    async def test_a_stranger_is_cut_off(self, monkeypatch):
        monkeypatch.setattr(server_module, "_PROOF_S", 0.5)
        async with linked() as (server, link, _):
            reader, writer = await asyncio.open_connection(link.address.host, link.address.port)
            assert len(await reader.readexactly(32)) == 32
            async with asyncio.timeout(30):
                assert await reader.read() == b""
            writer.close()
            await until(lambda: len(server._sides) == 1)
            assert link.usable

    async def test_calls_before_the_proof_are_not_looked_at(self):
        desk = Desk()
        async with linked(desk.predict) as (_, link, _):
            reader, writer = await asyncio.open_connection(link.address.host, link.address.port)
            writer.write(bytes(32) + struct.pack("!QBI", 1, Kind.CALL, 0) * 100)
            async with asyncio.timeout(30):
                with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                    await reader.readexactly(33)
            writer.close()
            assert not desk.calls

    async def test_only_so_many_strangers(self, monkeypatch):
        monkeypatch.setattr(server_module, "_MAX_STRANGERS", 2)
        async with linked() as (server, link, _):
            pairs = [await asyncio.open_connection(link.address.host, link.address.port) for _ in range(5)]
            await until(lambda: len(server._sides) == 3)
            for _, writer in pairs:
                writer.close()
            await until(lambda: len(server._sides) == 1)


@pytest.mark.parametrize(
    "scenario",
    [
        TestHandshake().test_a_wrong_secret_is_refused,
        TestHandshake().test_calls_before_the_proof_are_not_looked_at,
    ],
    ids=lambda scenario: scenario.__name__,
)
def test_the_same_on_uvloop(scenario):
    """Gateways run on uvloop, whose transports are none of asyncio's."""
    uvloop.run(scenario())
