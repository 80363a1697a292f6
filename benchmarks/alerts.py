"""Alerts under fire: `python -m benchmarks.alerts`.

1. A process that evaluates, stores and delivers alerts is killed (SIGKILL) at 200 random moments of its incidents'
   lives: before a write, in it, after it, between sending and noting it. Two webhooks record what they are sent, and
   answer 429 with Retry-After, 500, a reset or nothing every third time. Each incident must reach each of them as one
   trigger and one resolve; what comes again under the same id counts once.
2. An input that flaps, with periods from a minute to an hour and a half, for a day: how often is anybody told?
3. How long one look takes while 1,000 alerts fire, with its write to the file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.alert_incidents import OPTIONS, RECEIVERS, START, kill_and_count
from streamb.clock import ManualClock
from streamb.monitoring.alerts.alert import Alert
from streamb.monitoring.alerts.manager import AlertManager
from streamb.monitoring.alerts.options import read_alert_options
from streamb.monitoring.alerts.outbox import open_outbox

MOST_PER_HOUR = 2
PERIODS_S = (60, 120, 300, 600, 1_200, 2_400, 3_600, 5_400)
LOOK_S = 10
_DAY_S = 86_400
_HOUR_S = 3_600


def _alert(number: int, *, active: bool) -> Alert:
    labels = {"alertname": "HighErrorRate", "model": f"model-{number}", "severity": "high"}
    return Alert(labels, {"summary": f"model-{number} fails"}, float(active), active=active, clears=not active)


def killing(kills: int, looks: int, seed: int) -> bool:
    """Part 1; whether it passed."""
    with tempfile.TemporaryDirectory() as folder:
        result = kill_and_count(Path(folder), kills=kills, looks=looks, seed=seed)
    heard = ", ".join(f"{name} heard of {count}" for name, count in result.heard.items())
    print(
        f"{'PASS' if result.passed else 'FAIL'}  {result.kills} kills over {result.incidents} incidents in "
        f"{result.seconds:.0f} s: {heard}; {len(result.wrong)} told wrongly, {result.repeated} notifications came "
        f"again under the same id; answers: {', '.join(f'{n} x {how}' for how, n in sorted(result.answers.items()))}"
    )
    for incident, statuses in result.wrong.items():
        print(f"      {incident}: {', '.join(statuses)}")
    return result.passed


def flapping() -> bool:
    """Part 2; whether it passed."""
    print("\nflapping: active for half of each period, for a day, default options\n")
    print("| period | changes | notifications | most within an hour |\n| --: | --: | --: | --: |")
    well = True
    for period in PERIODS_S:
        clock = ManualClock(START)
        manager = AlertManager(clock, read_alert_options({}, ["log"]), open_outbox(None, clock))
        times = []
        for moment in range(0, _DAY_S, LOOK_S):
            clock.advance(LOOK_S)
            times += [one.created_at for one in manager.evaluate([_alert(0, active=moment % period < period / 2)])]
        most = max((sum(start <= at < start + _HOUR_S for at in times) for start in times), default=0)
        well = well and most <= MOST_PER_HOUR
        print(f"| {period} s | {2 * _DAY_S // period:,} | {len(times)} | {most} |")
    print(f"{'PASS' if well else 'FAIL'}  at most {MOST_PER_HOUR} notifications within any hour")
    return well


def looking(alerts: int = 1_000, looks: int = 20) -> None:
    """Part 3."""
    with tempfile.TemporaryDirectory() as folder:
        clock = ManualClock(START)
        outbox = open_outbox(Path(folder) / "outbox.db", clock)
        manager = AlertManager(clock, read_alert_options(OPTIONS, RECEIVERS), outbox)
        seconds = []
        for _ in range(looks):
            clock.advance(LOOK_S)
            began = time.perf_counter()
            manager.evaluate(_alert(number, active=True) for number in range(alerts))
            seconds.append(time.perf_counter() - began)
        outbox.close()
    seconds.sort()
    median, longest = seconds[looks // 2] * 1e3, seconds[-1] * 1e3
    print(f"\none look at {alerts:,} firing alerts: median {median:.0f} ms, longest {longest:.0f} ms")


def main() -> int:
    """Run all three; 1 when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--looks", type=int, default=500, help="length of the script of incidents")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    well = killing(chosen.kills, chosen.looks, chosen.seed)
    well = flapping() and well
    looking()
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
