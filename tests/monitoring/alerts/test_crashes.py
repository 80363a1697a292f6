"""The process may die at every write and at every send: receivers still hear of each incident once, to its end."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any

import pytest

from benchmarks.alert_incidents import kill_and_count
from streamb.clock import ManualClock
from streamb.monitoring.alerts.manager import AlertManager
from streamb.monitoring.alerts.notification import Notification
from streamb.monitoring.alerts.options import read_alert_options
from streamb.monitoring.alerts.outbox import Outbox
from streamb.store import Database
from tests.monitoring.alerts.incidents import START, alert, by_incident
from tests.store.memory import memory_database

LIFE = ["clear", "active", "active", "active", "clear", "active", "clear", "clear", "clear", "clear"]
OPTIONS = {
    "group_wait_s": 10,
    "group_interval_s": 20,
    "rules": {"HighErrorRate": {"for_s": 10, "keep_firing_s": 0, "calm_looks": 2}},
}


class Died(BaseException):
    """The process was killed here."""


class Fuse:
    """Counts the moments at which a process can die, and lets it die at one of them."""

    def __init__(self, burns_for: int) -> None:
        self.left = burns_for
        self.moments = 0

    def burn(self) -> None:
        self.moments += 1
        self.left -= 1
        if self.left == 0:
            raise Died


class MortalRecords:
    """Dies before a write, in the middle of a batch, and after a batch."""

    def __init__(self, records: Any, fuse: Fuse) -> None:
        self._records, self._fuse = records, fuse

    @contextmanager
    def batch(self):
        self._fuse.burn()
        with self._records.batch():
            yield
            self._fuse.burn()
        self._fuse.burn()

    def put(self, *args, **kwargs):
        self._fuse.burn()
        return self._records.put(*args, **kwargs)

    def delete(self, *args, **kwargs):
        self._fuse.burn()
        return self._records.delete(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(self._records, name)


def live(burns_for: int) -> tuple[list[Notification], int]:
    """The script, with one death on the way: what receivers got, and how many moments there were to die at."""
    clock, fuse = ManualClock(START), Fuse(burns_for)
    database = memory_database(clock)
    received: list[Notification] = []
    look = 0

    def go_on() -> None:
        nonlocal look
        outbox = Outbox(Database(MortalRecords(database.records, fuse), database.journal), clock)
        manager = AlertManager(clock, read_alert_options(OPTIONS, ["log", "slack"]), outbox)
        while look < len(LIFE):
            clock.advance(max(0.0, START + 10 * look - clock.now()))
            manager.evaluate([alert(LIFE[look])])
            while claimed := outbox.claim():
                fuse.burn()
                received.append(claimed[0].notification)
                fuse.burn()
                outbox.delivered(claimed[0].notification.notification_id)
            look += 1

    try:
        go_on()
    except Died:
        clock.advance(3)  # the successor looks a little later, and must not make another incident of the same
        go_on()
    return received, fuse.moments


def test_at_every_moment_at_which_it_can_die():
    whole, moments = live(10**9)
    assert moments > 60
    assert len(whole) == 4
    for moment in range(1, moments + 1):
        received, _ = live(moment)
        told = by_incident(received)
        assert len(told) == 2, moment
        assert all(statuses == ["firing", "resolved"] for statuses in told.values()), moment
        assert len(received) <= 5, moment


@pytest.mark.fault
def test_killed_for_good_twenty_times(tmp_path):
    result = kill_and_count(tmp_path, kills=20, looks=85, seed=7, timeout_s=120)
    assert result.kills == 20
    assert result.passed, result
