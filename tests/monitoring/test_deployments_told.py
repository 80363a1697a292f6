"""People are told of deployments through a real channel: each once, also after deaths; and no more of what is gone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from streamb.monitoring.alerts.causes import Happening
from streamb.monitoring.alerts.deployments import DeploymentNews, News
from tests.monitoring.channels.receivers import Receiver, receiver
from tests.monitoring.monitor_house import MODEL, VERSION, MonitorHouse

WAITS = DeploymentNews(
    "dep-1", MODEL, "2.0.0", "awaiting_approval", "observe", 10.0, "not enough evidence: only 7 of 200 requests",
    waiting_for="evidence at 10 %", approval_expires_at=1_700_086_400.0,
)  # fmt: skip
GOES_ON = replace(WAITS, state="progressing", reason="approved", waiting_for="", approval_expires_at=None)
ENDED = replace(GOES_ON, state="rolled_back", weight=0.0, reason="error_rate: 12 % of 200", ended_at=1_700_000_000.0)
BOTH = frozenset({(MODEL, VERSION), (MODEL, "2.0.0")})


@pytest.fixture
def http() -> Iterator[Receiver]:
    with receiver() as one:
        yield one


class Office:
    """A Monitor with one webhook, and a Controller that answers each of its reports, or does not."""

    def __init__(self, folder: Any, http: Receiver, **settings: Any) -> None:
        self.http = http
        url = f"http://127.0.0.1:{http.port}/hook"
        self.house = MonitorHouse(
            folder, alert_channels="webhook", alert_webhook_url=url, alert_allow_private_addresses=True, **settings
        )

    def goes_on(self, seconds: float, *deployments: DeploymentNews, silent: bool = False, **more: Any) -> None:
        for _ in range(round(seconds / 5)):
            if not silent:
                self.house.core.told(News(deployments=deployments, versions=more.get("versions", BOTH)))
            self.house.go_on(5)

    def told(self) -> list[tuple[str, str]]:
        """Deliver what waits; for each alert that was sent, its name and status, in order."""
        self.house.core._alerting.courier.deliver_due()
        return [(one["labels"]["alertname"], one["status"]) for one in self.alerts()]

    def alerts(self) -> list[dict[str, Any]]:
        return [alert for got in self.http.received for alert in json.loads(got.body)["alerts"]]


@pytest.fixture
def office(tmp_path, http) -> Iterator[Office]:
    one = Office(tmp_path, http)
    yield one
    one.house.close()


APPROVAL = "DeploymentNeedsApproval"


def test_an_approval_is_asked_for_once_with_all_that_is_needed_to_give_it_and_ends_when_it_is_given(office):
    office.goes_on(600, WAITS)
    assert office.told() == [(APPROVAL, "firing")]
    (alert,) = office.alerts()
    assert alert["labels"] == {
        "alertname": APPROVAL, "model": MODEL, "version": "2.0.0", "deployment": "dep-1", "cause": "evidence at 10 %",
        "severity": "medium",
    }  # fmt: skip
    said = alert["annotations"]
    assert said["summary"] == "the deployment of iris 2.0.0 needs an approval"
    for part in (WAITS.reason, "by 2023-11-15T22:13:20", "streamb deployments approve dep-1"):
        assert part in said["description"]
    office.goes_on(600, GOES_ON)
    assert office.told()[1:] == [(APPROVAL, "resolved")]
    assert office.alerts()[1]["annotations"]["ended"] == "it is progressing now: approved"


def test_every_gate_of_a_deployment_is_told(office):
    office.goes_on(60, WAITS)
    office.told()
    office.goes_on(600, replace(WAITS, waiting_for="50 %"))  # the Monitor never sees it go on in between
    office.told()
    assert [(one["labels"]["cause"], one["status"]) for one in office.alerts()] == [
        ("evidence at 10 %", "firing"),
        ("50 %", "firing"),
        ("evidence at 10 %", "resolved"),
    ]


def test_the_last_call_is_told_beside_the_first(office):
    office.goes_on(60, WAITS)
    office.goes_on(60, replace(WAITS, expiring=True))
    assert office.told() == [(APPROVAL, "firing"), ("DeploymentExpiring", "firing")]


@pytest.mark.parametrize(("state", "name"), [("rolled_back", "DeploymentRolledBack"), ("failed", "DeploymentFailed")])
def test_an_end_is_told_once_and_is_over_after_half_an_hour(office, state, name):
    ended = replace(ENDED, state=state)
    office.goes_on(1_800, ended)
    assert office.told() == [(name, "firing")]
    assert office.alerts()[0]["annotations"]["description"] == ended.reason
    office.goes_on(600)
    assert office.told() == [(name, "firing"), (name, "resolved")]


def test_a_completion_is_told_only_to_who_wants_it_and_its_end_to_nobody(tmp_path, http):
    completed = replace(ENDED, state="completed")
    office = Office(tmp_path / "default", http)
    office.goes_on(300, completed)
    assert office.told() == []
    assert office.house.firing() == {"DeploymentCompleted"}
    office.house.close()
    options = tmp_path / "alerts.toml"
    options.write_text("""routes = [{receiver = "webhook", matchers = ['alertname="DeploymentCompleted"']}]""")
    office = Office(tmp_path / "routed", http, alert_options_file=options)
    office.goes_on(300, completed)
    office.goes_on(600)
    assert office.told() == [("DeploymentCompleted", "firing")]
    office.house.close()


@pytest.mark.parametrize("kill", [False, True])
def test_what_ended_while_the_monitor_was_down_is_told_and_nothing_twice(office, kill):
    office.goes_on(60, WAITS)
    assert office.told() == [(APPROVAL, "firing")]
    office.house.restart(kill=kill)
    office.goes_on(600, silent=True)  # the Controller does not answer yet: nothing is known
    assert office.told() == [(APPROVAL, "firing")]
    office.goes_on(400, ENDED)
    assert office.told()[1:] == [(APPROVAL, "resolved"), ("DeploymentRolledBack", "firing")]
    office.house.restart(kill=kill)
    office.goes_on(400, ENDED)
    assert len(office.told()) == 3


def test_a_stuck_deployment_is_told_until_it_goes_on(office):
    office.goes_on(60, replace(GOES_ON, stuck="the version has not started for 300 s"))
    assert office.told() == [("DeploymentStuck", "firing")]
    office.goes_on(400, silent=True)
    assert len(office.told()) == 1
    office.goes_on(400, GOES_ON)
    assert office.told()[1:] == [("DeploymentStuck", "resolved")]


def test_that_a_version_was_rolled_back_is_told_although_its_errors_are_critical(office):
    office.house.go_on(60, count=20, failed=100)
    for _ in range(20):
        office.house.core.told(News(deployments=(replace(ENDED, version=VERSION),), versions=BOTH))
        office.house.go_on(5, count=20, failed=100)
    assert {name for name, _ in office.told()} == {"HighErrorRate", "DeploymentRolledBack"}


def test_alerts_of_a_version_end_when_it_is_gone_but_not_while_the_controller_is_silent(office):
    house = office.house
    house.go_on(90, count=20, failed=100)
    assert house.firing() == {"HighErrorRate"}
    office.goes_on(60)
    assert house.firing() == {"HighErrorRate"}, "it is in the table"
    gone = News(
        {MODEL: (Happening(house.clock.now(), "deployment dep-1: rolled back"),)}, (), BOTH - {(MODEL, VERSION)}
    )
    assert house.core.overview()[MODEL]["status"] == "unhealthy"
    house.core.told(gone)
    assert house.core.overview() == {}
    house.go_on(60, pushing=False)
    assert house.firing() == set()
    (alert,) = [one for one in house.alerts() if one["labels"]["alertname"] == "HighErrorRate"]
    assert alert["state"] == "resolved"
    assert alert["annotations"]["ended"] == "version 1.0.0 gets no requests any more: deployment dep-1: rolled back"
    for _ in range(60):
        house.core.told(gone)
        house.go_on(5, pushing=False)
    assert house.firing() == set(), "that no replica of it reports is as it should be"
