"""What earlier releases wrote to the outbox's file is still read."""

from __future__ import annotations

import pytest

from streamb.clock import ManualClock
from streamb.monitoring.alerts.alert import Severity
from streamb.monitoring.alerts.grouping import Group, Told
from streamb.monitoring.alerts.manager import AlertManager
from streamb.monitoring.alerts.matchers import Matcher, Operator
from streamb.monitoring.alerts.options import read_alert_options
from streamb.monitoring.alerts.outbox import ALERTS, GROUPS, HISTORY, QUEUE, SILENCES, Outbox
from streamb.monitoring.alerts.state import AlertPhase, AlertState
from streamb.store import memory_database
from streamb.store.plain import from_plain, to_plain

LABELS = {"alertname": "HighErrorRate", "model": "iris", "version": "1.0.0", "severity": "high"}
STATE = {
    "labels": LABELS,
    "annotations": {"summary": "many errors"},
    "phase": "firing",
    "value": 0.5,
    "active_since": 100.0,
    "starts_at": 110.0,
    "ends_at": None,
    "unclear_at": 120.0,
    "calm": 0,
    "seen_at": 120.0,
    "firings": [110.0],
}
GROUP = {
    "receiver": "log",
    "key": "iris",
    "labels": {"model": "iris"},
    "waiting_since": None,
    "told_at": 115.0,
    "dedup_key": "d",
    "sequence": 1,
    "told": {"f": [True, "high", STATE, [115.0]]},
}
SILENCE = {
    "matchers": ['model="iris"', 'version=~"1.*"'],
    "author": "ana",
    "comment": "known",
    "starts_at": 0.0,
    "ends_at": 1e6,
    "expired_by": "",
}
BODY = {
    "version": "4",
    "groupKey": "iris",
    "truncatedAlerts": 0,
    "status": "firing",
    "receiver": "log",
    "groupLabels": {"model": "iris"},
    "commonLabels": LABELS,
    "commonAnnotations": {},
    "externalURL": "",
    "alerts": [],
    "notificationId": "n-1",
    "dedupKey": "d",
    "createdAt": "1970-01-01T00:01:55.000Z",
}


def test_states_and_groups_are_written_as_they_were():
    state, group = from_plain(AlertState, STATE), from_plain(Group, GROUP)
    assert state.phase is AlertPhase.FIRING
    assert group.told == {"f": Told(True, Severity.HIGH, state, (115.0,))}
    assert (to_plain(state), to_plain(group)) == (STATE, GROUP)


@pytest.fixture
def outbox():
    database = memory_database(ManualClock(start=200.0))
    database.records.put(ALERTS, "f", STATE)
    database.records.put(GROUPS, "g", GROUP)
    database.records.put(SILENCES, "sil-1", SILENCE)
    database.records.put(SILENCES, "sil-damaged", {**SILENCE, "matchers": ["no matcher"]})
    database.records.put(SILENCES, "sil-cut", {"matchers": ['model="iris"']})
    waiting = {"notification": BODY, "attempts": 2, "retry_at": 130.0, "last_error": "timed out"}
    database.records.put(QUEUE, "000000000000007", waiting)
    past = {"notification": BODY, "outcome": "delivered", "at": 116.0, "attempts": 1, "reason": ""}
    database.records.put(HISTORY, "000000000116000-n-0", past)
    return Outbox(database, ManualClock(start=200.0))


def test_a_file_of_an_earlier_release_is_read(outbox):
    (queued,) = outbox.queued()
    assert (queued.position, queued.attempts, queued.last_error) == (7, 2, "timed out")
    assert outbox.latest()["log"].notification == queued.notification
    assert queued.notification.to_json() == BODY
    manager = AlertManager(ManualClock(start=200.0), read_alert_options({}, ["log"]), outbox)
    assert [one.state.labels for one in manager.alerts()] == [LABELS]


def test_silences_that_cannot_be_read_mute_nothing_and_the_others_do(outbox):
    manager = AlertManager(ManualClock(start=200.0), read_alert_options({}, ["log"]), outbox)
    (silence,) = manager.silences()
    assert silence.silence_id == "sil-1"
    assert silence.matchers == (Matcher("model", Operator.EQUAL, "iris"), Matcher("version", Operator.MATCHES, "1.*"))
    assert silence.to_json(200.0)["matchers"] == SILENCE["matchers"]
