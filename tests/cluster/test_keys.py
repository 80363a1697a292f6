"""A key on a real platform: revoked, it is refused by every gateway and Console at once; its uses become known."""

from __future__ import annotations

import time

import httpx
import pytest

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
    assert statuses(platform.url, made["key"]) == {401}
    assert admin.delete(f"/api/keys/{made['id']}").status_code == 200
    took_s = until(lambda: statuses(platform.url, turned["key"]) == {401}, 30)
    print(f"refused everywhere after {took_s:.2f} s")
    assert took_s < BOUND_S * SLOW
