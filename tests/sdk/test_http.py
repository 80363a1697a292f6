"""The HTTP client: retries where they are harmless, errors as their classes."""

from __future__ import annotations

import httpx
import pytest

from streamb.errors import (
    Conflict,
    DeadlineExceeded,
    ModelFailed,
    NotRunning,
    Overloaded,
    RateLimited,
    StreambError,
    Unavailable,
)
from streamb.sdk.http import HttpClient


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def client(live, pauses):
    with HttpClient(live.url, live.backend.api_key, sleep=pauses.append) as client:
        yield client


def test_a_read_survives_broken_connections(live, client, pauses):
    live.broken = 2
    assert client.get("/api/models")["items"] == []
    assert live.hits.count("GET /api/models") == 3
    assert len(pauses) == 2
    assert all(0 < pause <= 2 for pause in pauses)


def test_a_change_survives_them_and_happens_once(live, client):
    live.broken = 1
    client.change("POST", "/api/models", {"model_id": "a"})
    assert live.hits.count("POST /api/models") == 2
    assert live.backend.asked.count("Registry.create_model") == 1


def test_an_upload_starts_again_from_the_first_byte(live, client, tmp_path):
    from tests.api.artifacts import sklearn_archive

    client.change("POST", "/api/models", {"model_id": "a"})
    archive = sklearn_archive(tmp_path)
    live.broken = 1
    assert client.upload("/api/models/a/versions", archive, {"version": "1.0.0"})["version"] == "1.0.0"


def test_in_the_end_it_gives_up(live, client):
    live.broken = 100
    with pytest.raises((NotRunning, StreambError)):
        client.get("/api/models")
    assert len(live.hits) == 4


def test_all_pages_or_the_first_few(live, client):
    for n in range(7):
        client.change("POST", "/api/models", {"model_id": f"m{n}"})
    assert len(list(client.pages("/api/models"))) == 7
    assert len(list(client.pages("/api/models", limit=3))) == 3
    live.hits.clear()
    assert len(list(client.pages("/api/models", limit=5))) == 5
    assert live.hits == ["GET /api/models"]


class TestAnswers:
    """Answers that a healthy platform gives rarely: a transport that gives them at will."""

    def client(self, answer, pauses=None):
        self.requests = []

        def handle(request):
            self.requests.append(request)
            return answer(request) if callable(answer) else answer

        sleep = (pauses if pauses is not None else []).append
        return HttpClient("http://127.0.0.1:1", transport=httpx.MockTransport(handle), sleep=sleep)

    @pytest.mark.parametrize(
        ("status", "body", "error"),
        [
            (409, {"error": "e", "code": "conflict", "request_id": "r"}, Conflict),
            (500, {"error": "e", "code": "model_error", "request_id": "r"}, ModelFailed),
            (429, {"error": "e", "code": "rate_limited", "request_id": "r"}, RateLimited),
            (418, {"error": "e", "code": "from_a_later_version", "request_id": "r"}, StreambError),
        ],
    )
    def test_errors_come_back_as_their_classes(self, status, body, error):
        with self.client(httpx.Response(status, json=body)) as client, pytest.raises(error) as refusal:
            client.get("/x")
        assert type(refusal.value) is error
        assert refusal.value.message == "e"
        assert refusal.value.details == {"request_id": "r"}
        assert len(self.requests) == 1

    def test_unavailable_is_tried_again_after_the_time_it_names(self):
        pauses = []
        body = {"error": "e", "code": "overloaded", "request_id": "r", "retry_after_s": 1.5}
        with self.client(httpx.Response(503, json=body), pauses) as client, pytest.raises(Overloaded):
            client.get("/x")
        assert len(self.requests) == 4
        assert pauses == [1.5, 1.5, 1.5] or all(pause >= 1.5 for pause in pauses)

    def test_a_limit_is_waited_for_except_with_predictions(self):
        pauses = []
        body = {"error": "e", "code": "rate_limited", "request_id": "r", "retry_after_s": 1}
        with self.client(httpx.Response(429, json=body), pauses) as client:
            with pytest.raises(RateLimited):
                client.get("/x")
            assert len(self.requests) == 4
            assert all(pause >= 1 for pause in pauses)
            with pytest.raises(RateLimited):
                client.ask("/v2/models/m/predict", {"instances": []})
            assert len(self.requests) == 5

    def test_a_prediction_that_was_answered_is_not_repeated(self):
        body = {"error": "e", "code": "unavailable", "request_id": "r"}
        with self.client(httpx.Response(503, json=body)) as client, pytest.raises(Unavailable):
            client.ask("/v2/models/m/predict", {"instances": []})
        assert len(self.requests) == 1

    def test_every_try_of_a_change_has_the_same_key_and_every_change_its_own(self):
        body = {"error": "e", "code": "unavailable", "request_id": "r"}
        with self.client(httpx.Response(503, json=body)) as client:
            for _ in range(2):
                with pytest.raises(Unavailable):
                    client.change("POST", "/x", {})
        keys = [request.headers["idempotency-key"] for request in self.requests]
        assert len(keys) == 8
        assert len(set(keys[:4])) == len(set(keys[4:])) == 1
        assert len(set(keys)) == 2

    def test_silence_is_not_answered_with_more_of_the_same(self):
        def silent(request):
            raise httpx.ReadTimeout("silence", request=request)

        with self.client(silent) as client, pytest.raises(DeadlineExceeded):
            client.get("/x")
        assert len(self.requests) == 1

    @pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(502, text="bad gateway")])
    def test_another_server_at_the_address(self, answer):
        with self.client(answer) as client, pytest.raises((NotRunning, Unavailable)):
            client.get("/x")

    def test_a_proxy_in_the_environment_is_not_for_this_machine(self, monkeypatch, live):
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        with HttpClient(live.url, live.backend.api_key, sleep=lambda _: None) as client:
            assert client.get("/api/models")["items"] == []
