"""What some callers can do to a rollout: simulated requests of many, counted and judged as real ones are.

Everybody's requests are counted by the recorders of a gateway, reported each second, and judged by the observation.
"""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from streamb.clock import ManualClock
from streamb.metrics import Outcome, VersionRecorder
from streamb.metrics.callers import MOST_CALLERS
from streamb.metrics.criteria import Verdict, overall
from streamb.metrics.windows import OutcomeWindows
from streamb.rollouts.observation import Observation, Stable
from tests.rollouts.test_observation import canary

OLD, NEW = "1.0.0", "2.0.0"
SHARE = 1000
CALLERS = 100


@dataclass(frozen=True)
class Client:
    """Requests per second, and of each version the chances to fail, to be refused, and how slow answers are."""

    rate: float = 4.0
    errors: tuple[float, float] = (0.02, 0.02)
    refused: tuple[float, float] = (0.0, 0.0)
    times: tuple[float, float] = (1.0, 1.0)
    on_new: float = SHARE / 10_000


HONEST = Client()
BAD = replace(HONEST, errors=(0.02, 0.15))


class Simulated:
    def __init__(self, clients: dict[str, Client], seed: int = 1, **changes) -> None:
        self.clients, self.random = clients, np.random.default_rng(seed)
        self.clock, self.windows = ManualClock(1000.0), OutcomeWindows()
        self.recorders = {version: VersionRecorder("m", version) for version in (OLD, NEW)}
        self.observation = Observation(self.windows, self.clock)
        self.deployment = replace(canary(share=SHARE), observed_since=1000.0, shadow=0, **changes)
        self.seen: list[Verdict] = []
        self.findings = ()
        for name, client in clients.items():  # they are no strangers when the step begins
            self.request(name, client, (1.0, 1.0, 1.0, 0.5))
        self.report()
        self.look()

    def report(self) -> None:
        self.windows.feed("g", self.clock.monotonic(), [one.snapshot() for one in self.recorders.values()])

    def look(self) -> None:
        self.findings = self.observation.look(self.deployment, Stable(OLD), 1.0).findings
        self.seen.append(overall(self.findings))

    def run(self, seconds: int):
        for _ in range(seconds):
            for name, client in self.clients.items():
                for number in self.random.random((self.random.poisson(client.rate), 4)):
                    self.request(name, client, number)
            self.clock.advance(1.0)
            self.report()
            self.look()
        return self

    def request(self, name: str, client: Client, number) -> None:
        new = int(number[0] < client.on_new)
        recorder = self.recorders[NEW if new else OLD]
        seconds = 0.05 * float(np.exp(0.3 * (number[3] - 0.5))) * client.times[new]
        if number[1] < client.refused[new]:
            recorder.failed(Outcome.CLIENT_ERROR, 422, seconds, name)
        elif number[2] < client.errors[new]:
            recorder.failed(Outcome.MODEL_ERROR, 500, seconds, name)
        else:
            recorder.answered(seconds, 1, name)

    def finding(self, criterion: str):
        (found,) = [one for one in self.findings if one.criterion == criterion]
        return found


def crowd(hostile: Client, honest: Client = HONEST, count: int = CALLERS) -> dict[str, Client]:
    """So many callers, of whom every twentieth is hostile."""
    return {f"c{number}": hostile if number % 20 == 0 else honest for number in range(count)}


HOSTILE = {
    "fails on the new version": Client(errors=(0.02, 1.0)),
    "fails on both": Client(errors=(1.0, 1.0)),
    "fails on the new version, and chooses it": Client(rate=20, errors=(0.02, 1.0), on_new=1.0),
    "is refused by the new version": Client(refused=(0.0, 1.0)),
    "is refused by both": Client(refused=(1.0, 1.0)),
    "is slow on the new version": Client(times=(1.0, 20.0), on_new=0.3),
    "floods and fails": Client(rate=50, errors=(1.0, 1.0)),
}


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_five_in_a_hundred_do_not_condemn_a_good_version_nor_hold_it_up(hostile):
    simulated = Simulated(crowd(hostile)).run(40)
    assert Verdict.FAIL not in simulated.seen, simulated.findings
    assert simulated.seen[-1] is Verdict.PASS, simulated.findings


