"""Incidents for a child that evaluates, stores and delivers alerts, and is killed (SIGKILL) again and again meanwhile.

The child does what the Monitor does, with the same parts: it looks, writes to the outbox, and its courier posts to two
webhooks, whose receiver answers 429 with Retry-After, 500, a reset or nothing every third time. Time is a script: look
number n is at minute n, and a successor begins with the look that its predecessor had begun. Children are forked from a
process that has imported everything, so that a new life takes milliseconds.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.alert_receiver import PATIENCE_S, Receiver
from streamb.clock import ManualClock
from streamb.monitoring.alerting import Alerting
from streamb.monitoring.alerts.alert import Alert
from streamb.monitoring.alerts.outbox import open_outbox
from streamb.monitoring.channels import open_channels

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
        answers: how often the receiver answered what.
        seconds: how long it all took.
    """

    kills: int
    incidents: int
    heard: dict[str, int]
    wrong: dict[str, list[str]]
    repeated: int
    answers: dict[str, int]
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
    logging.getLogger("streamb").setLevel(logging.ERROR)  # that receivers fail is the script's
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
    look, looks, port = _ask(progress, {"pid": os.getpid()})
    clock = ManualClock(START + look * LOOK_S)
    alerting = Alerting(open_channels(_channels(port), clock=clock), clock, state_dir / "outbox.db", OPTIONS)
    alerting.start()
    for number in range(look, looks):
        _ask(progress, {"look": number})
        alerting.evaluate(alerts_at(number, looks))
        clock.advance(LOOK_S)
    while any(channel.waiting for channel in alerting.courier.states()):
        time.sleep(0.01)
        clock.advance(1.0)
        alerting.courier.wake()
    alerting.close()


def _channels(port: int) -> list[dict[str, Any]]:
    return [
        {"type": "webhook", "name": name, "url": f"http://127.0.0.1:{port}/{name}", "timeout_s": PATIENCE_S}
        | {"allow_private_addresses": True}
        for name in RECEIVERS
    ]


def _connect(address: str) -> Any:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    return connection.makefile("rw")


def _ask(connection: Any, message: dict[str, Any]) -> Any:
    connection.write(json.dumps(message) + "\n")
    connection.flush()
    return json.loads(connection.readline())


# --- what became of it -----------------------------------------------------------------------------------------------


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
    seconds, answers = time.perf_counter() - began, dict(receiver.answers)
    return KillResult(receiver.kills, incidents_within(looks), heard, wrong, repeated, answers, seconds)


def _sorted_out(received: list[dict[str, Any]]) -> tuple[dict[tuple[str, str], list[str]], dict[str, int], int]:
    """What was told of each incident; of how many each receiver heard; and how much came twice.

    That the other channel does not deliver is an incident, too, but none of the script's.
    """
    told: dict[tuple[str, str], list[str]] = defaultdict(list)
    seen: set[str] = set()
    for body in received:
        if body["notificationId"] not in seen and body["groupLabels"]["alertname"] == "HighErrorRate":
            seen.add(body["notificationId"])
            told[body["receiver"], body["dedupKey"]].append(body["status"])
    heard = {name: sum(receiver == name for receiver, _ in told) for name in RECEIVERS}
    return told, heard, len(received) - len({body["notificationId"] for body in received})


if __name__ == "__main__":
    breed(Path(sys.argv[1]), sys.argv[2])
