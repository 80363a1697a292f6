import pickle
from dataclasses import FrozenInstanceError

import pytest

from streamb.errors import InvalidInput
from streamb.traffic import (
    BreakerPolicy,
    GatewayPolicy,
    KeyGrant,
    ModelRoute,
    Override,
    RoutingTable,
    Shadow,
    Split,
    VersionTarget,
)


def table() -> RoutingTable:
    target = VersionTarget("1.0.0", "m-1.0.0-x1", {"features": []}, "classification")
    route = ModelRoute(
        "m",
        "salt",
        Split.all_to("1.0.0"),
        {"1.0.0": target},
        overrides=(Override("1.0.0", users=frozenset({"ada"})),),
        shadow=Shadow("1.0.0", 500),
        fallback="1.0.0",
    )
    return RoutingTable(
        7,
        {"m": route},
        GatewayPolicy(True, {"ab": KeyGrant("k", "p", frozenset())}, breaker=BreakerPolicy(), token_key=b"key"),
    )


def test_a_table_crosses_processes_unchanged():
    assert pickle.loads(pickle.dumps(table())) == table()


def test_a_table_cannot_be_changed_in_place():
    with pytest.raises(FrozenInstanceError):
        table().epoch = 8


def test_an_empty_table_is_older_than_any_published_one():
    assert RoutingTable().epoch == 0
    assert RoutingTable().policy.api_key_required is False


def test_a_route_has_neither_overrides_nor_shadow_nor_fallback_unless_it_says_so():
    route = ModelRoute("m", "salt", Split.all_to("1.0.0"), {})
    assert (route.overrides, route.shadow, route.fallback) == ((), None, "")
    assert GatewayPolicy().breaker is None


def test_a_key_does_not_show_in_messages():
    assert "secret" not in repr(GatewayPolicy(token_key=b"secret"))


def test_routes_that_wait_for_an_app_are_held_back_and_nothing_else_is():
    def route(model_id: str, app: str) -> ModelRoute:
        return ModelRoute(model_id, "s", Split.all_to("1"), {"1": VersionTarget("1", app, {}, "regression")})

    present = RoutingTable(3, {"moves": route("moves", "old"), "goes": route("goes", "old")})
    policy = GatewayPolicy(True)
    coming = RoutingTable(
        4, {"moves": route("moves", "new"), "comes": route("comes", "new"), "other": route("other", "x")}, policy
    )
    held = coming.held_back(present, {"new"})
    assert held == RoutingTable(3, {"moves": route("moves", "old"), "other": route("other", "x")}, policy)
    assert coming.held_back(present, set()).models == coming.models


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Override("1.0.0", frozenset()), "needs users"),
        (lambda: Shadow("1.0.0", -1), "ten-thousandths"),
        (lambda: Shadow("1.0.0", 10_001), "ten-thousandths"),
        (lambda: BreakerPolicy(failure_threshold=0), "above zero"),
        (lambda: BreakerPolicy(recovery_timeout_s=0), "above zero"),
        (lambda: BreakerPolicy(recovery_timeout_s=float("nan")), "above zero"),
        (lambda: BreakerPolicy(half_open_max_calls=0), "above zero"),
    ],
)
def test_what_makes_no_sense_is_refused(make, match):
    with pytest.raises(InvalidInput, match=match):
        make()
