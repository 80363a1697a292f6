"""Sends the counts of a replica or gateway to the Monitor, in a background task that no request waits for."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Callable, Iterable
from itertools import accumulate
from typing import Any, Final, Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from streamb.clock import SystemClock
from streamb.cluster.names import MONITOR, NAMESPACE
from streamb.cluster.node_collector import collector_of_this_node
from streamb.config import Settings
from streamb.metrics import Snapshot
from streamb.metrics.predictions import countable
from streamb.models.columns.countable_rows import countable_rows
from streamb.models.schema import FeatureSchema
from streamb.monitoring.collection.collector import Collector
from streamb.monitoring.collection.push import Ack, Member, Push, SourceOutcomes, pack_snapshots
from streamb.serving.answer import Rows
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.replica import select_rows

CALL_TIMEOUT_S: Final = 10.0
LAST_WORDS_S: Final = 2.0
"""How long a process that stops waits for the answer to its last push, in seconds."""
LONGEST_PAUSE_S: Final = 15.0
"""The longest pause between attempts while the Monitor does not answer, in seconds."""
_SPREAD: Final = 0.25
"""The share by which pauses vary at random, so that replicas that started together do not push together."""
_log = logging.getLogger(__name__)


class Desk(Protocol):
    """Supplies pushes. Called from a thread of the pusher."""

    def take(self, *, leaving: bool = False) -> Push:
        """Return the next push; the same push again until it is acknowledged, if it must be counted as a whole."""
        ...

    def acknowledged(self, push: Push, ack: Ack) -> None:
        """Record that the Monitor has stored the push."""
        ...


class GatewayDesk:
    """A gateway's counts since it started: each push contains all of them, so the next push makes up for a lost one."""

    def __init__(self, source: str, snapshots: Callable[[], Iterable[Snapshot]]) -> None:
        self._source = source
        self._incarnation = new_incarnation()
        self._snapshots = snapshots
        self._sequence = 0
        self._safe = b""

    def take(self, *, leaving: bool = False) -> Push:
        """Return the present counts; an empty push if they have not changed."""
        self._sequence += 1
        member = Member(self._source, self._incarnation, self._sequence, leaving=leaving)
        data = pack_snapshots(self._snapshots())
        standing = SourceOutcomes(self._source, self._incarnation, data)
        return Push((member,), outcomes=(standing,) if data != self._safe else ())

    def acknowledged(self, push: Push, ack: Ack) -> None:  # noqa: ARG002 - as the protocol has it
        """Record that these counts need not be sent again."""
        for standing in push.outcomes:
            self._safe = standing.data


class Pusher:
    """Pushes every few seconds, one push at a time, for as long as the process lives.

    Args:
        interval_s: the usual pause between pushes, in seconds.
    """

    def __init__(self, desk: Desk, interval_s: float) -> None:
        self._desk = desk
        self._interval_s = interval_s
        self._monitor: Any = None
        self._through_node = False
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start pushing, on the running event loop. Idempotent."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Push the remaining counts as this process's last push, and stop."""
        if self._task is None:
            return
        self._task.cancel()
        for leaving in (False, True):  # first any push in flight, which must be repeated unchanged
            if not await self._push(leaving=leaving, timeout_s=LAST_WORDS_S):
                return

    def pause_s(self) -> float:
        """Return how long to wait before the next push, in seconds."""
        usual = min(self._interval_s * 2.0**self._failures, max(self._interval_s, LONGEST_PAUSE_S))
        return usual * random.SystemRandom().uniform(1.0 - _SPREAD, 1.0 + _SPREAD)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self.pause_s())
            try:
                delivered = await self._push(leaving=False, timeout_s=CALL_TIMEOUT_S)
            except Exception:
                _log.exception("a push failed unexpectedly; the next one is due")
                delivered = False
            self._failures = 0 if delivered else min(self._failures + 1, 10)

    async def _push(self, *, leaving: bool, timeout_s: float) -> bool:
        """Push once. Returns False if the push was not acknowledged; it is then repeated, and nothing is lost."""
        push = await asyncio.to_thread(self._desk.take, leaving=leaving)
        try:
            ack = await asyncio.wait_for(self._deliver(push), timeout_s)
        except RayTaskError as error:  # the Monitor is alive, but could not write
            _log.warning("the Monitor could not store a push (%s); it is sent again", error.cause)
            return False
        except (RayError, TimeoutError, ValueError) as error:
            # ValueError: no such actor (yet). Counting goes on; what was counted waits.
            self._monitor, self._through_node = None, False
            _log.info("the Monitor does not answer (%s); counting continues", type(error).__name__)
            return False
        if ack.through_node != self._through_node:
            self._monitor, self._through_node = None, ack.through_node
        await asyncio.to_thread(self._desk.acknowledged, push, ack)
        return True

    async def _deliver(self, push: Push) -> Ack:
        if self._monitor is None:  # to look it up takes a minute where the cluster's head does not answer
            self._monitor = await asyncio.to_thread(self._find)
        ack: Ack = await self._monitor.push.remote(push)
        return ack

    def _find(self) -> Any:
        """The actor to push to. A push that one actor did not answer may go to another: it is counted only once."""
        return collector_of_this_node() if self._through_node else ray.get_actor(MONITOR, NAMESPACE)


class ReplicaCollection:
    """Collects the answered batches of one replica of a model version, and sends the counts to the Monitor.

    Args:
        source: this process's name; unique over the platform's lifetime.
        schema: the model's schema; None if it has none, or an open one.
    """

    def __init__(
        self, settings: Settings, source: str, model_id: str, version: str, schema: FeatureSchema | None
    ) -> None:
        clock = SystemClock()
        self._schema = schema if schema is not None and not schema.is_open else None
        columns = self._schema.names if self._schema is not None else None
        self._collector = Collector(source, new_incarnation(), model_id, version, clock, columns=columns)
        self._pusher = Pusher(self._collector, settings.monitoring_interval_s)
        self._started = False

    def start(self) -> None:
        """Start folding and pushing, on the running event loop. Idempotent."""
        if not self._started:
            self._started = True
            self._collector.start()
            self._pusher.start()

    def observe(self, batch: Batch, reply: BatchReply) -> None:
        """Collect the rows of those requests of an answered batch that got predictions. Never raises.

        Rows of requests that named the version are no sample of its traffic, so they are left out.
        """
        try:
            if batch.aside:
                return
            if not reply.errors:
                self._collector.observe(self._countable(batch.rows), countable(reply.predictions))
            elif len(reply.predictions):
                self._collector.observe(self._countable(_answered(batch, reply)), countable(reply.predictions))
        except Exception:  # whatever went wrong, the answer must be sent
            _log.exception("an answered batch was not collected")

    def _countable(self, rows: Rows) -> Rows:
        return rows if self._schema is None else countable_rows(self._schema, rows)

    async def stop(self) -> None:
        """Fold and push the remaining rows, and stop."""
        await asyncio.to_thread(self._collector.close)
        await self._pusher.stop()


def _answered(batch: Batch, reply: BatchReply) -> Rows:
    ends = list(accumulate(batch.counts))
    good = [index for index in range(len(ends)) if index not in reply.errors]
    return select_rows(batch.rows, [(ends[index] - batch.counts[index], ends[index]) for index in good])


def new_incarnation() -> str:
    """Return a new random name for a counter that starts from zero in a process."""
    return secrets.token_hex(6)
