"""The alert manager: takes the results of the rules at each look, and decides which notifications to send.

Every look is one decision and one write: the new state of alerts and groups and the notifications go into the outbox
in one transaction. If the process dies before it, the next process makes the same decision from the old state; if it
dies after it, the notifications are in the outbox. Nothing here sends.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from streamb.asking import change, verb
from streamb.clock import Clock, isoformat
from streamb.errors import BadRequest, InvalidInput, NotFound
from streamb.monitoring.alerts.alert import ALERT_NAME, MODEL, VERSION, Alert, Severity, merged
from streamb.monitoring.alerts.decide import Board, decide
from streamb.monitoring.alerts.grouping import Group
from streamb.monitoring.alerts.inhibition import inhibited
from streamb.monitoring.alerts.notification import Notification, milliseconds
from streamb.monitoring.alerts.outbox import ALERTS, GROUPS, SILENCES, Change, Outbox
from streamb.monitoring.alerts.routing import AlertConfig
from streamb.monitoring.alerts.silences import Silence, SilenceState
from streamb.monitoring.alerts.state import AlertPhase, AlertState
from streamb.store import Page
from streamb.store.cursor import decode_cursor, encode_cursor
from streamb.store.plain import from_plain, to_plain

MOST_SILENCES: Final = 1_000
REWRITTEN_S: Final = 60.0
"""How old the stored values of an alert that keeps firing may be, in seconds."""
_ID_BYTES: Final = 6
_log = logging.getLogger(__name__)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ListedAlert:
    """An alert as a list shows it.

    Attributes:
        state: the alert's state.
        silenced_by: the ids of the silences that mute it now.
        inhibited_by: the fingerprint of the alert that mutes it; "" if no alert does.
        receivers: the channels that are notified of it.
        flapping: whether it fired at least three times within the last two hours.
    """

    state: AlertState
    silenced_by: tuple[str, ...]
    inhibited_by: str
    receivers: tuple[str, ...]
    flapping: bool

    def to_json(self) -> dict[str, Any]:
        """Return the alert as a JSON object, with times in ISO 8601."""
        state = self.state
        return {
            "fingerprint": state.fingerprint,
            "state": str(state.phase),
            "severity": str(state.severity),
            "labels": dict(state.labels),
            "annotations": dict(state.annotations),
            "value": state.value,
            "active_since": isoformat(state.active_since),
            "starts_at": isoformat(state.starts_at) if state.starts_at else None,
            "ends_at": None if state.ends_at is None else isoformat(state.ends_at),
            "silenced_by": list(self.silenced_by),
            "inhibited_by": self.inhibited_by or None,
            "receivers": list(self.receivers),
            "flapping": self.flapping,
        }


class AlertManager:
    """Keeps alerts, groups and silences, and writes each change to the outbox first. Thread-safe."""

    def __init__(self, clock: Clock, config: AlertConfig, outbox: Outbox) -> None:
        self._clock = clock
        self._config = config
        self._outbox = outbox
        self._lock = threading.RLock()
        now = self._now()
        self._written = {key: from_plain(AlertState, body) for key, body in outbox.load(ALERTS).items()}
        self._board = Board(
            {key: _resumed(state, now) for key, state in self._written.items()},
            {key: from_plain(Group, body) for key, body in outbox.load(GROUPS).items()},
            _silences_of(outbox),
        )

    def evaluate(self, alerts: Iterable[Alert]) -> list[Notification]:
        """Take one look: update all alerts with the results of the rules, and queue the notifications.

        An alert that is not among `alerts` keeps its state until `Policy.resolve_timeout_s` has passed.

        Returns:
            The notifications that were put into the outbox.

        Raises:
            StorageFailed: nothing was written, and nothing has changed; the next look decides again.
        """
        with self._lock:
            before = self._board
            after, notifications = decide(before, merged(alerts), self._config, self._now())
            states = {
                key: self._written[key] if key in self._written and _as_written(self._written[key], state) else state
                for key, state in after.states.items()
            }
            self._outbox.commit(
                Change(
                    _difference(self._written, states),
                    _difference(before.groups, after.groups),
                    _difference(before.silences, after.silences),
                    notifications,
                )
            )
            self._board, self._written = after, states
            return list(notifications)

    # --- alerts ----------------------------------------------------------------------------------------------------

    def alerts(self, *, model_id: str | None = None, phase: AlertPhase | None = None) -> list[ListedAlert]:
        """Return pending, firing and recently (1 day) resolved alerts: firing ones first, then by severity and age."""
        with self._lock:
            now, config = self._now(), self._config
            muted = inhibited(self._board.states, config.inhibitions)
            listed = [
                ListedAlert(
                    state,
                    self._board.silenced_by(state.labels, now),
                    muted.get(key, ""),
                    tuple(route.receiver for route in config.routes_of(state.labels)),
                    state.flapping(now),
                )
                for key, state in self._board.states.items()
                if model_id in (None, state.labels.get(MODEL)) and phase in (None, state.phase)
            ]
        return sorted(listed, key=_urgency)

    @verb
    def list_alerts(
        self,
        limit: int = 100,
        cursor: str | None = None,
        *,
        phase: AlertPhase | None = None,
        model_id: str | None = None,
        severity: str | None = None,
    ) -> Page[ListedAlert]:
        """Return a page of `alerts`.

        Args:
            limit: the most alerts on the page.
            cursor: `next_cursor` of the page before; None: the first page.
            phase: only alerts in this phase; None: in any.
            model_id: only alerts of this model; None: of any.
            severity: only alerts of this severity; None: of any.

        Raises:
            BadRequest: the cursor is not from this list, or the alert that it points to is no longer listed.
        """
        found = self.alerts(model_id=model_id, phase=phase)
        chosen = [one for one in found if severity in (None, one.state.severity)]
        return _page(chosen, lambda one: one.state.fingerprint, "alerts", limit, cursor)

    def open(self) -> list[AlertState]:
        """Return the alerts that are pending or firing."""
        with self._lock:
            return [state for state in self._board.states.values() if state.phase is not AlertPhase.RESOLVED]

    def firing(self) -> dict[Severity, int]:
        """Return the number of firing alerts by severity."""
        with self._lock:
            found = [state.severity for state in self._board.states.values() if state.firing]
        return {severity: found.count(severity) for severity in Severity}

    def since(self, model_id: str, version: str) -> dict[str, float]:
        """Return when each active alert of one version became active, in seconds since the epoch, by its name."""
        with self._lock:
            return {
                state.labels[ALERT_NAME]: state.active_since
                for state in self._board.states.values()
                if state.phase is not AlertPhase.RESOLVED
                and (state.labels.get(MODEL), state.labels.get(VERSION)) == (model_id, version)
            }

    # --- silences --------------------------------------------------------------------------------------------------

    @change
    def silence(
        self, matchers: Any, *, author: str, comment: str, duration_s: float, starts_at: float | None = None
    ) -> Silence:
        """Mute alerts for a while. The end of an alert that was sent before is still sent.

        Args:
            matchers: `['model="iris"', 'alertname=~"DataDrift|PredictionDrift"']`; an alert must match all of them.
            author: who makes the silence.
            comment: the reason for it.
            duration_s: how long it lasts in seconds, more than 0 and at most 90 days.
            starts_at: when it starts, seconds since the epoch; None: now.

        Raises:
            InvalidInput: an argument is missing or wrong (the message names it), or there are too many silences.
        """
        with self._lock:
            now = self._now()
            begin = now if starts_at is None else starts_at
            live = sum(one.state(now) is not SilenceState.EXPIRED for one in self._board.silences.values())
            if live >= MOST_SILENCES:
                raise InvalidInput(f"there are {live} silences already: end some that are not needed")
            silence = Silence.create(
                f"sil-{secrets.token_hex(_ID_BYTES)}",
                matchers,
                author=author,
                comment=comment,
                starts_at=begin,
                ends_at=begin + duration_s,
            )
            if silence.state(now) is SilenceState.EXPIRED:
                raise InvalidInput("this silence would already have ended")
            self._keep(silence)
        return silence

    @change
    def expire_silence(self, silence_id: str, by: str) -> Silence:
        """End a silence now.

        Raises:
            NotFound: there is no silence with this id.
        """
        with self._lock:
            silence = self._board.silences.get(silence_id)
            if silence is None:
                raise NotFound(f"there is no silence {silence_id}; `streamb alerts silences` lists the silences")
            ended = silence.expired(self._now(), by)
            self._keep(ended)
        return ended

    def silences(self, state: SilenceState | None = None) -> list[Silence]:
        """Return the silences, those that end last first; expired ones stay on the list for five days."""
        with self._lock:
            now = self._now()
            found = [one for one in self._board.silences.values() if state in (None, one.state(now))]
        return sorted(found, key=lambda one: (-one.ends_at, one.silence_id))

    @verb
    def list_silences(self, limit: int = 100, cursor: str | None = None) -> Page[Silence]:
        """Return a page of at most `limit` `silences`; `cursor` is the `next_cursor` of the page before.

        Raises:
            BadRequest: the cursor is not from this list, or the silence that it points to is no longer listed.
        """
        return _page(self.silences(), lambda one: one.silence_id, "silences", limit, cursor)

    def _keep(self, silence: Silence) -> None:
        """Write the silence; of the expired ones, keep only the newest `MOST_SILENCES`."""
        silences = {**self._board.silences, silence.silence_id: silence}
        over = [one for one in silences.values() if one.state(self._now()) is SilenceState.EXPIRED]
        over.sort(key=lambda one: one.ends_at, reverse=True)
        gone = [one.silence_id for one in over[MOST_SILENCES:]]
        changed = {silence.silence_id: to_plain(silence), **dict.fromkeys(gone)}
        self._outbox.commit(Change(silences=changed, answer=silence))
        silences = {key: one for key, one in silences.items() if key not in gone}
        self._board = replace(self._board, silences=silences)

    def _now(self) -> float:
        return milliseconds(self._clock.now())


def _page(items: Sequence[T], key: Callable[[T], str], name: str, limit: int, cursor: str | None) -> Page[T]:
    """A page of a list that is in memory."""
    begin = 0
    if cursor is not None:
        last = decode_cursor(name, cursor, str)
        places = [place for place, item in enumerate(items) if key(item) == last]
        if not places:
            raise BadRequest("the item that this cursor points to is gone: start again without a cursor")
        begin = places[0] + 1
    shown = tuple(items[begin : begin + limit])
    more = begin + limit < len(items)
    return Page(shown, encode_cursor(name, key(shown[-1])) if more and shown else None)


def _silences_of(outbox: Outbox) -> dict[str, Silence]:
    """The readable silences. An unreadable one mutes nothing, which is better than an error that stops alerting."""
    found: dict[str, Silence] = {}
    for key, body in outbox.load(SILENCES).items():
        try:
            found[key] = from_plain(Silence, {**body, "silence_id": key})
        except (InvalidInput, ValueError) as error:
            _log.error("the silence %s cannot be read, so it mutes nothing: %s", key, error)
    return found


def _as_written(written: AlertState, state: AlertState) -> bool:
    """Whether an alert just keeps firing: its values change at every look, but need not be written each time."""
    same = replace(
        state,
        annotations=written.annotations,
        value=written.value,
        unclear_at=written.unclear_at,
        seen_at=written.seen_at,
    )
    return state.firing and same == written and state.seen_at < written.seen_at + REWRITTEN_S


def _resumed(state: AlertState, now: float) -> AlertState:
    """An alert after a restart. There was no look in the meantime, so that time does not count as calm or unseen."""
    if not state.firing:
        return state
    return replace(state, seen_at=now, unclear_at=state.unclear_at if state.calm else now)


def _difference(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, dict[str, Any] | None]:
    """The entries to write (None: to remove) to get from `before` to `after`."""
    changed: dict[str, dict[str, Any] | None] = {
        key: to_plain(one) for key, one in after.items() if before.get(key) != one
    }
    return changed | dict.fromkeys(before.keys() - after.keys())


def _urgency(listed: ListedAlert) -> tuple[int, int, float]:
    order = (AlertPhase.FIRING, AlertPhase.PENDING, AlertPhase.RESOLVED)
    state = listed.state
    return order.index(state.phase), -state.severity.rank, -(state.starts_at or state.active_since)
