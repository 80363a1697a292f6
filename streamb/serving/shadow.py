"""Shadow traffic: copies of answered requests are sent to a shadow version, and the answers are compared.

A request never waits for its copy. A copy is made after the answer exists, is sent in a later turn of the event loop,
and goes through a separate batcher with one call at a time, so it takes none of the places that real requests need.
The shadow version's traffic counters do not include copies.

With a share alone, that share of the requests is copied; copies that do not fit into the bounded queue are dropped and
counted. With `Shadow.per_second`, copies are a sample that must not disturb: at most so many in a second, a copy only
while no other is in progress, and, while the shadow version answers clients as well, only so often that copies take 2 %
of its time. Requests beyond that are not copied, and not counted as dropped.
"""

from __future__ import annotations

import asyncio
import logging
import math
from dataclasses import replace
from functools import partial
from typing import Final, NamedTuple

from streamb.clock import Clock
from streamb.errors import StreambError
from streamb.hashing import BASIS_POINTS, bucket
from streamb.metrics import Outcome, VersionRecorder, outcome_of
from streamb.models.outputs import Answer
from streamb.serving.answer import InferenceRequest
from streamb.serving.batch import Predictor
from streamb.serving.batcher import Batcher
from streamb.serving.fallback import FIRST_SHARE
from streamb.serving.lane import Lane
from streamb.serving.limits import GatewayLimits
from streamb.serving.pairs import PairComparer
from streamb.serving.targets import ServedModel, ServedTable, ServedVersion

_log = logging.getLogger(__name__)

MOST_COPIES: Final = 256
"""The most copies of one model's requests in progress at once; further ones are dropped."""

MOST_ROWS: Final = 16_384
"""The most rows in all these copies together, as a copy keeps its request in memory."""

BUSY_SHARE: Final = 0.02
"""The share of the time in which a sampled copy is in progress, at most, while the version answers clients as well."""

_ROWS_PER_COPY: Final = 100
"""A request with more rows counts as several copies in the sample, because reading it again costs the gateway time."""


class Copy(NamedTuple):
    """An answered request that is sent to the shadow version.

    Attributes:
        answer: the answer that the client got.
        seconds: how long that answer took.
        said_by: the version that answered.
        limit_s: how long the copy may take, in seconds.
        caller: who sent the request.
    """

    request: InferenceRequest
    answer: Answer
    seconds: float
    said_by: ServedVersion
    limit_s: float
    caller: str = ""


