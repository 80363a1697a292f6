"""The Monitor's alerts by the settings of the platform: who is told, and when."""

from __future__ import annotations

import pytest

from streamb.errors import InvalidInput
from streamb.monitoring.opening import check_alerting
from streamb.monitoring.watches import TICK_S
from tests.monitoring.monitor_house import MonitorHouse


def test_alerts_are_told_as_the_options_say(tmp_path):
    file = tmp_path / "alerts.toml"
    file.write_text("[severities]\ncritical = 'log'\n[rules.HighErrorRate]\nfor_s = 0\n")
    house = MonitorHouse(tmp_path / "state", alert_options_file=file)
    try:
        house.go_on(TICK_S, count=20, failed=100)
        (alert,) = [one for one in house.alerts() if one["labels"]["alertname"] == "HighErrorRate"]
        assert (alert["state"], alert["severity"], alert["receivers"]) == ("firing", "critical", ["log"])
    finally:
        house.close()
    file.write_text("[severities]\ncritical = 'slack'\n")
    with pytest.raises(InvalidInput, match=r"severities\.critical\[0\] is not a channel; channels: log, not 'slack'"):
        check_alerting(house.settings)


def test_nobody_is_told_without_channels(tmp_path):
    house = MonitorHouse(tmp_path, alert_channels="none")
    try:
        house.go_on(300, count=20, failed=100)
        (alert,) = [one for one in house.alerts() if one["labels"]["alertname"] == "HighErrorRate"]
        assert (alert["state"], alert["receivers"]) == ("firing", [])
        assert house.core._alerting.outbox.queued() == []
    finally:
        house.close()
