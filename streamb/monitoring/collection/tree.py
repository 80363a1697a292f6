"""Between many sources and the Monitor: the aggregator of a node makes one push of all the pushes on its node.

It is exact because it keeps nothing that its sources have not still in hand. It answers a source only after the Monitor
has answered, its push names every member in it, and the Monitor counts members once. Where some members were counted
before, in a push whose answer was lost, the Monitor counts nothing and names them; the rest is merged again without
them. So an aggregator may die at any moment, and a source may go to another one, or to the Monitor itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import replace

from streamb.errors import StreambError
from streamb.monitoring.collection.push import (
    Ack,
    Member,
    PaneCounts,
    Push,
    SourceName,
    VersionKey,
    added,
    decode_counts,
)


def merged(pushes: Iterable[Push]) -> Push:
    """One push with the same counts. Counts that cannot be read or added up go along as they are.

    >>> one = Push((Member("a", "1", 1),), (PaneCounts("m", "1.0.0", 7, "", b"", dropped=2),))
    >>> two = Push((Member("b", "1", 5),), (PaneCounts("m", "1.0.0", 7, "", b"", dropped=3),))
    >>> merged([one, two]).panes
    (PaneCounts(model_id='m', version='1.0.0', pane=7, baseline_id='', data=b'', rows=0, dropped=5, unreadable=0),)
    """
    listed = list(pushes)
    if len(listed) == 1:
        return listed[0]
    groups: dict[tuple[str, str, int, str], list[PaneCounts]] = {}
    for push in listed:
        for told in push.panes:
            groups.setdefault((told.model_id, told.version, told.pane, told.baseline_id), []).append(told)
    return Push(
        tuple(member for push in listed for member in push.members),
        tuple(one for group in groups.values() for one in _added(group)),
        tuple(one for push in listed for one in push.outcomes),
    )


def _added(group: list[PaneCounts]) -> list[PaneCounts]:
    if len(group) == 1:
        return group
    try:
        total = added(map(decode_counts, group))
    except StreambError:
        return group
    return [
        replace(
            group[0],
            data=b"" if total is None else total.to_bytes(),
            rows=sum(told.rows for told in group),
            dropped=sum(told.dropped for told in group),
            unreadable=sum(told.unreadable for told in group),
        )
    ]


class NodeAggregator:
    """Joins the pushes of a node. One push is under way at a time; what comes meanwhile waits for the next one.

    Use: `join` each push, send what `take` gives, and tell the answer to `acknowledged`, which says what to answer to
    whom. A source whose push cannot be delivered hears nothing, and sends it again. Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[SourceName, Push] = {}
        self._under_way: dict[SourceName, Push] = {}

    def join(self, push: Push) -> None:
        """Take a source's push. The same one again changes nothing; a newer one of the source replaces it.

        Raises:
            ValueError: it is of several sources: aggregators do not push to each other.
        """
        if len(push.members) != 1:
            raise ValueError("an aggregator of a node takes pushes of single sources")
        name = push.members[0].name
        with self._lock:
            if self._under_way.get(name) != push:
                self._waiting[name] = push

    def take(self) -> Push | None:
        """What to send now: what is under way, again, or else all that waits; None where nothing does."""
        with self._lock:
            if not self._under_way:
                self._under_way, self._waiting = self._waiting, {}
            return merged(self._under_way.values()) if self._under_way else None

    def acknowledged(self, push: Push, ack: Ack) -> dict[SourceName, tuple[Member, Ack]]:
        """The Monitor has answered what `take` gave.

        Returns:
            The answers to sources, by source and incarnation. Where the Monitor had counted some before, only theirs:
            the others are to be sent again.
        """
        done = ack.counted_before or push.members
        with self._lock:
            for member in done:
                self._under_way.pop(member.name, None)
        return {member.name: (member, _answer(member, ack)) for member in done}


def _answer(member: Member, ack: Ack) -> Ack:
    """What one source has to know of an answer to many."""
    mine: dict[VersionKey, bytes] = {key: data for key, data in ack.baselines.items() if key == member.key}
    return Ack(baselines=mine, through_node=ack.through_node)
