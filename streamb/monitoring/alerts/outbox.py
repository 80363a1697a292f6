"""The outbox: the durable state of alerting in one SQLite file: alerts, groups, silences, notifications to deliver.

A change of state and the notifications that it causes are written in one transaction, before anything is sent. The
courier claims a notification, sends it, and then records the outcome. If the process dies in between, the notification
stays in the file, and the next process sends it again with the same id: delivery is at least once, and exactly once
for a receiver that checks ids. The file has one writer, the process that opened it; its threads may share the outbox.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import PlainSerializer, PlainValidator

from streamb.asking import verb
from streamb.clock import Clock, isoformat
from streamb.monitoring.alerts.notification import FIRING, Notification, milliseconds
from streamb.store import Database, Idempotency, Page, every_record, keep, memory_database, open_database
from streamb.store.plain import from_plain, to_plain

ALERTS: Final = "monitor-alerts"
GROUPS: Final = "monitor-alert-groups"
SILENCES: Final = "monitor-silences"
QUEUE: Final = "monitor-outbox"
HISTORY: Final = "monitor-notifications"

DELIVERED: Final = "delivered"
FAILED: Final = "failed"
DROPPED: Final = "dropped"

MOST_QUEUED: Final = 2_000
MOST_HISTORY: Final = 10_000
HISTORY_DAYS: Final = 7.0
LONGEST_WAIT_S: Final = 3_600.0
"""The longest delay of a retry, in seconds; a longer one means that the clock was set back, and is ignored."""
_DAY_S: Final = 86_400.0
_PRUNED_AT_ONCE: Final = 50
_MOST_PRUNED: Final = 1_000

WrittenNotification = Annotated[
    Notification, PlainValidator(Notification.from_json), PlainSerializer(Notification.to_json)
]
"""A notification that is stored as the body of a webhook."""

State = Mapping[str, Mapping[str, Any] | None]
"""Bodies by key; None removes the entry."""


@dataclass(frozen=True, slots=True)
class Change:
    """Changes that are written together, all or nothing.

    Attributes:
        alerts, groups, silences: bodies by key, as JSON values; None removes the entry.
        notifications: notifications to deliver, in this order.
        answer: what a repetition of the request that caused the change is told; None if there was no request.
    """

    alerts: State = field(default_factory=dict)
    groups: State = field(default_factory=dict)
    silences: State = field(default_factory=dict)
    notifications: tuple[Notification, ...] = ()
    answer: Any = None

    def __bool__(self) -> bool:
        return bool(self.alerts or self.groups or self.silences or self.notifications)


@dataclass(frozen=True, slots=True)
class Queued:
    """A notification that waits to be delivered.

    Attributes:
        position: its place in the queue.
        attempts: the number of failed attempts to send it.
        retry_at: the earliest time of the next attempt, seconds since the epoch.
        last_error: why the last attempt failed; "" if none has failed.
    """

    notification: WrittenNotification
    position: int
    attempts: int = 0
    retry_at: float = 0.0
    last_error: str = ""

    @property
    def key(self) -> str:
        """The key in the store; keys sort in the order of the queue."""
        return f"{self.position:015d}"


@dataclass(frozen=True, slots=True)
class Past:
    """The outcome of a notification.

    Attributes:
        outcome: "delivered", "failed" (given up) or "dropped" (the outbox was full).
        at: when it left the queue, seconds since the epoch.
        attempts: the number of attempts to send it.
        reason: why it failed or was dropped; "" if it was delivered.
    """

    notification: WrittenNotification
    outcome: str
    at: float
    attempts: int
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the outcome as a JSON object, with times in ISO 8601."""
        told = self.notification
        return {
            "notification_id": told.notification_id,
            "channel": told.receiver,
            "title": told.title,
            "status": told.status,
            "severity": str(told.severity),
            "outcome": self.outcome,
            "reason": self.reason,
            "attempts": self.attempts,
            "created_at": isoformat(told.created_at),
            "at": isoformat(self.at),
        }


