"""A key on a real platform: revoked, it is refused by every gateway and Console at once; its uses become known."""

from __future__ import annotations

import http.client
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import httpx
import psutil
import pytest

pytestmark = pytest.mark.ray

BOUND_S = 1.0
SLOW = 3.0
"""How many times slower than usual the machine of the tests may be."""

DOORS = ("/v2/models", "/api/models")


def until(done, timeout_s: float) -> float:
    """Wait for a condition; return the seconds that it took."""
    began = time.monotonic()
    while not done():
        assert time.monotonic() - began < timeout_s
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture
def admin(platform):
    headers = {"X-API-Key": platform.api_key}
    with httpx.Client(base_url=platform.url, headers=headers, timeout=30) as client:
        yield client


def statuses(url: str, key: str) -> set[int]:
    """What each door says to a key, asked often enough, each time on a new connection, that both gateways answer."""
    headers = {"X-API-Key": key}
    return {httpx.get(url + door, headers=headers, timeout=30).status_code for _ in range(4) for door in DOORS}


def test_a_revoked_key_is_refused_everywhere_within_a_second(platform, admin):
    made = admin.post("/api/keys", json={"principal": "operator", "scopes": ["read"]}).json()
    took_s = until(lambda: statuses(platform.url, made["key"]) == {200}, 30)
    print(f"known everywhere after {took_s:.2f} s")
    until(lambda: admin.get(f"/api/keys/{made['id']}").json()["used_at"] is not None, 30)
    turned = admin.post(f"/api/keys/{made['id']}/rotate", json={"grace_s": 0}).json()
    until(lambda: statuses(platform.url, turned["key"]) == {200}, 30)
    until(lambda: statuses(platform.url, made["key"]) == {401}, 30)
    assert admin.delete(f"/api/keys/{made['id']}").status_code == 200
    took_s = until(lambda: statuses(platform.url, turned["key"]) == {401}, 30)
    print(f"refused everywhere after {took_s:.2f} s")
    assert took_s < BOUND_S * SLOW


def flood(url: str, path: str, numbers: range) -> None:
    """Ask with keys that nobody has, over one connection."""
    host, _, port = url.removeprefix("http://").partition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
        for number in numbers:
            start = f"sb_{number:012x}_" + "0" * 64
            connection.request("GET", path, headers={"X-API-Key": start + f"{zlib.crc32(start.encode()):08x}"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 401


def memory_mb() -> dict[str, float]:
    """The memory of the platform's own processes, by what they are, in MB."""
    found: dict[str, float] = {}
    for process in psutil.process_iter(["cmdline", "memory_info"]):
        title = " ".join(process.info["cmdline"] or ())
        for kind in ("Gateway", "Console", "ControllerActor"):
            if title.startswith("ray::") and kind in title:
                found[kind] = max(found.get(kind, 0.0), process.info["memory_info"].rss / 2**20)
    return found


@pytest.mark.soak
def test_100_000_unknown_keys_do_not_grow_memory(platform):
    def run(path: str, count: int, first: int) -> None:
        with ThreadPoolExecutor(4) as pool:
            parts = [range(first + part, first + count, 4) for part in range(4)]
            list(pool.map(lambda numbers: flood(platform.url, path, numbers), parts))

    run("/v2/models", 5_000, 0)
    run("/api/models", 12_000, 0)  # more than a Console remembers
    before = memory_mb()
    run("/v2/models", 100_000, 1_000_000)
    run("/api/models", 12_000, 2_000_000)
    after = memory_mb()
    print(f"before {before}, after {after}")
    assert before.keys() == after.keys() == {"Gateway", "Console", "ControllerActor"}
    assert all(after[kind] - before[kind] < 30 for kind in before)
