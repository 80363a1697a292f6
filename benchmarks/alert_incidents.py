"""Incidents for a child that evaluates, stores and delivers alerts, and is killed (SIGKILL) again and again meanwhile.

The child lives as the Monitor does: one thread looks and writes to the outbox, another delivers from it. Time is a
script: look number n is at minute n, and a successor begins with the look that its predecessor had begun. Children are
forked from a process that has imported everything, so that a new life takes milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamb.clock import ManualClock
from streamb.monitoring.alerts.alert import Alert
from streamb.monitoring.alerts.manager import AlertManager
from streamb.monitoring.alerts.options import read_alert_options
from streamb.monitoring.alerts.outbox import Outbox, open_outbox

RECEIVERS = ("pagerduty", "slack")
MODELS = 5
PERIOD = 70
"""Looks from one incident of a model to its next; more than an hour, so that none counts as flapping."""
ACTIVE = 20
ENDING = 10
"""Looks that are left after an incident, to tell its end."""
LOOK_S = 60.0
START = 1_700_000_000.0
OPTIONS = {
    "group_wait_s": 60,
    "group_interval_s": 120,
    "rules": {"HighErrorRate": {"for_s": 60, "keep_firing_s": 120, "calm_looks": 2}},
}


@dataclass(frozen=True, slots=True)
class KillResult:
    """What the receivers heard.

    Attributes:
        kills: how often the child was killed.
        incidents: how many there were, for each receiver.
        heard: how many each receiver heard of, by its name.
        wrong: what was told of incidents that were not told as one trigger and one resolve.
        repeated: notifications that came a second time under the same id.
        seconds: how long it all took.
    """

    kills: int
    incidents: int
    heard: dict[str, int]
    wrong: dict[str, list[str]]
    repeated: int
    seconds: float

    @property
    def passed(self) -> bool:
        """Every incident once, from its beginning to its end, at every receiver."""
        return not self.wrong and all(count == self.incidents for count in self.heard.values())


def alerts_at(look: int, looks: int) -> list[Alert]:
    """What the rules say at a look: every model has incidents at times of its own, and all end within the script."""
    return [_alert(f"model-{number}", look, number * PERIOD // MODELS, looks) for number in range(MODELS)]


def _alert(model: str, look: int, offset: int, looks: int) -> Alert:
    left = PERIOD - (look + offset) % PERIOD  # looks until the incident of this period ends
    active = left <= ACTIVE and look + left + ENDING <= looks
    labels = {"alertname": "HighErrorRate", "model": model, "severity": "high"}
    return Alert(labels, {"summary": f"{model} fails"}, 1.0 if active else 0.0, active=active, clears=not active)


def incidents_within(looks: int) -> int:
    """How many incidents the script has."""
    begun = sum(
        one.active and not before.active
        for look in range(1, looks)
        for before, one in zip(alerts_at(look - 1, looks), alerts_at(look, looks), strict=True)
    )
    return begun + sum(one.active for one in alerts_at(0, looks))


# --- the child -------------------------------------------------------------------------------------------------------


def breed(state_dir: Path, address: str) -> None:
    """Fork children until one lives to its end."""
    with contextlib.closing(open_outbox(state_dir / "outbox.db", ManualClock())):
        pass  # made and migrated; and whatever opening one imports is imported
    while True:
        pid = os.fork()
        if not pid:
            _live(state_dir, address)
            os._exit(0)
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status):
            sys.exit(os.WEXITSTATUS(status))


def _live(state_dir: Path, address: str) -> None:
    progress = _connect(address)
    look, looks = _ask(progress, {"pid": os.getpid()})
    clock = ManualClock(START + look * LOOK_S)
    outbox = open_outbox(state_dir / "outbox.db", clock)
    manager = AlertManager(clock, read_alert_options(OPTIONS, RECEIVERS), outbox)
    over = threading.Event()
    courier = threading.Thread(target=_deliver, args=(outbox, address, over))
    courier.start()
    for number in range(look, looks):
        _ask(progress, {"look": number})
        manager.evaluate(alerts_at(number, looks))
        clock.advance(LOOK_S)
    over.set()
    courier.join()


def _deliver(outbox: Outbox, address: str, over: threading.Event) -> None:
    connection = _connect(address)
    while True:
        ending = over.is_set()
        for queued in outbox.claim(limit=10):
            _ask(connection, {"notification": queued.notification.to_json()})
            outbox.delivered(queued.notification.notification_id)
        if ending and not outbox.queued():
            return
        over.wait(0.001)


def _connect(address: str) -> Any:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    return connection.makefile("rw")


def _ask(connection: Any, message: dict[str, Any]) -> Any:
    connection.write(json.dumps(message) + "\n")
    connection.flush()
    return json.loads(connection.readline())


# --- the receiver, which also kills ----------------------------------------------------------------------------------


class Receiver:
    """Records what it is sent, and kills the sender at random moments: before it answers, or a little after."""

    def __init__(self, address: str, *, looks: int, kills: int, seed: int) -> None:
        self.looks, self.kills_left, self.kills = looks, kills, 0
        self.received: list[dict[str, Any]] = []
        self._random = random.Random(seed)
        self._gap = max(1, 2 * looks // max(kills, 1))
        self._pid, self._look, self._messages = 0, 0, self._random.randint(1, self._gap)
        self._lock = threading.Lock()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(address)
        self._server.listen(64)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._server.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._listen, args=(connection,), daemon=True).start()

    def _listen(self, connection: socket.socket) -> None:
        pid = 0
        with connection, connection.makefile("rw") as lines, contextlib.suppress(OSError, ValueError):
            for line in lines:
                message = json.loads(line)
                pid, answer, fatal = self._take(message, pid)
                if fatal and self._random.random() < 0.3:
                    os.kill(fatal, signal.SIGKILL)
                lines.write(json.dumps(answer) + "\n")
                lines.flush()
                if fatal:
                    time.sleep(self._random.random() * 0.006)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(fatal, signal.SIGKILL)

    def _take(self, message: dict[str, Any], pid: int) -> tuple[int, Any, int]:
        """What to answer, and whom to kill (0: nobody)."""
        with self._lock:
            if "pid" in message:
                self._pid = message["pid"]
                return self._pid, [self._look, self.looks], 0
            if "look" in message:
                self._look = message["look"]
            else:
                self.received.append(message["notification"])
            self._messages -= 1
            if self._messages > 0 or not self.kills_left:
                return pid, True, 0
            self._messages = self._random.randint(1, self._gap)
            self.kills_left -= 1
            self.kills += 1
            victim, self._pid = self._pid, 0
            return pid, True, victim


def kill_and_count(folder: Path, *, kills: int, looks: int, seed: int, timeout_s: float = 600.0) -> KillResult:
    """Run the script of incidents to its end while killing whoever runs it; and count what was told."""
    address = str(folder / "receiver.sock")
    receiver = Receiver(address, looks=looks, kills=kills, seed=seed)
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.alert_incidents", str(folder), address]
    try:
        subprocess.run(command, check=True, timeout=timeout_s)
    finally:
        receiver.close()
    told, heard, repeated = _sorted_out(receiver.received)
    wrong = {f"{name} {key}": one for (name, key), one in told.items() if one != ["firing", "resolved"]}
    return KillResult(receiver.kills, incidents_within(looks), heard, wrong, repeated, time.perf_counter() - began)


def _sorted_out(received: list[dict[str, Any]]) -> tuple[dict[tuple[str, str], list[str]], dict[str, int], int]:
    """What was told of each incident; of how many each receiver heard; and how much came twice."""
    told: dict[tuple[str, str], list[str]] = defaultdict(list)
    seen: set[str] = set()
    for body in received:
        if body["notificationId"] not in seen:
            seen.add(body["notificationId"])
            told[body["receiver"], body["dedupKey"]].append(body["status"])
    heard = {name: sum(receiver == name for receiver, _ in told) for name in RECEIVERS}
    return told, heard, len(received) - len(seen)


if __name__ == "__main__":
    breed(Path(sys.argv[1]), sys.argv[2])
