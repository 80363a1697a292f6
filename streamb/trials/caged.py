"""A model behind a boundary: answers batches like `BatchPredictor`, in a child process that has nothing of ours.

The artifact's own code is loaded in the child alone. A child that dies, hangs or sends nonsense fails the calls that it
had, with 503, and is replaced; the replica stays healthy. What the child sends is believed as little as what a client
sends: frames are checked, and only errors about rows and models pass.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final

from streamb.clock import Clock, SystemClock
from streamb.crypto import PublicKey
from streamb.errors import InvalidInput, ModelFailed, StartFailed, StreambError, TrialFailed, Unavailable
from streamb.security.isolation import Cage, IsolatedProcess, let_read, remove_folder
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links.frames import Kind, MalformedFrame, read_frame
from streamb.serving.links.wire import decode_error, decode_reply, encode_batch
from streamb.text import shown

ARTIFACT: Final = "artifact"
HOME: Final = "home"

_START, _END = True, False
_SPAWN_S: Final = 120.0
_FAILED_STARTS: Final = 3
_LOOK_S: Final = 0.5
_CHUNK_BYTES: Final = 1 << 14
_LONGEST_LINE: Final = 1_000
_LONGEST_MESSAGE: Final = 1_000
_LINES_WINDOW_S: Final = 10.0
_MOST_LINES: Final = 200
_log = logging.getLogger(__name__)


class _Lost(Exception):
    """The child is of no use any more."""


class _Child:
    """One process, and our end of its socket."""

    def __init__(self, command: Sequence[str], cage: Cage) -> None:
        self.channel, theirs = socket.socketpair()
        try:
            self.isolated = IsolatedProcess(
                [*command[:3], str(theirs.fileno()), *command[3:]], cage, files=[theirs.fileno()]
            )
        finally:
            theirs.close()

    def end(self) -> None:
        self.channel.close()
        self.isolated.end()


class CagedModel:
    """A model in a child process. `run` is for one thread at a time; the other methods are for any.

    Args:
        place: a folder of `own_folder` with the verified artifact in its folder `artifact`; removed at the end.
        trusted: keys whose signature allows the artifact to run its code, in the child.
        hidden: files and folders of the platform.
        limit_s: the longest time of a call, in seconds; then the child is replaced.
        load_s: the longest time in which it must have been loaded, in seconds.
        clock: the source of time.

    Raises:
        IsolationUnavailable: this machine has no boundary for it.
        StreambError: it cannot be loaded; what the child said.
    """

    def __init__(
        self,
        place: Path,
        trusted: Sequence[PublicKey],
        *,
        hidden: Sequence[str],
        limit_s: float,
        load_s: float,
        clock: Clock | None = None,
    ) -> None:
        artifact, home = place / ARTIFACT, place / HOME
        home.mkdir(mode=0o700, exist_ok=True)
        let_read(artifact)
        module = [sys.executable, "-m", "streamb.trials.caged_child"]
        self._command = [*module, str(artifact), *(key.raw.hex() for key in trusted)]
        self._place = place
        self._cage = Cage(read=(str(artifact),), write=(str(home),), hidden=tuple(hidden))
        self._limit_s, self._load_s = limit_s, load_s
        self._clock = clock or SystemClock()
        self._orders: SimpleQueue[bool] = SimpleQueue()
        self._spawned: SimpleQueue[_Child | Exception] = SimpleQueue()
        self._child: _Child | None = None
        self._calls = 0
        self._failed_starts = 0
        self._trouble = ""
        # The kernel kills the child when the thread that started it ends, so one thread starts all of them.
        threading.Thread(target=self._keep, name="caged", daemon=True).start()
        self._orders.put(_START)
        self._open()

    def run(self, batch: Batch) -> BatchReply:
        """Answer each request of the batch, with its own predictions or its own error.

        Raises:
            Unavailable: the child died meanwhile; the next one is being started.
            StreambError: the call failed.
        """
        if self._child is None:
            self._open_again()
        try:
            return self._ask(batch)
        except _Lost as lost:
            self._replace()
            raise Unavailable(f"the process of the model {lost}; it is started again", retry_after_s=1) from None

    def trouble(self) -> str:
        """Return why no call can be answered at present; "" if they can."""
        return self._trouble

    def end(self) -> None:
        """Kill the child, start no other, and remove the folder."""
        self._orders.put(_END)
        if self._child is not None:
            self._child.end()
        remove_folder(self._place)

    # --- calls --------------------------------------------------------------------------------------------------------

    def _ask(self, batch: Batch) -> BatchReply:
        self._calls += 1
        frame = encode_batch(self._calls, batch)
        until = self._clock.monotonic() + self._limit_s
        child = self._child
        assert child is not None  # noqa: S101 - `run` has opened it
        try:
            child.channel.settimeout(self._limit_s)
            child.channel.sendall(frame)
            while (answer := read_frame(child.channel, lambda: until - self._clock.monotonic())) is not None:
                if answer.call == self._calls and answer.kind is Kind.REPLY:
                    return _believed(decode_reply(answer.payload), batch)
                if answer.call == self._calls and answer.kind is Kind.ERROR:
                    raise _error(decode_error(answer.payload))
                raise _Lost("sent something that is no answer")
        except TimeoutError:
            raise _Lost(f"did not answer within {self._limit_s:g} s") from None
        except MalformedFrame as error:
            raise _Lost(f"sent what is no answer ({error.message[:100]})") from None
        except OSError:
            pass
        raise _Lost("ended")

    # --- the child ----------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        """Wait for the child that was ordered, until it has loaded the model."""
        try:
            child = self._spawned.get(timeout=_SPAWN_S)
        except Empty:
            raise StartFailed("the process of the model could not be started in time") from None
        if isinstance(child, Exception):
            raise child
        until = self._clock.monotonic() + self._load_s
        try:
            first = read_frame(child.channel, lambda: until - self._clock.monotonic())
        except (OSError, MalformedFrame) as error:
            child.end()
            late = isinstance(error, TimeoutError)
            reason = f"was not loaded within {self._load_s:g} s" if late else "sent nonsense"
            raise TrialFailed(f"the isolated version {reason}") from None
        if first is None or first.kind is not Kind.WELCOME:
            child.end()
            if first is not None and first.kind is Kind.ERROR:
                raise decode_error(first.payload)
            raise TrialFailed("the process of the isolated version ended while it was loaded; its log says more")
        self._child, self._failed_starts, self._trouble = child, 0, ""

    def _open_again(self) -> None:
        try:
            self._open()
        except (StreambError, OSError) as error:
            self._failed_starts += 1
            if self._failed_starts >= _FAILED_STARTS:
                self._trouble = f"its process cannot be started: {error}"
            self._orders.put(_START)
            raise Unavailable(f"the process of the model cannot be started: {error}", retry_after_s=1) from None

    def _replace(self) -> None:
        if self._child is not None:
            self._child.end()
        self._child = None
        self._orders.put(_START)

    def _keep(self) -> None:
        """What the thread does: start children, and pass on to the log what they say."""
        while self._orders.get():
            try:
                child = _Child(self._command, self._cage)
            except Exception as error:  # whoever waits must hear of it
                self._spawned.put(error)
                continue
            self._spawned.put(child)
            _pass_on(child.isolated.process, self._clock)


def _believed(reply: BatchReply, batch: Batch) -> BatchReply:
    """The reply, if it can be one to the batch; how many rows there must be is checked where they are shared out."""
    indices, rows = range(len(batch.counts)), range(len(reply.predictions))
    if not all(index in indices for index in reply.errors) or not all(row in rows for row in reply.failed):
        raise MalformedFrame("a reply names requests or rows that there are not")
    errors = {index: _error(error) for index, error in reply.errors.items()}
    return replace(reply, errors=errors, failed=sorted(set(reply.failed)))


def _error(error: StreambError) -> StreambError:
    """An error of the child as one about rows or the model, whatever it says that it is."""
    message = shown(error.message, lines=True)[:_LONGEST_MESSAGE]
    return type(error)(message, **error.details) if isinstance(error, InvalidInput) else ModelFailed(message)


def _pass_on(process: subprocess.Popen[bytes], clock: Clock) -> None:
    """Write what the process says to our log, line by line, until it ends: escaped, and not more than a log bears."""
    output = process.stdout
    if output is None:
        return
    began, lines, rest, ended = clock.monotonic(), 0, b"", False
    with output:
        while True:
            ready, _, _ = select.select([output], [], [], _LOOK_S)
            chunk = os.read(output.fileno(), _CHUNK_BYTES) if ready else b""
            if ended or (ready and not chunk):
                return
            ended = process.poll() is not None  # what it started may go on and write, but nobody waits for that
            *whole, rest = (rest + chunk).split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            if clock.monotonic() - began > _LINES_WINDOW_S:
                began, lines = clock.monotonic(), 0
            for line in whole:
                lines += 1
                if lines <= _MOST_LINES:
                    _log.warning("%s", shown(line[:_LONGEST_LINE].decode(errors="replace")))
