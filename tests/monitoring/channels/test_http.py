"""One POST: what comes back, what is refused, and how long it may take."""

from __future__ import annotations

import socket
import ssl
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from streamb.clock import ManualClock, SystemClock
from streamb.errors import ConfigError
from streamb.monitoring.channels.channel import DeliveryFailed
from streamb.monitoring.channels.http import Patience, Poster, judge, retry_after
from tests.monitoring.channels.receivers import DRIP, GARBAGE, HANG, RESET, Receiver, Reply

SHORT = Patience(0.2, 0.2)
LONG = Patience(5, 10)  # a busy machine is no failure


def poster(url: str, **options) -> Poster:
    return Poster(SecretStr(url), SystemClock(), **{"allow_private": True, "patience": LONG, **options})


def to(receiver: Receiver, **options) -> Poster:
    return poster(f"http://127.0.0.1:{receiver.port}/in/hunter2?key=pa55word", **options)


def failure(one: Poster) -> DeliveryFailed:
    with pytest.raises(DeliveryFailed) as caught:
        judge(one.host, one.post(b"{}", {}))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    return caught.value


class TestPost:
    def test_body_headers_and_target_arrive(self, http: Receiver):
        answer = to(http).post(b'{"a": 1}', {"X-Own": "yes"})
        assert answer.status == 200
        got = http.received[0]
        assert (got.path, got.body) == ("/in/hunter2?key=pa55word", b'{"a": 1}')
        assert got.headers["X-Own"] == "yes"
        assert got.headers["Content-Type"] == "application/json"
        assert got.headers["Host"] == f"127.0.0.1:{http.port}"
        assert got.headers["User-Agent"].startswith("streamb/")

    def test_an_answer_that_repeats_the_secret_is_cleaned(self, http: Receiver):
        http.always = Reply(404, b"nothing at /in/hunter2\n  with key=pa55word nor abcdef")
        assert str(failure(to(http, hide=(SecretStr("abcdef"),)))) == (
            "127.0.0.1 answered 404: nothing at *** with *** nor ***"
        )

    def test_a_part_of_the_secret_is_one_too(self, http: Receiver):
        http.always = Reply(403, b"token B0123456789 of T0000 and sig=0123456789abcdef are unknown")
        address = f"http://127.0.0.1:{http.port}/services/T0000/B0123456789?v=1&sig=0123456789abcdef"
        said = str(failure(poster(address, allow_private=True)))
        assert said == "127.0.0.1 answered 403: token *** of T0000 and sig=*** are unknown"

    def test_the_secret_is_not_in_its_repr(self, http: Receiver):
        assert repr(to(http)) == "Poster('127.0.0.1')"


class TestAnswers:
    @pytest.mark.parametrize("status", [200, 201, 202, 204])
    def test_a_success(self, http: Receiver, status: int):
        http.always = Reply(status, b"")
        judge("h", to(http).post(b"{}", {}))

    @pytest.mark.parametrize(
        ("status", "retry"),
        [(400, False), (401, False), (404, False), (410, False), (408, True), (429, True), (500, True)],
    )
    def test_what_is_worth_a_retry(self, http: Receiver, status: int, retry: bool):
        http.always = Reply(status, b"no")
        assert failure(to(http)).retry is retry

    def test_retry_after_is_read(self, http: Receiver):
        http.always = Reply(429, b"slow", {"Retry-After": "7"})
        assert failure(to(http)).retry_after_s == 7.0

    @pytest.mark.parametrize("value", ["-3", "nan", "soon", "Thu, 99 Foo 1970", ""])
    def test_a_strange_retry_after_is_none_or_nothing(self, value: str):
        assert retry_after(value, 0.0) in (None, 0.0)

    @pytest.mark.parametrize("status", [301, 302, 307, 308])
    def test_no_redirect_is_followed(self, http: Receiver, status: int):
        http.always = Reply(status, b"", {"Location": f"http://127.0.0.1:{http.port}/elsewhere"})
        caught = failure(to(http))
        assert not caught.retry
        assert "redirects" in str(caught)
        assert len(http.received) == 1

    @pytest.mark.parametrize("body", [HANG, RESET, "endless"])
    def test_a_success_is_one_whatever_becomes_of_its_body(self, http: Receiver, body: str):
        http.always = Reply(200, b"x" * (8 << 20) if body == "endless" else b"o", {"Content-Length": "99999999"}, body)
        judge("h", to(http, patience=SHORT).post(b"{}", {}))

    def test_of_a_huge_answer_only_the_start_is_read(self, http: Receiver):
        http.always = Reply(500, b"too much " * (1 << 20))
        caught = failure(to(http))
        assert caught.retry
        assert len(str(caught)) < 300


