"""The aggregator of a node, between many sources and the Monitor: merges all pushes on its node into one.

It is exact because its sources keep their counts until it answers. It answers a source only after the Monitor has
answered, its push names every member in it, and the Monitor counts each member once. If some members were counted
before, in a push whose answer was lost, the Monitor counts nothing and names them, and the rest is merged again without
them. So an aggregator may die at any time, and a source may push to another one or to the Monitor itself.
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
    """Return one push with the same counts. Counts that cannot be read or added are included unchanged.

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
    """Merges the pushes of a node. One merged push is under way at a time; newer pushes wait for the next one.

    Use: `join` each push, send the result of `take`, and pass the answer to `acknowledged`, which returns the answers
    to the sources. A source whose push cannot be delivered gets no answer, and sends it again. Safe to use from several
    threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[SourceName, Push] = {}
        self._under_way: dict[SourceName, Push] = {}

    def join(self, push: Push) -> None:
        """Add a source's push. The same push again changes nothing; a newer one of the source replaces it.

        Raises:
            ValueError: the push has several members, since aggregators do not push to each other.
        """
        if len(push.members) != 1:
            raise ValueError("an aggregator of a node takes pushes of single sources")
        name = push.members[0].name
        with self._lock:
            if self._under_way.get(name) != push:
                self._waiting[name] = push

    def take(self) -> Push | None:
        """Return the push to send: the one under way again, or else all that wait; None if there is none."""
        with self._lock:
            if not self._under_way:
                self._under_way, self._waiting = self._waiting, {}
            return merged(self._under_way.values()) if self._under_way else None

    def acknowledged(self, push: Push, ack: Ack) -> dict[SourceName, tuple[Member, Ack]]:
        """Handle the Monitor's answer to the result of `take`.

        Returns:
            The answers to the sources, by source and incarnation. If the Monitor had counted some members before, only
            theirs: the others have to be sent again.
        """
        done = ack.counted_before or push.members
        with self._lock:
            for member in done:
                self._under_way.pop(member.name, None)
        return {member.name: (member, _answer(member, ack)) for member in done}


def _answer(member: Member, ack: Ack) -> Ack:
    """The answer to one source, from the answer to a merged push."""
    mine: dict[VersionKey, bytes] = {key: data for key, data in ack.baselines.items() if key == member.key}
    return Ack(baselines=mine, through_node=ack.through_node)
