"""HAProxy: its process and its runtime API. Independent of Ray."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from streamb.children import die_with_parent
from streamb.cluster.edge.configuration import (
    SOFT_STOP_S,
    Backend,
    EdgeConfig,
    Server,
    address_of,
    check_of,
    render,
)
from streamb.control.observations import Endpoint
from streamb.errors import StartFailed
from streamb.store.files import replace_file

_REPLY_TIMEOUT_S: Final = 5.0
_BACKLOG: Final = 4096


class HAProxy:
    """One HAProxy process in the foreground, which ends with this process.

    This process holds the listening socket. While a HAProxy that has died is replaced, new connections wait in the
    socket's queue instead of being refused.
    """

    def __init__(self, binary: str, config: EdgeConfig, folder: Path) -> None:
        self._binary = binary
        self._config = config
        self._file = folder / f"{config.admin_socket.stem}.cfg"
        self._log = folder / f"{config.admin_socket.stem}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._listener: socket.socket | None = None
        self._started = False

    @property
    def pid(self) -> int | None:
        """The process id of HAProxy while it runs; else None."""
        return self._process.pid if self._process and self._process.poll() is None else None

    async def ended(self, timeout_s: float) -> None:
        """Return when the process ends, or after `timeout_s` seconds; after these also if it did not start."""
        pid = self.pid
        if pid is None and self._started:
            self._started = False  # the end of one process is told once
            return
        if sys.platform != "linux" or pid is None:
            await asyncio.sleep(timeout_s)
            return
        descriptor, gone = os.pidfd_open(pid), asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, gone.set)
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(gone.wait(), timeout_s)
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)

    async def start(self, timeout_s: float = 10.0, *, known: Mapping[str, Server] | None = None) -> None:
        """Start the process and wait until its runtime API answers.

        Args:
            timeout_s: how long it may take, in seconds.
            known: servers that have answered before, by name; they get requests at once.

        Raises:
            StartFailed: it ended or did not answer; the message contains HAProxy's output.
        """
        self._started = False
        try:
            await self._start(timeout_s, known, self._listen())
        except BaseException:
            self._close()
            raise
        self._started = True

    async def _start(self, timeout_s: float, known: Mapping[str, Server] | None, listener: int) -> None:
        replace_file(self._file, render(self._config, known, listener).encode(), mode=0o600)  # it has a secret
        with self._log.open("wb") as log:
            # Not asyncio's subprocess: the parent-death signal belongs to the thread that forks, which is this one.
            self._process = subprocess.Popen(  # noqa: ASYNC220
                [self._binary, "-db", "-f", str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(listener,),
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        for _ in range(int(timeout_s / 0.05)):
            if self.pid is None:
                said = self._log.read_text(errors="replace").strip()
                raise StartFailed(f"HAProxy did not start on {self._config.host}:{self._config.port}: {said}")
            try:
                await self.command("show info")
            except OSError:
                await asyncio.sleep(0.05)
            else:
                return
        self._process.kill()  # otherwise it would block the port for the next attempt
        await asyncio.to_thread(self._process.wait)
        raise StartFailed(f"HAProxy did not answer in {timeout_s:g} s")

    async def stop(self) -> None:
        """Stop accepting, let running requests finish for a few seconds, then end."""
        self._close()
        process = self._process
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGUSR1)
        try:
            await asyncio.to_thread(process.wait, SOFT_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            await asyncio.to_thread(process.wait)

    def _listen(self) -> int:
        """Open the listening socket unless it is open; return its file descriptor."""
        if self._listener is None:
            host, port = self._config.host.strip("[]"), self._config.port
            try:
                family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
                self._listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
            except OSError as error:
                raise StartFailed(f"HAProxy cannot listen on {self._config.host}:{port}: {error}") from error
        return self._listener.fileno()

    def _close(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def command(self, line: str) -> str:
        """Run one command of the runtime API.

        Raises:
            OSError: nobody listens on the admin socket.
        """
        reader, writer = await asyncio.wait_for(
            asyncio.open_unix_connection(str(self._config.admin_socket)), _REPLY_TIMEOUT_S
        )
        try:
            writer.write(line.encode() + b"\n")
            answer = await asyncio.wait_for(reader.read(), _REPLY_TIMEOUT_S)
            return answer.decode().strip()
        finally:
            writer.close()

    async def add(self, backend: Backend, name: str, endpoint: Endpoint) -> None:
        """Add a server and let it take requests once its health check passes."""
        server = f"{backend}/{name}"
        await self.command(f"add server {server} {address_of(endpoint)} {check_of(backend)}")
        # A newly enabled server counts as up until checks have failed: marked as down at once, it gets no requests
        # before its first check has passed.
        await self.command(f"enable health {server}; enable server {server}; set server {server} health down")

    async def drain(self, backend: Backend, name: str) -> None:
        """Give a server no new requests."""
        await self.command(f"set server {backend}/{name} state drain")

    async def remove(self, backend: Backend, name: str) -> bool:
        """Remove a drained server; False while it still has requests."""
        server = f"{backend}/{name}"
        await self.command(f"set server {server} state maint")
        answer = await self.command(f"del server {server}")
        return "deleted" in answer or "No such server" in answer

    async def sessions(self) -> dict[tuple[str, str], tuple[int, str]]:
        """Return, by `(backend, server)`, the number of running requests, and HAProxy's state ("UP", "DOWN", …)."""
        rows = csv.DictReader(io.StringIO((await self.command("show stat")).lstrip("# ")))
        return {(r["pxname"], r["svname"]): (int(r["scur"] or 0), r["status"]) for r in rows if r["svname"]}
