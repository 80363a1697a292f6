"""The edge of a whole platform: clients that leave, compressed bodies, and paths with an encoded slash."""

import gzip
import http.client
import json
import socket
import time

import httpx
import pytest

from streamb import ProductionMLManager
from tests.cluster.processes import until

pytestmark = pytest.mark.ray

LEAVERS = 20
SECONDS = 0.2
"""How long the model computes for one request."""


def counted(log: str, seconds: float):
    """A model that takes its time and writes a line for each call."""

    def predict(rows):
        import pathlib
        import time

        with pathlib.Path(log).open("a") as file:
            file.write("called\n")
        time.sleep(seconds)
        return [float(sum(row)) for row in rows]

    return predict


@pytest.fixture(scope="module")
def asked(platform, state_dir):
    """The URL of the model's predictions, and the file with a line for each of its calls."""
    log = state_dir / "calls.log"
    log.touch()
    with ProductionMLManager(address=platform.url, api_key=platform.api_key, state_dir=state_dir) as manager:
        manager.register_model("left", "", "", counted(str(log), SECONDS), "1.0.0")
        deployment = manager.deploy_model(
            model_id="left", target_version="1.0.0", rollout_strategy="immediate", batching={"join": False}
        )
        assert deployment.wait(timeout=180).state == "completed"
        yield f"{platform.url}/v2/models/left/predict", log
        manager.undeploy("left")


def leave(url: str) -> None:
    """Ask for a prediction and hang up soon after."""
    place = httpx.URL(url)
    body = json.dumps({"instances": [[1, 2]]}).encode()
    lines = [f"POST {place.path} HTTP/1.1", "host: localhost", "content-type: application/json"]
    head = "\r\n".join((*lines, f"content-length: {len(body)}", "\r\n"))
    with socket.create_connection((place.host, place.port)) as talk:
        talk.sendall(head.encode() + body)
        time.sleep(0.01)


def test_what_clients_left_is_not_computed_and_the_next_one_is_answered_at_once(asked):
    url, log = asked
    with httpx.Client(timeout=30) as client:
        assert client.post(url, json={"instances": [[1, 2]]}).json()["predictions"] == [3.0]
        before = len(log.read_text().splitlines())
        for _ in range(LEAVERS):
            leave(url)
        begun = time.monotonic()
        answer = client.post(url, json={"instances": [[3, 4]]})
        took = time.monotonic() - begun
    assert answer.json()["predictions"] == [7.0]
    called = len(log.read_text().splitlines()) - before
    # Two gateways, each with up to two calls under way when their clients left; the last one is the good client's.
    assert called <= LEAVERS // 2, f"{called} calls for {LEAVERS} clients that left and one that stayed"
    assert took < LEAVERS * SECONDS / 2


def test_compressed_bodies_and_bombs_through_the_edge(asked):
    url, _ = asked
    head = {"content-type": "application/json", "content-encoding": "gzip"}
    with httpx.Client(timeout=30) as client:
        packed = gzip.compress(json.dumps({"instances": [[1, 2]]}).encode())
        assert client.post(url, content=packed, headers=head).json()["predictions"] == [3.0]
        bomb = client.post(url, content=gzip.compress(b" " * 100_000_000), headers=head)
    assert (bomb.status_code, bomb.json()["code"]) == (413, "body_too_large")


def test_an_encoded_slash_is_refused_by_the_edge(platform):
    place = httpx.URL(platform.url)
    for path in ("/v2/models/le%2Fft", "/v2%2Fmodels%2Fleft", "/api/models/a%2Fb"):
        connection = http.client.HTTPConnection(place.host, place.port, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["code"]) == (400, "bad_request"), path
        connection.close()


def test_what_was_abandoned_is_counted_as_such(platform, asked):
    def told() -> bool:
        metrics = httpx.get(f"{platform.url}/metrics", timeout=30).text
        counts = [line for line in metrics.splitlines() if "abandoned" in line and 'model="left"' in line]
        return any(float(line.rpartition(" ")[2]) > 0 for line in counts)

    until(told, what="the metrics tell of abandoned requests")


@pytest.mark.parametrize("path", ["/v2", "/v2/models", "/api/models", "/metrics", "/"])
def test_a_foreign_name_or_page_gets_nothing(platform, path):
    own = {"Host": "localhost"}
    assert httpx.get(f"{platform.url}{path}", headers=own, timeout=30).status_code == 200
    assert httpx.get(f"{platform.url}{path}", headers={"Host": "evil.example"}, timeout=30).status_code == 403
    change = "/v2/models/left/feedback" if path.startswith("/v2") else "/api/models"
    for headers in ({"Host": "evil.example"}, {**own, "Origin": "http://evil.example"}):
        assert httpx.post(f"{platform.url}{change}", json={}, headers=headers, timeout=30).status_code == 403
    text = {**own, "Content-Type": "text/plain"}
    assert httpx.post(f"{platform.url}{change}", content=b"{}", headers=text, timeout=30).status_code in (404, 415)
