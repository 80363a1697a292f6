"""The log: one line for each alert, at a level that fits."""

from __future__ import annotations

import logging

import pytest

from streamb.monitoring.channels.log import LogChannel
from tests.monitoring.channels.notifications import notification


@pytest.mark.parametrize(
    ("severity", "level"), [("low", "INFO"), ("medium", "WARNING"), ("high", "ERROR"), ("critical", "CRITICAL")]
)
def test_levels(caplog: pytest.LogCaptureFixture, severity: str, level: str):
    caplog.set_level(logging.INFO)
    LogChannel().send(notification(severity=severity))
    LogChannel().send(notification("resolved", severity=severity))
    assert [record.levelname for record in caplog.records] == [level, "INFO"]


def test_one_line_for_each_alert(caplog: pytest.LogCaptureFixture):
    LogChannel().send(notification(alerts=22, summary="slow\nCRITICAL forged line"))
    assert len(caplog.records) == 21
    assert not any("\n" in record.getMessage() for record in caplog.records)
    assert "slow CRITICAL forged line; severity: critical, likely cause: the feature" in caplog.records[0].getMessage()
    assert caplog.records[-1].getMessage().endswith("and 2 more")
