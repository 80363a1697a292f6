"""What every alert channel must do, with a real receiver at its other end: deliver, say what failed, tell no secret."""

from __future__ import annotations

import logging
import pickle
import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from streamb.clock import ManualClock
from streamb.monitoring.channels import AlertChannel, DeliveryFailed, open_channels, severities_of
from streamb.monitoring.channels.channel import ALL_SEVERITIES
from streamb.monitoring.channels.options import PostingOptions, Secret, channel_types
from tests.monitoring.channels.notifications import START, notification
from tests.monitoring.channels.receivers import (
    MailReceiver,
    Receiver,
    Reply,
    mail_receiver,
    receiver,
    self_made_certificate,
)

_MAYBE = (Secret | None, SecretStr | None)


@dataclass
class End:
    """A channel and the receiver that it sends to (the log has none)."""

    channel: AlertChannel
    receiver: Receiver | MailReceiver | None

    def got(self) -> int:
        if isinstance(self.receiver, Receiver):
            return len(self.receiver.received)
        assert isinstance(self.receiver, MailReceiver)
        return len(self.receiver.mails)

    def trouble(self) -> None:
        """From now on it has some, for a while."""
        if isinstance(self.receiver, Receiver):
            self.receiver.always = Reply(503, b"not now, hunter2")
        elif self.receiver is not None:
            self.receiver.replies["MAIL"] = "451 not now, hunter2"


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ssl.SSLContext]:
    return self_made_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=list(channel_types()))
def end(request: pytest.FixtureRequest, tls: tuple[Path, ssl.SSLContext]) -> Iterator[End]:
    kind, clock = request.param, ManualClock(START)
    if kind == "log":
        yield End(open_channels(["log"], clock=clock)[0], None)
    elif kind == "email":
        with mail_receiver(tls[1]) as mailbox:
            url = f"smtp+starttls://ml:hunter2%20%26%20co@localhost:{mailbox.port}"
            spec = {"type": kind, "smtp_url": url, "from": "ml@example.com", "to": "a@example.com", "ca_file": tls[0]}
            yield End(open_channels([spec], clock=clock)[0], mailbox)
    else:
        with receiver() as http:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "'imghdr' is deprecated")  # imported by Apprise
                channel = open_channels([_spec(kind, f"127.0.0.1:{http.port}/hunter2")], clock=clock)[0]
            yield End(channel, http)


def _spec(kind: str, place: str) -> dict[str, Any]:
    """Every secret option of a type that posts: an address leads to `place`, anything else is a text."""
    options = channel_types()[kind]
    if kind == "apprise":
        return {"type": kind, "urls": f"json://{place}"}
    assert issubclass(options, PostingOptions), f"this contract has no receiver yet for channels such as {kind}"
    secrets = [name for name, field in options.model_fields.items() if field.annotation in (Secret, SecretStr, *_MAYBE)]
    values = {name: f"http://{place}" if name.endswith(("url", "endpoint")) else "hunter2" * 4 for name in secrets}
    return {"type": kind, "allow_private_addresses": True, **values}


class TestAlertChannel:
    def test_it_delivers_what_fires_and_what_is_over(self, end: End, caplog: pytest.LogCaptureFixture):
        caplog.set_level(logging.INFO)
        end.channel.send(notification())
        end.channel.send(notification("resolved"))
        assert (len(caplog.records) if end.receiver is None else end.got()) == 2

    def test_it_delivers_strange_texts_and_many_alerts(self, end: End):
        strange = "Größe 数据 🔥 <b>&amp;</b> *_`|\r\nBcc: x@example.com\t\x85 %s {0} " + "x" * 5_000
        end.channel.send(
            notification(alerts=120, summary=strange, description=strange, labels={"feature": strange[:300], "": ""})
        )
        assert end.receiver is None or end.got() == 1

    def test_it_delivers_one_without_alerts_and_annotations(self, end: End):
        end.channel.send(notification(alerts=0, summary="", likely_cause="", runbook=""))
        assert end.receiver is None or end.got() == 1

    def test_trouble_is_worth_a_retry_and_repeats_no_secret(self, end: End, caplog: pytest.LogCaptureFixture):
        if end.receiver is None:
            pytest.skip("the log has no receiver")
        end.trouble()
        with pytest.raises(DeliveryFailed) as caught:
            end.channel.send(notification())
        assert caught.value.retry
        shown = f"{caught.value} {caught.value!r} {caught.value.details} {caplog.text}"
        assert "hunter2" not in shown.replace("not now, hunter2", "")  # what a stranger says is not our secret
        copy = pickle.loads(pickle.dumps(caught.value))
        assert (str(copy), copy.retry) == (str(caught.value), True)

    def test_it_has_a_name_severities_and_no_secret_in_its_repr(self, end: End):
        assert end.channel.name
        assert severities_of(end.channel) <= ALL_SEVERITIES
        assert "hunter2" not in repr(end.channel) + str(end.channel)
