"""The batcher's data: a waiting request, the lane of one version, and a call that carries several requests."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamb.errors import ModelFailed, StreambError
from streamb.metrics import VersionRecorder
from streamb.models.outputs import Answer
from streamb.serving.answer import Rows
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.depth import Depth
from streamb.serving.forms import form_of
from streamb.serving.http.receive import Receive, has_disconnected
from streamb.serving.usual import Usual
from streamb.traffic import VersionTarget


class ClientGone(Exception):
    """The client went away before its answer."""


class Waiting:
    """One request from the queue to its answer.

    Attributes:
        since: when it joined the queue, on the monotonic clock, in seconds.
        deadline: when it must be answered, on the same clock.
        latest: until when the deadline may be moved if another version is late as well.
        own_limit: whether the request itself set its time limit.
        aside: whether the request is no evidence; such requests go into calls of their own.
        future: resolves to the answer, or to the error for the client.
        call: the call that it is in; None while it waits in the queue.
        receive: the connection, to be asked whether the client has left; None if somebody tells (`Batcher.leave`).
    """

    __slots__ = (
        *("_form", "aside", "call", "deadline", "future", "latest", "own_limit", "probabilities"),
        *("receive", "row_count", "rows", "since"),
    )

    def __init__(
        self,
        rows: Rows,
        since: float,
        deadline: float,
        future: asyncio.Future[Answer],
        *,
        probabilities: bool,
        own_limit: bool = False,
        aside: bool = False,
    ) -> None:
        self.rows = rows
        self.row_count = len(rows)
        self.probabilities = probabilities
        self.since = since
        self.deadline = self.latest = deadline
        self.own_limit = own_limit
        self.aside = aside
        self.future = future
        self.call: Call | None = None
        self.receive: Receive | None = None
        self._form: object = None

    def is_over(self) -> bool:
        """Return whether nobody waits for the answer any more: it was given or abandoned, or the client went away.

        May ask the connection, so it is called only for requests that wait for a while.
        """
        if not self.future.done() and self.receive is not None and has_disconnected(self.receive):
            self.future.set_exception(ClientGone())
        return self.future.done()

    def form(self, lane: Lane) -> object:
        """Return the form of the rows (`forms.form_of`); worked out when there is somebody to compare with."""
        if self._form is None:
            self._form = form_of(self.rows, lane.value_typed)
        return self._form

    def resolve(self, answer: Answer | StreambError) -> None:
        """Deliver the answer or the error; a late one is discarded."""
        if self.future.done():
            return
        if isinstance(answer, StreambError):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)

    def fail(self, error: StreambError) -> None:
        """Deliver an error, unless there is an answer already."""
        if not self.future.done():
            self.future.set_exception(error)


class Lane:
    """The requests of one model version in one gateway.

    Attributes:
        queue: requests that wait for a call.
        calls: calls in flight.
        in_flight: requests inside these calls.
        retired: whether the version gets no new requests.
        usual: how long the version usually takes.
        other: the lane of the version that this one is compared with; None if the model has only one version.
        quick_at, slow_at: when the version last returned a call in less than half of the time after which an answer is
            late, and when in more (monotonic clock, seconds).
        troubled: until when (monotonic clock, seconds) requests had to wait for a replica that had died, or because the
            gateway itself was stopped: the latency of a request that came before is not the version's.
        no_probabilities: whether an answer has shown that the version has no class probabilities.
        depth: how many calls at once answer most, for each replica.
        value_typed: see `forms.value_typed`.
    """

    __slots__ = (
        *("calls", "depth", "in_flight", "no_probabilities", "other", "queue", "quick_at"),
        *("recorder", "retired", "slow_at", "target", "troubled", "usual", "value_typed"),
    )

    def __init__(self, target: VersionTarget, recorder: VersionRecorder) -> None:
        self.target = target
        self.recorder = recorder
        self.queue: deque[Waiting] = deque()
        self.calls = 0
        self.in_flight = 0
        self.retired = False
        self.usual = Usual()
        self.other: Lane | None = None
        self.quick_at = self.slow_at = -math.inf
        self.troubled = -math.inf
        self.no_probabilities = False
        self.depth = Depth()
        self.value_typed: NDArray[np.bool_] | None = None

    @property
    def size(self) -> int:
        """Number of requests that wait for or are inside a call."""
        return len(self.queue) + self.in_flight


class Call:
    """Requests that are sent to a version together as one batch, whose reply is split up again.

    Attributes:
        sent: when they were sent, on the monotonic clock, in seconds.
        aside: whether they are no evidence, all of them.
    """

    __slots__ = ("aside", "lane", "requests", "sent", "task")

    def __init__(self, lane: Lane, requests: list[Waiting], sent: float) -> None:
        self.lane = lane
        self.requests = requests
        self.sent = sent
        self.aside = requests[0].aside
        self.task: asyncio.Future[Any] | None = None
        for waiting in requests:
            waiting.call = self

    def is_over(self) -> bool:
        """Return whether nobody waits for its reply any more."""
        return all(waiting.future.done() for waiting in self.requests)

    def batch(self) -> Batch:
        """Return the rows of all requests, in order, as one batch."""
        requests = self.requests
        asked = tuple([waiting.probabilities for waiting in requests])
        probabilities = asked if True in asked else ()
        counts = tuple(waiting.row_count for waiting in requests)
        if len(requests) == 1:
            return Batch(requests[0].rows, counts, probabilities, self.aside)
        if isinstance(requests[0].rows, np.ndarray):
            return Batch(np.concatenate([waiting.rows for waiting in requests]), counts, probabilities, self.aside)
        rows: list[Any] = []
        for waiting in requests:
            rows.extend(waiting.rows)
        return Batch(rows, counts, probabilities, self.aside)

    def answers(self, reply: BatchReply) -> list[Answer | StreambError]:
        """Return each request's part of a reply, or its error, in order.

        Raises:
            ModelFailed: the reply does not have one prediction, and one entry of probabilities, for each of their rows.
        """
        errors, predictions, probabilities = reply.errors, reply.predictions, reply.probabilities
        answers: list[Answer | StreambError] = []
        end = asked_end = 0
        for index, waiting in enumerate(self.requests):
            if index in errors:
                answers.append(errors[index])
                continue
            start, end = end, end + waiting.row_count
            chances = None
            if probabilities is not None and waiting.probabilities:
                chances = probabilities[asked_end : asked_end + waiting.row_count]
                asked_end += waiting.row_count
            failed = [row - start for row in reply.failed if start <= row < end] if reply.failed else ()
            answers.append(Answer(predictions[start:end], chances, failed))
        self._check_rows("predictions", len(predictions), end)
        if probabilities is not None:
            self._check_rows("probabilities", len(probabilities), asked_end)
        return answers

    def _check_rows(self, what: str, found: int, wanted: int) -> None:
        if found != wanted:
            version = self.lane.target.version
            raise ModelFailed(f"version {version} returned {found} {what} for {wanted} rows")

    def fail(self, error: StreambError) -> None:
        """Deliver the same error to all requests that still wait."""
        for waiting in self.requests:
            waiting.fail(error)
