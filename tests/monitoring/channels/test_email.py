"""Mail: encrypted, threaded, in two forms; and what a mail server's answers mean."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest
from pydantic import SecretStr

from streamb.clock import ManualClock
from streamb.errors import ConfigError
from streamb.monitoring.channels import AlertChannel, DeliveryFailed, open_channels
from streamb.monitoring.channels.email import MailServer
from tests.monitoring.channels.notifications import START, notification
from tests.monitoring.channels.receivers import HANG, MailReceiver, mail_receiver

USER = "ml:hunter2%20%26%20co@"


def channel(
    mailbox: MailReceiver, ca: Path | None, scheme: str = "smtp+starttls", user: str = USER, **options
) -> AlertChannel:
    spec = {
        "type": "email",
        "smtp_url": f"{scheme}://{user}localhost:{mailbox.port}",
        "from": "streamb <ml@example.com>",
        "to": "one@example.com, two@example.com",
        "ca_file": ca,
        **options,
    }
    return open_channels([spec], clock=ManualClock(START))[0]


def failure(one: AlertChannel) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        one.send(notification())
    assert "hunter2" not in str(caught.value)
    return caught.value


class TestMail:
    def test_starttls_with_a_login(self, mailbox: MailReceiver, certificate: tuple[Path, ssl.SSLContext]):
        channel(mailbox, certificate[0]).send(notification())
        assert mailbox.encrypted == [True]
        assert mailbox.logins == [(mailbox.user, mailbox.password)]
        assert mailbox.envelopes == [("ml@example.com", ["one@example.com", "two@example.com"])]
        assert mailbox.commands.index("STARTTLS") < mailbox.commands.index("AUTH")

    def test_a_name_in_other_letters_needs_no_special_server(self):
        with mail_receiver() as mailbox:
            mailbox.offers.remove("SMTPUTF8")
            names = {"from": "Überwachung <ml@example.com>", "to": ["Jörg <one@example.com>"]}
            channel(mailbox, None, "smtp", user="", **names).send(notification())
            assert mailbox.envelopes == [("ml@example.com", ["one@example.com"])]
            assert mailbox.mails[0]["To"] == "Jörg <one@example.com>"

    def test_tls_from_the_start(self, certificate: tuple[Path, ssl.SSLContext]):
        with mail_receiver(certificate[1], at_once=True) as mailbox:
            channel(mailbox, certificate[0], "smtps").send(notification())
            assert mailbox.encrypted == [True]

    def test_in_clear_and_without_a_login(self):
        with mail_receiver() as mailbox:
            channel(mailbox, None, "smtp", user="").send(notification())
            assert (mailbox.encrypted, mailbox.logins) == ([False], [])

    def test_both_forms_say_what_happened(self, mailbox: MailReceiver, certificate: tuple[Path, ssl.SSLContext]):
        channel(mailbox, certificate[0]).send(notification(likely_cause="<b>größer</b>"))
        mail = mailbox.mails[0]
        assert mail["Subject"] == "[FIRING:1] HighLatency iris (critical)"
        assert (mail["From"], mail["To"]) == ("streamb <ml@example.com>", "one@example.com, two@example.com")
        assert mail["Auto-Submitted"] == "auto-generated"
        text, html = mail.get_body(("plain",)).get_content(), mail.get_body(("html",)).get_content()
        assert "likely cause: <b>größer</b>" in text
        assert "&lt;b&gt;größer&lt;/b&gt;" in html
        assert '<a href="https://example.com/runbooks/high-latency">' in html

    def test_one_thread_for_each_incident(self, mailbox: MailReceiver, certificate: tuple[Path, ssl.SSLContext]):
        one = channel(mailbox, certificate[0])
        for news in (notification(), notification(), notification("resolved"), notification(incident="other")):
            one.send(news)
        first, again, resolved, other = mailbox.mails
        assert first["Message-ID"] == again["Message-ID"] != resolved["Message-ID"]
        assert first["In-Reply-To"] == first["References"] == resolved["In-Reply-To"] != other["In-Reply-To"]
        assert first["Message-ID"].endswith("@example.com>")

    def test_a_name_with_line_breaks_adds_no_header(
        self, mailbox: MailReceiver, certificate: tuple[Path, ssl.SSLContext]
    ):
        news = notification(summary="x\r\nBcc: evil@example.com")
        channel(mailbox, certificate[0]).send(news)
        assert mailbox.mails[0]["Bcc"] is None


class TestTrouble:
    @pytest.mark.parametrize(
        ("command", "reply", "retry"),
        [
            ("MAIL", "451 later", True),
            ("MAIL", "550 never", False),
            ("DATA", "452 full", True),
            ("DATA", "554 spam", False),
            ("RCPT", "450 greylisted", True),
            ("RCPT", "550 nobody", False),
            ("AUTH", "454 not now", True),
            ("AUTH", "535 no hunter2 & co", False),
        ],
    )
    def test_answers(self, mailbox: MailReceiver, certificate, command: str, reply: str, retry: bool):
        mailbox.replies[command] = reply
        caught = failure(channel(mailbox, certificate[0]))
        assert caught.retry is retry
        assert reply[:3] in str(caught)

    def test_some_recipients_are_enough(self, mailbox: MailReceiver, certificate, caplog: pytest.LogCaptureFixture):
        channel(mailbox, certificate[0], to=["gone@example.com", "two@example.com"]).send(notification())
        assert mailbox.envelopes[0][1] == ["two@example.com"]
        assert "refused gone@example.com" in caplog.text

    def test_no_encryption_offered_means_no_mail_and_no_password(self, certificate):
        with mail_receiver() as mailbox:
            caught = failure(channel(mailbox, certificate[0]))
            assert (caught.retry, mailbox.mails, mailbox.logins) == (False, [], [])

    def test_a_certificate_that_nobody_trusts(self, mailbox: MailReceiver):
        assert "certificate of localhost is not trusted" in str(failure(channel(mailbox, None)))
        assert mailbox.logins == []

    @pytest.mark.parametrize("where", ["banner", "MAIL"])
    def test_a_server_that_hangs(self, mailbox: MailReceiver, certificate, where: str):
        if where == "banner":
            mailbox.banner = None
        else:
            mailbox.replies[where] = HANG
        caught = failure(channel(mailbox, certificate[0], timeout_s=0.3))
        assert "did not accept the email within 0.3 s" in str(caught)
        assert caught.retry

    def test_a_bad_farewell_does_not_send_it_again(self, mailbox: MailReceiver, certificate):
        mailbox.replies["QUIT"] = "500 what?"
        channel(mailbox, certificate[0]).send(notification())
        assert len(mailbox.mails) == 1

    def test_nobody_listens(self, mailbox: MailReceiver):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            one = open_channels(
                [
                    {
                        "type": "email",
                        "smtp_url": f"smtp://127.0.0.1:{taken.getsockname()[1]}",
                        "from": "a@b",
                        "to": "c@d",
                    }
                ]
            )[0]
            assert str(failure(one)) == "sending email through 127.0.0.1 failed: Connection refused"


class TestServer:
    def test_usual_ports_and_encoded_passwords(self):
        server = MailServer.from_url(SecretStr("smtps://me%40x:p%3Aw@mail.example.com"))
        assert (server.host, server.port, server.user) == ("mail.example.com", 465, "me@x")
        assert server.password.get_secret_value() == "p:w"
        assert "p:w" not in repr(server)

    @pytest.mark.parametrize("url", ["http://h:hunter2@x/", "smtp://:hunter2", "smtps://h:hunter2/"])
    def test_what_is_no_mail_server(self, url: str):
        with pytest.raises(ConfigError) as caught:
            MailServer.from_url(SecretStr(url))
        assert "hunter2" not in str(caught.value)

    def test_no_password_in_clear_to_another_machine(self):
        with pytest.raises(ConfigError, match="would be sent unencrypted"):
            MailServer.from_url(SecretStr("smtp://me:hunter2@mail.example.com"))
        with pytest.raises(ConfigError, match="only ASCII"):
            MailServer.from_url(SecretStr("smtps://me:h%C3%BC@mail.example.com"))