class Mirrors:
    """Sends copies to the shadow versions of all models of one gateway. Belongs to its event loop."""

    def __init__(self, predictor: Predictor, limits: GatewayLimits, clock: Clock) -> None:
        self._predictor = predictor
        self._limits = limits
        self._clock = clock
        self._mirrors: dict[str, Mirror] = {}
        self._numbers = 0

    def offer(
        self,
        model: ServedModel,
        answered: ServedVersion,
        request: InferenceRequest,
        answer: Answer,
        seconds: float,
        caller: str = "",
    ) -> None:
        """Copy this request if it falls into the model's shadow share; returns at once.

        The share is of requests, not of users: otherwise the most active user would count for nothing or everything.
        What one caller's copies can weigh is bounded where they are judged (`metrics.weighing`).

        Args:
            model: the model.
            answered: the version that answered.
            request: the request.
            answer: its answer.
            seconds: how long that took.
            caller: who sent it.
        """
        shadow, asked = model.shadow, model.route.shadow
        if shadow is None or asked is None or shadow is answered or not shadow.healthy:
            return
        self._numbers += 1
        if asked.share < BASIS_POINTS and bucket(str(self._numbers), "shadow") >= asked.share:
            return
        app = shadow.target.app
        mirror = self._mirrors.get(app)
        if mirror is None:
            mirror = self._mirrors[app] = Mirror(shadow, self._predictor, self._limits, self._clock)
        limit_s = self._limits.request_timeout_s
        if asked.per_second:
            busy_share = BUSY_SHARE if model.shadow_shares else 1.0
            if not mirror.may_sample(asked.per_second, busy_share, request.row_count):
                return
            limit_s = min(limit_s * FIRST_SHARE, answered.lane.usual.allows_s(request.row_count))
        mirror.take(Copy(request, answer, seconds, answered, limit_s, caller))

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
        self._predictor = predictor
        self._batcher = Batcher(predictor, own, clock)
        self._closed = False
        # The batcher counts calls and rows on its lane; those of copies do not count as traffic.
        self._lane = Lane(shadow.target, VersionRecorder(shadow.model_id, shadow.target.version, shadow.target.classes))
        self._lane.value_typed = shadow.lane.value_typed
        self._offered: list[Copy] = []
        self._comparer = PairComparer()
        self._pairs = 0
        self._rows = 0
        self._tokens = 0.0
        self._counted_at = -math.inf
        self._began = self._took_s = 0.0
        self.size = 0

    def may_sample(self, per_second: int, busy_share: float, rows: int) -> bool:
        """Return whether a request may be copied as one of a sample, and count it if so.

        Args:
            per_second: the most copies in a second.
            busy_share: the share of the time in which a copy may be in progress, above 0 and at most 1.
            rows: the number of rows of the request.
        """
        now = self._clock.monotonic()
        if self.size or now - self._began < self._took_s / busy_share:
            return False
        tokens = min(float(per_second), self._tokens + (now - self._counted_at) * per_second)
        if tokens < 1.0 or not self._predictor.replicas(self._shadow.target):
            return False
        self._tokens, self._counted_at, self._began = tokens - max(1.0, rows / _ROWS_PER_COPY), now, now
        return True

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
        """Stop all calls; their copies count as dropped, for the version did not fail them."""
        self._closed = True
        await self._batcher.close()

    def _send(self) -> None:
        offered, self._offered = self._offered, []
        for copy in offered:
            self._shadow.recorder.shadowed("sent")
            began = self._clock.monotonic()
            try:
                rows = copy.request.rows(self._shadow.schema)
                waiting = self._batcher.admit(rows, probabilities=False, timeout_s=copy.limit_s)
                future = self._batcher.submit(self._lane, waiting)
            except StreambError as error:
                self._ended(copy, _ending(error))
            except Exception:
                _log.exception("a copy for %s could not be sent", self._shadow.target.app)
                self._ended(copy, "failed")
            else:
                future.add_done_callback(partial(self._returned, copy, began))

    def _returned(self, copy: Copy, began: float, future: asyncio.Future[Answer]) -> None:
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is not None:
            self._ended(copy, _ending(error))
            return
        if future.result().failed:
            self._ended(copy, "failed")
            return
        self._ended(copy, "compared")
        recorder = self._shadow.recorder
        if self._clock.monotonic() - began > copy.seconds:
            recorder.shadowed("slower")
        try:
            self._compare(copy, future.result())
        except Exception:
            _log.exception("an answer of %s could not be compared", self._shadow.target.app)
            recorder.shadowed("disagreed", caller=copy.caller)

    def _compare(self, copy: Copy, answer: Answer) -> None:
        """Compare one row of both answers, drawn by chance.

        So pairs are as independent as requests are, and the share of pairs that disagree is that of rows.
        """
        recorder, said, other = self._shadow.recorder, copy.answer.predictions, answer.predictions
        if not len(said):
            return
        target = copy.said_by.target
        # Both as what the version says that answered: the task decides whether 0 is a label or a number.
        recorder.shadow_predicted(other, target.task, copy.caller)
        recorder.shadow_expected(said, target.task, copy.caller)
        self._pairs += 1
        row = bucket(str(self._pairs), target.app) * len(said) // BASIS_POINTS
        pair = self._comparer.compare(said[row : row + 1], other[row : row + 1], target.task, target.classes)
        if not pair.agrees:
            recorder.shadowed("disagreed", caller=copy.caller)
        if pair.retyped:
            recorder.shadowed("retyped", caller=copy.caller)
        if pair.difference is not None:
            recorder.differed(pair.difference)

    def _ended(self, copy: Copy, how: str) -> None:
        self._took_s = self._clock.monotonic() - self._began
        self.size -= 1
        self._rows -= copy.request.row_count
        how = "dropped" if self._closed and how == "failed" else how
        self._shadow.recorder.shadowed(how, caller=copy.caller)


def _ending(error: BaseException) -> str:
    """Return how a copy without an answer is counted: "refused" if the version takes its rows as a client's mistake."""
    refused = isinstance(error, StreambError) and outcome_of(error) is Outcome.CLIENT_ERROR
    return "refused" if refused else "failed"