class TestTrouble:
    @pytest.mark.parametrize(
        ("answer", "words", "patience"),
        [
            (HANG, "did not answer within 0.2 s", SHORT),
            (DRIP, "did not answer within 0.2 s", SHORT),
            (RESET, "closed the connection", LONG),
            (GARBAGE, "did not answer in valid HTTP (BadStatusLine)", LONG),
        ],
    )
    def test_a_receiver_that_does_not_answer(self, http: Receiver, answer: str, words: str, patience: Patience):
        http.always = answer
        caught = failure(to(http, patience=patience))
        assert words in str(caught)
        assert caught.retry

    def test_nobody_listens(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            caught = failure(poster(f"http://127.0.0.1:{taken.getsockname()[1]}/"))
        assert str(caught) == "no connection to 127.0.0.1: Connection refused"
        assert caught.retry

    def test_an_unknown_name(self):
        def unknown(*_where, **_how):
            raise socket.gaierror(-2, "Name or service not known")

        caught = failure(poster("https://alerts.example.com/", resolve=unknown))
        assert "cannot be looked up" in str(caught)
        assert caught.retry

    def test_the_own_network_is_refused_before_anything_is_sent(self, http: Receiver):
        caught = failure(to(http, allow_private=False))
        assert "127.0.0.1 is a private address" in str(caught)
        assert not caught.retry
        assert http.received == []

    def test_a_second_address_is_tried_when_the_first_fails(self, http: Receiver):
        def both(_host, port, **_how):
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 1, 0, 0)),
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            ]

        assert poster(f"http://localhost:{http.port}/", resolve=both).post(b"{}", {}).status == 200


class TestTls:
    def test_a_certificate_that_is_trusted_by_its_file(self, https: Receiver, certificate: tuple[Path, ssl.SSLContext]):
        for host in ("localhost", "127.0.0.1"):
            one = poster(f"https://{host}:{https.port}/", ca_file=certificate[0])
            assert one.post(b"{}", {}).status == 200

    def test_one_that_is_not_is_refused(self, https: Receiver):
        caught = failure(poster(f"https://localhost:{https.port}/"))
        assert "certificate of localhost is not trusted" in str(caught)
        assert https.received == []

    def test_a_receiver_that_never_shakes_hands_is_given_up(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            caught = failure(poster(f"https://127.0.0.1:{silent.getsockname()[1]}/", patience=SHORT))
        assert "did not answer within" in str(caught)

    def test_plain_http_behind_https_is_an_error_in_words(self, http: Receiver):
        assert "the connection to 127.0.0.1 failed" in str(failure(poster(f"https://127.0.0.1:{http.port}/")))

    def test_a_file_without_certificates_is_refused_at_once(self, tmp_path: Path):
        (tmp_path / "ca.pem").write_text("nothing")
        with pytest.raises(ConfigError, match=r"ca\.pem is not a readable file of certificates"):
            poster("https://h/", ca_file=tmp_path / "ca.pem")


@pytest.mark.parametrize(
    "url",
    ["hunter2", "ftp://h/hunter2", "https:///hunter2", "https://h:hunter2/", "https://h/hunter2 x", "https://hü/"],
)
def test_what_is_no_address_is_refused_and_not_repeated(url: str):
    with pytest.raises(ConfigError) as caught:
        poster(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("date", ["Thursday, 01-Jan-70 00:01:00 GMT", "Thu Jan  1 00:01:00 1970"])
def test_an_obsolete_date_in_retry_after_is_utc_as_well(date: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_after(date, 50.0) == 10.0
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_date_in_retry_after():
    assert retry_after("Wed, 15 Nov 2023 00:00:00 GMT", ManualClock(1_700_006_390.0).now()) == 10.0
