"""An actor on each node that joins its sources' pushes, if there are too many for the Monitor to receive each."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from streamb.cluster.names import COLLECTOR_PREFIX, MONITOR, NAMESPACE, node_collector
from streamb.monitoring.collection.push import Ack, Member, Push
from streamb.monitoring.collection.tree import NodeAggregator

GATHER_S: Final = 1.0
"""Pushes that arrive within this many seconds are sent on together."""
CALL_TIMEOUT_S: Final = 8.0
"""Time limit for the Monitor's answer in seconds; shorter than that of sources, which then learn that it is slow."""
_MOST_SOURCES: Final = 4_000
_log = logging.getLogger(__name__)


class NodeCollectorActor:
    """Answers a source when the Monitor has answered the push that contains the source's. Keeps no data itself."""

    def __init__(self) -> None:
        self._node = NodeAggregator()
        self._waiting: dict[Member, list[asyncio.Future[Ack]]] = {}
        self._monitor: Any = None
        self._sending: asyncio.Task[None] | None = None

    async def push(self, push: Push) -> Ack:
        """Send on one source's push; return the Monitor's answer."""
        (member,) = push.members
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(member, []).append(answer)
        self._node.join(push)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.get_running_loop().create_task(self._send())
        try:
            return await asyncio.wait_for(answer, 2 * CALL_TIMEOUT_S)
        finally:
            waiting = self._waiting[member]
            waiting.remove(answer)  # only this one: the source may have asked again meanwhile
            if not waiting:
                del self._waiting[member]

    async def _send(self) -> None:
        while self._waiting:
            await asyncio.sleep(GATHER_S)
            try:
                while (push := self._node.take()) is not None:
                    self._tell(push, await self._ask(push))
            except (RayError, TimeoutError, ValueError) as error:  # ValueError: there is no Monitor now
                self._monitor = None
                _log.info("the Monitor does not answer (%s); sources ask again", type(error).__name__)

    async def _ask(self, push: Push) -> Ack:
        if self._monitor is None:
            self._monitor = await asyncio.to_thread(ray.get_actor, MONITOR, NAMESPACE)
        ack: Ack = await asyncio.wait_for(self._monitor.push.remote(push), CALL_TIMEOUT_S)
        return ack

    def _tell(self, push: Push, ack: Ack) -> None:
        for member, answer in self._node.acknowledged(push, ack).values():
            for waiting in self._waiting.get(member, []):
                if not waiting.done():
                    waiting.set_result(answer)


def collector_of_this_node() -> Any:
    """Return the handle of this node's collector; start it if there is none. Blocks for a moment."""
    node = ray.get_runtime_context().get_node_id()
    return (
        ray.remote(NodeCollectorActor)
        .options(
            name=node_collector(node),
            namespace=NAMESPACE,
            lifetime="detached",
            get_if_exists=True,
            max_restarts=-1,
            num_cpus=0,
            max_concurrency=_MOST_SOURCES,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=True),
        )
        .remote()
    )


def stop_collectors() -> None:
    """Stop the collectors of all nodes."""
    for name in ray.util.list_named_actors():
        if name.startswith(COLLECTOR_PREFIX):
            ray.kill(ray.get_actor(name, NAMESPACE))
