"""Where gateways and Consoles listen, and whom they answer: never other machines without a key."""

import pytest

from streamb.cluster import listener
from streamb.cluster.listener import NearOnly, own_address, refuse_open
from streamb.config import load_settings
from streamb.errors import StartFailed
from streamb.serving.http.replies import json_reply
from tests.serving.asgi_client import AsgiClient, Connection

HERE, THERE = "10.0.0.1", "10.0.0.2"


@pytest.fixture
def machines(monkeypatch):
    """Sets the addresses of a cluster's nodes; those after None are dead."""

    def are(*addresses):
        alive = iter(addresses)
        nodes = [{"NodeManagerAddress": one, "Alive": True} for one in iter(lambda: next(alive, None), None)]
        nodes += [{"NodeManagerAddress": one, "Alive": False} for one in alive]
        monkeypatch.setattr(listener.ray, "nodes", lambda: nodes)
        monkeypatch.setattr(listener.ray.util, "get_node_ip_address", lambda: HERE)

    return are


def test_on_its_own_ray_it_listens_to_this_machine_only(machines):
    machines(HERE, THERE)
    for required in (True, False):
        assert own_address(load_settings(api_key_required=required)) == "127.0.0.1"


def test_on_a_joined_cluster_only_with_keys_to_others(machines):
    keyless, keyed = (load_settings(ray_address="auto", api_key_required=required) for required in (False, True))
    machines(HERE, HERE, None, THERE)
    refuse_open(keyless)
    assert (own_address(keyless), own_address(keyed)) == ("127.0.0.1", HERE)
    machines(HERE, THERE)
    assert own_address(keyed) == HERE
    refuse_open(keyed)
    for refuse in (own_address, refuse_open):
        with pytest.raises(StartFailed, match=r"2 machines.*set ML_API_KEY_REQUIRED=true"):
            refuse(keyless)


@pytest.mark.parametrize(
    ("client", "status"),
    [
        *((("127.0.0.1", 5), 200), (("::1", 5), 200), (("127.9.9.9", 5), 200)),
        *((("10.0.0.2", 5), 403), (("fe80::1%eth0", 5), 403), (("2001:db8::1", 5), 403), (None, 403)),
        *((("localhost.evil", 5), 403), (("", 0), 403), (("0.0.0.0", 5), 403)),
    ],
)
async def test_behind_a_proxy_of_serve_only_this_machine_is_answered_without_a_key(client, status, monkeypatch):
    async def app(scope, receive, send):
        await json_reply({}).send(send, "id")

    async def as_client(scope, receive, send):
        await NearOnly(app)({**scope, **({} if client is None else {"client": client})}, receive, send)

    for expected in (status, 403):
        connection = Connection()
        await AsgiClient(as_client).open(connection, "GET", "/v2/models", {"x-forwarded-for": "127.0.0.1"})
        assert connection.response.status == expected
        monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")  # hides who calls
