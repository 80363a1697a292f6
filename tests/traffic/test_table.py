import pickle
from dataclasses import FrozenInstanceError

import pytest

from streamb.traffic import GatewayPolicy, ModelRoute, RoutingTable, Split, VersionTarget


def table() -> RoutingTable:
    target = VersionTarget("1.0.0", "m-1.0.0-x1", {"features": []}, "classification")
    route = ModelRoute("m", "salt", Split.all_to("1.0.0"), {"1.0.0": target})
    return RoutingTable(7, {"m": route}, GatewayPolicy(True, frozenset({"ab"})))


def test_a_table_crosses_processes_unchanged():
    assert pickle.loads(pickle.dumps(table())) == table()


def test_a_table_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        table().epoch = 8


def test_an_empty_table_is_older_than_any_published_one():
    assert RoutingTable().epoch == 0
    assert RoutingTable().policy.api_key_required is False
