"""Shadow traffic: copies of answered requests are sent to a shadow version, and the answers are compared.

A request never waits for its copy. A copy is made after the answer exists, is sent in a later turn of the event loop,
and goes through a separate batcher with one call at a time, so it takes none of the places that real requests need.
Copies that do not fit into the bounded queue are dropped and counted. The shadow version's traffic counters do not
include copies.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamb.clock import Clock
from streamb.errors import StreambError
from streamb.hashing import bucket
from streamb.metrics import VersionRecorder
from streamb.models.outputs import Answer
from streamb.serving.answer import InferenceRequest
from streamb.serving.batch import Predictor
from streamb.serving.batcher import Batcher
from streamb.serving.http.receive import Message
from streamb.serving.lane import Lane
from streamb.serving.limits import GatewayLimits
from streamb.serving.targets import ServedModel, ServedTable, ServedVersion

_log = logging.getLogger(__name__)

MOST_COPIES: Final = 256
"""The most copies of one model's requests in progress at once; further ones are dropped."""

MOST_ROWS: Final = 16_384
"""The most rows in all these copies together, as a copy keeps its request in memory."""

SAME_WITHIN: Final = 0.01
"""Numbers count as equal if they differ by at most this share of the larger one."""


class Copy(NamedTuple):
    """An answered request that is sent to the shadow version.

    Attributes:
        answer: the answer that the client got.
        seconds: how long that answer took.
        task: the task of the version that answered.
    """

    request: InferenceRequest
    answer: Answer
    seconds: float
    task: str


class Mirrors:
    """Sends copies to the shadow versions of all models of one gateway. Belongs to its event loop."""

    def __init__(self, predictor: Predictor, limits: GatewayLimits, clock: Clock) -> None:
        self._predictor = predictor
        self._limits = limits
        self._clock = clock
        self._mirrors: dict[str, Mirror] = {}
        self._numbers = 0

    def offer(
        self, model: ServedModel, answered: ServedVersion, request: InferenceRequest, answer: Answer, seconds: float
    ) -> None:
        """Copy this request if it falls into the model's shadow share; returns at once.

        The share is of requests, not of users: otherwise the most active user would count for nothing or everything.
        """
        shadow, asked = model.shadow, model.route.shadow
        if shadow is None or asked is None or shadow is answered or shadow.broken is not None:
            return
        self._numbers += 1
        if bucket(str(self._numbers), "shadow") >= asked.share:
            return
        app = shadow.target.app
        mirror = self._mirrors.get(app)
        if mirror is None:
            mirror = self._mirrors[app] = Mirror(shadow, self._predictor, self._limits, self._clock)
        mirror.take(Copy(request, answer, seconds, answered.target.task))

    def keep(self, served: ServedTable) -> None:
        """Release shadow versions that the table no longer names, once no copy is in progress."""
        current = {model.shadow.target.app for model in served.models.values() if model.shadow is not None}
        self._mirrors = {app: mirror for app, mirror in self._mirrors.items() if app in current or mirror.size}

    def in_flight(self, app: str) -> int:
        """Return the number of copies in progress to `app`."""
        return self._mirrors[app].size if app in self._mirrors else 0

    async def close(self) -> None:
        """Stop all calls."""
        for mirror in self._mirrors.values():
            await mirror.close()