MASKING = {
    "never fails": Client(errors=(0.0, 0.0)),
    "floods the new version and never fails": Client(rate=100, errors=(0.02, 0.0), on_new=1.0),
    "fails on the old version": Client(errors=(1.0, 0.02)),
    "floods the old version and fails": Client(rate=50, errors=(1.0, 0.02), on_new=0.0),
    "fails on both": Client(errors=(1.0, 1.0)),
}


@pytest.mark.parametrize("hostile", MASKING.values(), ids=MASKING)
def test_five_in_a_hundred_do_not_hide_a_bad_version(hostile):
    simulated = Simulated(crowd(hostile, BAD)).run(40)
    assert Verdict.FAIL in simulated.seen, simulated.findings


def test_the_finding_says_who_was_left_out():
    simulated = Simulated(crowd(HOSTILE["fails on the new version"])).run(40)
    detail = simulated.finding("error_rate_against_stable").detail
    assert "5 of 100 callers left out, as they differ from the rest" in detail
    assert "c0" in detail or "c20" in detail


def test_more_than_five_in_a_hundred_that_fail_are_no_outliers():
    clients = {f"c{n}": Client(errors=(0.02, 1.0)) if n % 5 == 0 else HONEST for n in range(CALLERS)}
    assert Verdict.FAIL in Simulated(clients).run(40).seen


def test_one_flooding_caller_among_many_that_chooses_the_version_it_fails_changes_nothing():
    flood = Client(rate=200, errors=(0.02, 1.0), on_new=1.0)
    simulated = Simulated({**crowd(HONEST, count=40), "flood": flood}).run(40)
    assert Verdict.FAIL not in simulated.seen, simulated.findings
    assert simulated.seen[-1] is Verdict.PASS, simulated.findings


def test_the_main_client_that_only_the_new_version_fails_is_not_left_out_but_a_person_is_asked():
    main = Client(rate=400, errors=(0.02, 0.9))
    simulated = Simulated({**crowd(HONEST, count=40), "main": main}).run(40)
    assert simulated.seen[-1] is Verdict.INCONCLUSIVE, simulated.findings
    assert "only with main" in simulated.finding("error_rate_against_stable").detail


def test_a_single_callers_traffic_is_the_evidence_to_the_last_digit():
    for client in (HONEST, BAD):
        one = Simulated({"only": client}, seed=3).run(30)
        nameless = Simulated({}, seed=3)
        nameless.clients = {None: client}
        assert one.findings == nameless.run(30).findings


def test_a_second_caller_with_few_requests_neither_stops_nor_decides_anything():
    for client, verdict in ((replace(HONEST, rate=400), Verdict.PASS), (replace(BAD, rate=400), Verdict.FAIL)):
        simulated = Simulated({"main": client, "curl": Client(rate=0.05, errors=(1.0, 1.0))}).run(40)
        assert simulated.seen[-1] is verdict, simulated.findings


def test_a_caller_weighs_no_more_than_all_others_together():
    simulated = Simulated({"main": replace(HONEST, rate=800), "other": replace(HONEST, rate=200)}).run(40)
    assert 1500 <= simulated.finding("error_rate_against_stable").samples <= 1900, "of 4,000: 800 and as many again"


def test_many_callers_cost_bounded_memory():
    clients = {f"c{number}": replace(HONEST, rate=0.3) for number in range(3 * MOST_CALLERS)}
    simulated = Simulated(clients).run(40)
    assert all(len(one.snapshot().callers) <= MOST_CALLERS for one in simulated.recorders.values())
    total = simulated.windows.total("m", OLD)
    assert len(total.callers) <= MOST_CALLERS
    assert sum(tally.get("ok", 0) for tally in total.callers.values()) == total.ok
