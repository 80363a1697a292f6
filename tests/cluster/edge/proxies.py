"""What tests of the edge share: HAProxy or its stand-in without Ray, and servers to put behind it."""

import asyncio
import contextlib
import socket

import httpx

from streamb.cluster.edge.configuration import EdgeConfig
from streamb.cluster.edge.edge import haproxy_binary
from streamb.cluster.edge.forwarder import Forwarder
from streamb.cluster.edge.haproxy import HAProxy
from streamb.control.observations import Endpoint


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Upstream:
    """A server that answers every path with its own name and keeps the heads of the requests that it saw."""

    def __init__(self, name: str, delay: float = 0.0, status: str = "200 OK") -> None:
        self.name, self.delay, self.status, self.seen = name, delay, status.encode(), []
        self._writers: set[asyncio.StreamWriter] = set()

    async def _serve(self, reader, writer) -> None:
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                self.seen.append(head)
                if "content-length: " in head:
                    await reader.readexactly(int(head.split("content-length: ")[1].split()[0]))
                await asyncio.sleep(self.delay)
                body = self.name.encode()
                writer.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n%s" % (self.status, len(body), body))
                await writer.drain()
        writer.close()

    async def __aenter__(self):
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = Endpoint("127.0.0.1", self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()


KINDS = ("haproxy", "forwarder")


@contextlib.asynccontextmanager
async def started(kind: str, folder, answer_timeout_s: float = 10, **options):
    config = EdgeConfig("127.0.0.1", free_port(), folder / "a.sock", None, answer_timeout_s, **options)
    proxy = HAProxy(haproxy_binary(), config, folder) if kind == "haproxy" else Forwarder(config)
    await proxy.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{config.port}", timeout=60) as client:
        yield proxy, client
    await proxy.stop()


async def until_up(proxy, backend: str, name: str) -> None:
    for _ in range(600):  # half a minute
        if (await proxy.sessions()).get((backend, name), (0, ""))[1] == "UP":
            return
        await asyncio.sleep(0.05)
    raise AssertionError(await proxy.sessions())


class Gateway(Upstream):
    """An upstream that can be killed."""

    def kill(self) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()


class Quitter(Upstream):
    """A server that takes whole requests and hangs up; its health checks are answered."""

    async def _serve(self, reader, writer) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            if "/healthz" in head or "/v2/health/ready" in head:
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
            else:
                self.seen.append(head)
                if "content-length: " in head:
                    await reader.readexactly(int(head.split("content-length: ")[1].split()[0]))
        writer.close()
