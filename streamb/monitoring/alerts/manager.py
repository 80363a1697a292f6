"""The alert manager: takes what rules say at each look, and decides who is told of what. Nothing here sends.

Every look is one decision and one write: what the alerts and groups have become, and the notifications that follow,
in one transaction of the outbox. Where the process dies before it, the successor decides the same again from what was
there before; where it dies after it, the notifications are in the outbox.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from streamb.asking import verb
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
"""How old the numbers of an alert that just goes on firing may be in the file."""
_ID_BYTES: Final = 6
_log = logging.getLogger(__name__)


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ListedAlert:
    """An alert as a list shows it.

    Attributes:
        state: what it is and since when.
        silenced_by: the silences that mute it now.
        inhibited_by: the fingerprint of the alert that mutes it; "" when none does.
        receivers: who is told of it.
        flapping: it fired again and again lately.
    """

    state: AlertState
    silenced_by: tuple[str, ...]
    inhibited_by: str
    receivers: tuple[str, ...]
    flapping: bool

    def to_json(self) -> dict[str, Any]:
        """JSON-ready, times in ISO 8601."""
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
    """Alerts, groups and silences, as they were when last written. Thread-safe."""

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
        """One look: everything that rules say now.

        Alerts that are not among these stay as they are, for a while (`Policy.resolve_timeout_s`).

        Returns:
            The notifications that were put into the outbox.

        Raises:
            StorageFailed: nothing was written, and nothing has changed: the next look decides again.
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
        """What is pending, firing, or was resolved within a day: what fires first, then the worst, then the newest."""
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
        """A page of `alerts`; None in a filter: all of them.

        Raises:
            BadRequest: the cursor is not one of this list, or the alert where it stood is gone.
        """
        found = self.alerts(model_id=model_id, phase=phase)
        chosen = [one for one in found if severity in (None, one.state.severity)]
        return _page(chosen, lambda one: one.state.fingerprint, "alerts", limit, cursor)

    def firing(self) -> dict[Severity, int]:
        """How many alerts fire, by severity."""
        with self._lock:
            found = [state.severity for state in self._board.states.values() if state.firing]
        return {severity: found.count(severity) for severity in Severity}

    def since(self, model_id: str, version: str) -> dict[str, float]:
        """Since when each alert of one version is active, seconds since the epoch, by the alert's name."""
        with self._lock:
            return {
                state.labels[ALERT_NAME]: state.active_since
                for state in self._board.states.values()
                if state.phase is not AlertPhase.RESOLVED
                and (state.labels.get(MODEL), state.labels.get(VERSION)) == (model_id, version)
            }

    # --- silences --------------------------------------------------------------------------------------------------

    @verb
    def silence(
        self, matchers: Any, *, author: str, comment: str, duration_s: float, starts_at: float | None = None
    ) -> Silence:
        """Mute alerts for a while. What was told to fire before is still told to be over.

        Args:
            matchers: `['model="iris"', 'alertname=~"DataDrift|PredictionDrift"']`; an alert must match all of them.
            author: who says so.
            comment: why.
            duration_s: for how long, more than 0 seconds and at most 90 days.
            starts_at: from when, seconds since the epoch; None: from now.

        Raises:
            InvalidInput: says what is missing or wrong; or there are too many silences.
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

    @verb
    def expire_silence(self, silence_id: str, by: str) -> Silence:
        """End a silence now.

        Raises:
            NotFound: there is none of this id.
        """
        with self._lock:
            silence = self._board.silences.get(silence_id)
            if silence is None:
                raise NotFound(f"no silence {silence_id}; `streamb alerts silences` shows those there are")
            ended = silence.expired(self._now(), by)
            self._keep(ended)
        return ended

    def silences(self, state: SilenceState | None = None) -> list[Silence]:
        """Silences, those that end last first; those that are over stay on the list for five days."""
        with self._lock:
            now = self._now()
            found = [one for one in self._board.silences.values() if state in (None, one.state(now))]
        return sorted(found, key=lambda one: (-one.ends_at, one.silence_id))

    @verb
    def list_silences(self, limit: int = 100, cursor: str | None = None) -> Page[Silence]:
        """A page of `silences`.

        Raises:
            BadRequest: the cursor is not one of this list, or the silence where it stood is gone.
        """
        return _page(self.silences(), lambda one: one.silence_id, "silences", limit, cursor)

    def _keep(self, silence: Silence) -> None:
        """Write it; of those that are over, only the newest stay on the list."""
        silences = {**self._board.silences, silence.silence_id: silence}
        over = [one for one in silences.values() if one.state(self._now()) is SilenceState.EXPIRED]
        over.sort(key=lambda one: one.ends_at, reverse=True)
        gone = [one.silence_id for one in over[MOST_SILENCES:]]
        self._outbox.commit(Change(silences={silence.silence_id: to_plain(silence), **dict.fromkeys(gone)}))
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
            raise BadRequest("the list has changed where this cursor stood: start again without a cursor")
        begin = places[0] + 1
    shown = tuple(items[begin : begin + limit])
    more = begin + limit < len(items)
    return Page(shown, encode_cursor(name, key(shown[-1])) if more and shown else None)


def _silences_of(outbox: Outbox) -> dict[str, Silence]:
    """Those that can be read. Without the others too much is told; with an error for all of them nothing would be."""
    found: dict[str, Silence] = {}
    for key, body in outbox.load(SILENCES).items():
        try:
            found[key] = from_plain(Silence, {**body, "silence_id": key})
        except (InvalidInput, ValueError) as error:
            _log.error("the silence %s mutes nothing any more: %s", key, error)
    return found


def _as_written(written: AlertState, state: AlertState) -> bool:
    """Whether an alert just goes on firing: its numbers change at every look, and are not worth a write each time."""
    same = replace(
        state,
        annotations=written.annotations,
        value=written.value,
        unclear_at=written.unclear_at,
        seen_at=written.seen_at,
    )
    return state.firing and same == written and state.seen_at < written.seen_at + REWRITTEN_S


def _resumed(state: AlertState, now: float) -> AlertState:
    """An alert after a restart. While nothing ran nobody looked, so nothing that fires has been calm or gone since."""
    if not state.firing:
        return state
    return replace(state, seen_at=now, unclear_at=state.unclear_at if state.calm else now)


def _difference(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, dict[str, Any] | None]:
    """What must be written to get from one to the other."""
    changed: dict[str, dict[str, Any] | None] = {
        key: to_plain(one) for key, one in after.items() if before.get(key) != one
    }
    return changed | dict.fromkeys(before.keys() - after.keys())


def _urgency(listed: ListedAlert) -> tuple[int, int, float]:
    order = (AlertPhase.FIRING, AlertPhase.PENDING, AlertPhase.RESOLVED)
    state = listed.state
    return order.index(state.phase), -state.severity.rank, -(state.starts_at or state.active_since)