class Outbox:
    """Writes each change to the file first and then to memory; reads from memory. Thread-safe.

    Attributes:
        answers: the answers of changes of the Monitor that were named, in the same file.

    Args:
        history_days: how many days outcomes are kept.
        most_queued: the most notifications that may wait; beyond it the oldest is dropped.
        most_history: the most outcomes that are kept.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        history_days: float = HISTORY_DAYS,
        most_queued: int = MOST_QUEUED,
        most_history: int = MOST_HISTORY,
    ) -> None:
        self._database = database
        self._records = database.records
        self.answers = Idempotency(database.records, clock)
        self._clock = clock
        self._history_s = history_days * _DAY_S
        self._most_queued = most_queued
        self._most_history = most_history
        self._lock = threading.RLock()
        self._claimed: set[str] = set()
        self._queue: dict[str, Queued] = {}
        for record in every_record(self._records, QUEUE):
            queued = from_plain(Queued, {**record.body, "position": int(record.key)})
            self._queue[queued.notification.notification_id] = queued
        self._position = max((queued.position for queued in self._queue.values()), default=0)
        self._past = 0
        latest: dict[str, Mapping[str, Any]] = {}
        for record in every_record(self._records, HISTORY):
            self._past += 1
            if record.body["outcome"] != DROPPED:
                latest[record.body["notification"]["receiver"]] = record.body
        self._latest = {receiver: from_plain(Past, body) for receiver, body in latest.items()}

    def close(self) -> None:
        """Close the file; idempotent."""
        self._database.close()

    # --- what alerting keeps -------------------------------------------------------------------------------------

    def load(self, collection: str) -> dict[str, dict[str, Any]]:
        """Return every body of `ALERTS`, `GROUPS` or `SILENCES` by its key."""
        return {record.key: record.body for record in every_record(self._records, collection)}

    def commit(self, change: Change) -> None:
        """Write a change, all or nothing; its notifications can be claimed as soon as this returns.

        A notification whose id is queued already is not queued again. A firing one replaces a waiting one of the same
        receiver and incident: a receiver that was unavailable gets only the newest. When the queue is full, the oldest
        notification that is not being sent is dropped, which the history records.

        Raises:
            StorageFailed: nothing was written.
        """
        if not change:
            return
        with self._lock:
            added, removed = self._admit(change.notifications)
            dropped = sum(bool(reason) for _, reason in removed)
            with self._records.batch():
                for collection, state in (
                    (ALERTS, change.alerts),
                    (GROUPS, change.groups),
                    (SILENCES, change.silences),
                ):
                    self._write(collection, state)
                if change.answer is not None:
                    keep(change.answer)
                for queued, reason in removed:
                    self._records.delete(QUEUE, queued.key)
                    if reason:
                        self._remember(queued, DROPPED, reason)
                for queued in added:
                    self._records.put(QUEUE, queued.key, to_plain(queued))
                pruned = self._prune(dropped) if dropped else 0
            self._past += dropped - pruned
            for queued, _ in removed:
                del self._queue[queued.notification.notification_id]
            for queued in added:
                self._queue[queued.notification.notification_id] = queued
                self._position = max(self._position, queued.position)

    def _write(self, collection: str, state: State) -> None:
        for key, body in state.items():
            if body is None:
                self._records.delete(collection, key)
            else:
                self._records.put(collection, key, dict(body))

    def _admit(self, notifications: tuple[Notification, ...]) -> tuple[list[Queued], list[tuple[Queued, str]]]:
        """The notifications to add to the queue, and those to remove, each with the reason ("" if replaced)."""
        waiting = {id_: queued for id_, queued in self._queue.items() if id_ not in self._claimed}
        free = self._most_queued - len(self._queue)
        added: dict[str, Queued] = {}
        removed: list[tuple[Queued, str]] = []
        for position, notification in enumerate(notifications, self._position + 1):
            id_ = notification.notification_id
            if id_ in self._queue or id_ in added:
                continue
            old = next((q for q in waiting.values() if _same_news(q.notification, notification)), None)
            if old is not None:
                removed.append((waiting.pop(old.notification.notification_id), ""))
                added[id_] = replace(old, notification=notification)  # keeps its position and retry time
                continue
            if free <= 0 and waiting:
                oldest = min(waiting.values(), key=lambda queued: queued.position)
                removed.append((waiting.pop(oldest.notification.notification_id), "the outbox was full"))
            free -= 1
            added[id_] = Queued(notification, position)
        return list(added.values()), removed

    # --- what is to be delivered ---------------------------------------------------------------------------------

    def claim(self, *, receiver: str | None = None, limit: int = 1) -> list[Queued]:
        """Claim notifications that are due, the oldest first; they cannot be claimed again until an attempt ended.

        Only the oldest notification of each group and receiver can be claimed, so a resolve never overtakes its
        trigger. A claim ends with the process.

        Args:
            receiver: only notifications to this receiver; None: to any.
            limit: the most notifications to claim.
        """
        now = self._clock.now()
        with self._lock:
            due: list[Queued] = []
            seen: set[tuple[str, str]] = set()
            for queued in sorted(self._queue.values(), key=lambda one: one.position):
                notification = queued.notification
                lane = (notification.receiver, notification.group_key)
                first = lane not in seen
                seen.add(lane)
                waits = now < queued.retry_at <= now + LONGEST_WAIT_S
                free = first and notification.notification_id not in self._claimed and not waits
                if free and receiver in (None, notification.receiver):
                    due.append(queued)
                if len(due) == limit:
                    break
            self._claimed.update(queued.notification.notification_id for queued in due)
            return due

    def delivered(self, notification_id: str) -> None:
        """Record that the receiver accepted the notification: moves it from the queue to the history."""
        self._finish(notification_id, DELIVERED, "")

    def failed(self, notification_id: str, reason: str, *, retry_at: float | None) -> None:
        """Record that an attempt to send the notification failed.

        Args:
            notification_id: the notification that was claimed.
            reason: a text for people, without secrets.
            retry_at: when it may be claimed again, seconds since the epoch, within `LONGEST_WAIT_S`; None: give it up.
        """
        if retry_at is None:
            self._finish(notification_id, FAILED, reason)
            return
        with self._lock:
            queued = self._queue.get(notification_id)
            if queued is None:
                return
            again = replace(queued, attempts=queued.attempts + 1, retry_at=retry_at, last_error=reason)
            self._records.put(QUEUE, again.key, to_plain(again))
            self._queue[notification_id] = again
            self._claimed.discard(notification_id)

    def queued(self, *, receiver: str | None = None) -> list[Queued]:
        """Return the notifications that wait or are being sent, the oldest first."""
        with self._lock:
            found = [q for q in self._queue.values() if receiver in (None, q.notification.receiver)]
        return sorted(found, key=lambda one: one.position)

    @verb
    def history(self, limit: int = 100, cursor: str | None = None) -> Page[Past]:
        """Return a page of the outcomes of notifications, the newest first."""
        page = self._records.list(HISTORY, limit=limit, cursor=cursor, reverse=True)
        return Page(tuple(from_plain(Past, record.body) for record in page.items), page.next_cursor)

    def latest(self) -> dict[str, Past]:
        """Return the last notification of each receiver that was delivered or given up."""
        with self._lock:
            return dict(self._latest)

    def _finish(self, notification_id: str, outcome: str, reason: str) -> None:
        with self._lock:
            queued = self._queue.get(notification_id)
            if queued is None:
                return
            with self._records.batch():
                self._records.delete(QUEUE, queued.key)
                past = self._remember(queued, outcome, reason)
                pruned = self._prune(1)
            self._latest[past.notification.receiver] = past
            del self._queue[notification_id]
            self._claimed.discard(notification_id)
            self._past += 1 - pruned

    def _remember(self, queued: Queued, outcome: str, reason: str) -> Past:
        now = self._clock.now()
        past = Past(queued.notification, outcome, milliseconds(now), queued.attempts + (outcome != DROPPED), reason)
        key = f"{max(0, round(now * 1000)):015d}-{queued.notification.notification_id}"
        self._records.put(HISTORY, key, to_plain(past))
        return past

    def _prune(self, added: int) -> int:
        """Remove some of the oldest outcomes that are too old or too many once `added` join; returns how many."""
        oldest = self._clock.now() - self._history_s
        surplus = self._past + added - self._most_history
        gone = 0
        limit = min(_PRUNED_AT_ONCE + added, _MOST_PRUNED)
        for record in self._records.list(HISTORY, limit=limit).items:
            if gone >= surplus and record.body["at"] >= oldest:
                break
            gone += self._records.delete(HISTORY, record.key)
        return gone


def _same_news(waiting: Notification, newer: Notification) -> bool:
    """Whether the newer notification replaces the waiting one: both report the same incident as firing."""
    same = waiting.dedup_key == newer.dedup_key and waiting.receiver == newer.receiver
    return same and waiting.status == newer.status == FIRING


def open_outbox(path: Path | None, clock: Clock, *, history_days: float = HISTORY_DAYS) -> Outbox:
    """Open the outbox in a file, which is created if missing; with None, the outbox is in memory only.

    Raises:
        StorageFailed: the file cannot be opened or is locked.
    """
    database = memory_database(clock) if path is None else open_database(f"sqlite:///{path}", clock)
    return Outbox(database, clock, history_days=history_days)
