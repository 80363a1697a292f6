"""Apprise, for all the services that have no channel of their own."""

from __future__ import annotations

import orjson
import pytest

from streamb.errors import ConfigError
from streamb.monitoring.channels import DeliveryFailed, open_channels
from tests.monitoring.channels.notifications import notification
from tests.monitoring.channels.receivers import Receiver, Reply

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its own imports


def test_it_arrives_with_title_and_kind(http: Receiver):
    one = open_channels([{"type": "apprise", "urls": f"json://127.0.0.1:{http.port}/hunter2"}])[0]
    one.send(notification())
    one.send(notification("resolved"))
    first, second = (orjson.loads(got.body) for got in http.received)
    assert (first["title"], first["type"]) == ("[FIRING:1] HighLatency iris (critical)", "failure")
    assert "petal_length drifted" in first["message"]
    assert second["type"] == "success"
    assert "hunter2" not in repr(one)


def test_a_failure_is_worth_a_retry(http: Receiver, caplog: pytest.LogCaptureFixture):
    http.always = Reply(500, b"")
    one = open_channels([{"type": "apprise", "urls": [f"json://127.0.0.1:{http.port}/hunter2"]}])[0]
    with pytest.raises(DeliveryFailed) as caught:
        one.send(notification())
    assert caught.value.retry
    assert "hunter2" not in str(caught.value) + caplog.text


def test_a_url_that_apprise_does_not_know():
    with pytest.raises(ConfigError) as caught:
        open_channels([{"type": "apprise", "urls": "carrier-pigeon://hunter2"}])
    assert "hunter2" not in str(caught.value)