class Mirror:
    """Sends copies to one shadow version.

    Attributes:
        size: number of copies in progress.
    """

    def __init__(self, shadow: ServedVersion, predictor: Predictor, limits: GatewayLimits, clock: Clock) -> None:
        self._shadow = shadow
        self._clock = clock
        own = replace(limits, max_concurrent_requests=MOST_COPIES, max_queued_requests=MOST_COPIES, calls_per_replica=1)
        self._batcher = Batcher(predictor, own, clock)
        # The batcher counts calls and rows on its lane; those of copies do not count as traffic.
        self._lane = Lane(shadow.target, VersionRecorder(shadow.model_id, shadow.target.version))
        self._offered: list[Copy] = []
        self._rows = 0
        self.size = 0

    def take(self, copy: Copy) -> None:
        """Send a copy soon, or drop it if too many are in progress."""
        rows = copy.request.row_count
        if self.size >= MOST_COPIES or self._rows + rows > MOST_ROWS:
            self._shadow.recorder.shadowed("dropped")
            return
        self.size += 1
        self._rows += rows
        self._offered.append(copy)
        if len(self._offered) == 1:
            asyncio.get_running_loop().call_soon(self._send)

    async def close(self) -> None:
        """Stop all calls."""
        await self._batcher.close()

    def _send(self) -> None:
        offered, self._offered = self._offered, []
        for copy in offered:
            self._shadow.recorder.shadowed("sent")
            began = self._clock.monotonic()
            try:
                rows = copy.request.rows(self._shadow.schema)
                waiting = self._batcher.admit(rows, probabilities=False, receive=_connected)
                future = self._batcher.submit(self._lane, waiting)
            except StreambError:
                self._ended(copy, "failed")
            except Exception:
                _log.exception("a copy for %s could not be sent", self._shadow.target.app)
                self._ended(copy, "failed")
            else:
                future.add_done_callback(partial(self._returned, copy, began))

    def _returned(self, copy: Copy, began: float, future: asyncio.Future[Answer]) -> None:
        if future.cancelled() or future.exception() is not None:
            self._ended(copy, "failed")
            return
        self._ended(copy, "compared")
        recorder = self._shadow.recorder
        if self._clock.monotonic() - began > copy.seconds:
            recorder.shadowed("slower")
        difference = compare(copy.answer.predictions, future.result().predictions, copy.task)
        if difference is None or difference > SAME_WITHIN:
            recorder.shadowed("disagreed")
        if difference is not None and copy.task != "classification":
            recorder.differed(difference)

    def _ended(self, copy: Copy, how: str) -> None:
        self.size -= 1
        self._rows -= copy.request.row_count
        self._shadow.recorder.shadowed(how)


def compare(said: NDArray[Any], other: NDArray[Any], task: str) -> float | None:
    """Return how far two answers to the same rows differ: 0.0 if equal, None if classes, types or shapes differ.

    For numbers, also inside of lists and objects: the largest difference, as a share of the larger number's absolute
    value.

    >>> compare(np.array([10.0, 0.0]), np.array([8.0, 0.0]), "regression")
    0.2
    >>> compare(np.array(["a", "b"]), np.array(["a", "c"]), "classification") is None
    True
    """
    if said.shape != other.shape:
        return None
    numbers = said.dtype.kind in "biuf" and other.dtype.kind in "biuf"
    if task != "classification" and "O" in (said.dtype.kind, other.dtype.kind):
        return _apart(said.tolist(), other.tolist())
    if task == "classification" or not numbers:
        return 0.0 if np.array_equal(said, other) else None
    left, right = said.astype(np.float64), other.astype(np.float64)
    size = np.maximum(np.abs(left), np.abs(right))
    with np.errstate(over="ignore"):  # infinitely far apart is far apart
        apart = np.divide(np.abs(left - right), size, out=np.zeros_like(size), where=size > 0)
    return float(apart.max(initial=0.0))


def _apart(one: Any, other: Any) -> float | None:
    """How far two values of JSON differ; see `compare`."""
    types = {type(one), type(other)}
    if types <= {int, float}:
        size = max(abs(one), abs(other))
        return abs(one - other) / size if size else 0.0
    if types == {dict} and one.keys() == other.keys():
        return _apart([one[key] for key in one], [other[key] for key in one])
    if types == {list} and len(one) == len(other):
        parts = [_apart(*pair) for pair in zip(one, other, strict=True)]
        known = [part for part in parts if part is not None]
        return max(known, default=0.0) if len(known) == len(parts) else None
    return 0.0 if len(types) == 1 and one == other else None


async def _connected() -> Message:
    """The `receive` of a copy, whose client never disconnects because there is none."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nobody resolves this future")
