from streamb.cluster.edge.configuration import Server
from streamb.cluster.edge.edge import leaving
from streamb.control.observations import Endpoint


def servers(**backends: str) -> dict[str, Server]:
    return {name: Server(backend, Endpoint("127.0.0.1", 1)) for name, backend in backends.items()}


def test_a_replaced_server_leaves():
    assert leaving(servers(a="gateways", c="consoles"), servers(b="gateways", c="consoles")) == ["a"]


def test_the_last_of_a_backend_stays_whatever_the_others_do():
    assert leaving(servers(a="gateways", c="consoles"), servers(d="consoles")) == ["c"]
    assert leaving(servers(a="gateways"), {}) == []
