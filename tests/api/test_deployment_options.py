"""Orders to bring a version into traffic: every option, and every way to get one wrong."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.rollouts.checks import DEFAULT_ERROR_RATE
from streamb.rollouts.options import HealthCriteria, RolloutOptions
from streamb.rollouts.strategies import (
    HALF_SAMPLES,
    HOLD_SECONDS,
    PROOF_SAMPLES,
    SAMPLES,
    SMALL_SAMPLES,
    STEP_MAX_SECONDS,
    STEP_SECONDS,
)
from tests.api.conftest import client_of
from tests.api.steered_deployments import SteeredPlatform
from tests.documented import ROOT, table_rows

ALL: dict = {
    "traffic_split_percentage": 10.5,
    "steps": [5, 50, 100],
    "step_seconds": 30,
    "step_max_seconds": 900,
    "min_samples": 500,
    "rollback_on_failure": False,
    "health_check_criteria": {
        "max_error_rate": 0.02,
        "max_latency_ms": 200,
        "latency_percentile": 99,
        "min_accuracy": 0.9,
        "min_success_rate": 0.3,
        "max_error_value": 4.2,
        "min_throughput": 1,
        "max_drift_score": 0.3,
        "max_prediction_shift": 0.2,
        "max_error_increase": 0.02,
        "max_latency_increase": 0.5,
        "latency_slack_ms": 2,
        "compare_with_stable": False,
        "max_client_error_increase": 0.02,
        "max_disagreement": 0.05,
        "compare_outputs": False,
        "custom": ["my_checks.fairness:by_age"],
    },
    "approval_required": True,
    "approval_before": ["start", 50],
    "approval_timeout_s": 3600,
    "fallback_to_stable": False,
    "shadow_percent": 5,
    "hold_seconds": 60,
    "accept_changes": ["added:income"],
    "overrides": {"users": ["ada", "user-1"]},
    "batching": {"join": False, "max_rows": 64, "max_wait_ms": 2.5},
    "resources": {"cpus": 0.5, "memory_mb": 512, "gpus": 0},
    "timeout_s": 5,
    "isolation": "process",
}
BEGINNINGS = {"traffic_split_percentage", "steps"}  # of a canary: one or the other
DOCUMENT = ROOT / "docs/deployments.md"
ORDER = {"model_id": "churn", "target_version": "1.1.0"}


@pytest.fixture
def backend(tmp_path):
    return SteeredPlatform(tmp_path / "state")


@pytest.fixture
async def order(client, backend):
    async def order(options, strategy="canary", key=backend.api_key):
        body = json.dumps({**ORDER, "strategy": strategy, "options": options})
        headers = {"Content-Type": "application/json", **({"X-API-Key": key} if key else {})}
        return await client.post("/api/deployments", content=body, headers=headers)

    return order


@pytest.mark.parametrize("beginning", ["traffic_split_percentage", "steps"])
async def test_every_option_arrives_as_it_was_given(order, backend, beginning):
    given = {name: value for name, value in ALL.items() if name == beginning or name not in BEGINNINGS}
    answer = await order(given)
    assert answer.status_code == 201, answer.text
    (made,) = backend.steering.orders
    assert made["options"] == given
    assert (made["strategy"], made["actor"], made["force"]) == ("canary", "operator", False)
    assert answer.json()["options"] == given


async def test_what_is_not_named_is_left_to_the_strategy(order, backend):
    for options in ({}, {"overrides": {}}, {"health_check_criteria": {}}):
        assert (await order(options, "blue_green")).status_code == 201
    assert [made["options"] for made in backend.steering.orders] == [
        {},
        {"overrides": {}},
        {"health_check_criteria": {}},
    ]


@pytest.mark.parametrize("when", ["start", 50, 12.5, ["start"], [5, 100]])
async def test_gates(order, when):
    assert (await order({"approval_before": when})).json()["options"] == {"approval_before": when}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"surprise": 1}, "options.surprise"),
        ({"health_check_criteria": {"max_errors": 1}}, "options.health_check_criteria.max_errors"),
        ({"health_check_criteria": {"max_error_rate": 5}}, "options.health_check_criteria.max_error_rate"),
        ({"health_check_criteria": {"latency_percentile": 90}}, "options.health_check_criteria.latency_percentile"),
        ({"health_check_criteria": {"custom": ["os.system"]}}, "options.health_check_criteria.custom.0"),
        ({"health_check_criteria": {"custom": ["os:system"]}}, "options.health_check_criteria.custom.0"),
        ({"health_check_criteria": {"max_latency_ms": 0}}, "options.health_check_criteria.max_latency_ms"),
        ({"health_check_criteria": {"max_latency_ms": "200"}}, "options.health_check_criteria.max_latency_ms"),
        ({"health_check_criteria": 1}, "options.health_check_criteria"),
        ({"traffic_split_percentage": 0.5}, "options.traffic_split_percentage"),
        ({"traffic_split_percentage": 101}, "options.traffic_split_percentage"),
        ({"traffic_split_percentage": True}, "options.traffic_split_percentage"),
        ({"traffic_split_percentage": float("nan")}, "options.traffic_split_percentage"),
        ({"traffic_split_percentage": float("inf")}, "options.traffic_split_percentage"),
        ({"steps": []}, "options.steps"),
        ({"steps": [50, 50]}, "options.steps"),
        ({"steps": [50, 10]}, "options.steps"),
        ({"steps": [10, "all"]}, "options.steps.1"),
        ({"step_seconds": -1}, "options.step_seconds"),
        ({"step_max_seconds": 1e12}, "options.step_max_seconds"),
        ({"min_samples": 1.5}, "options.min_samples"),
        ({"min_samples": 0}, "options.min_samples"),
        ({"rollback_on_failure": "yes"}, "options.rollback_on_failure"),
        ({"approval_required": 1}, "options.approval_required"),
        ({"approval_before": "noon"}, "options.approval_before"),
        ({"approval_before": ["start", 0]}, "options.approval_before"),
        ({"approval_before": []}, "options.approval_before"),
        ({"approval_timeout_s": "day"}, "options.approval_timeout_s"),
        ({"shadow_percent": 200}, "options.shadow_percent"),
        ({"hold_seconds": []}, "options.hold_seconds"),
        ({"overrides": {"groups": []}}, "options.overrides.groups"),
        ({"overrides": {"users": [""]}}, "options.overrides.users.0"),
        ({"overrides": {"users": "ada"}}, "options.overrides.users"),
        ([], "options"),
        ("fast", "options"),
    ],
)
async def test_what_is_wrong_is_named(order, backend, options, named):
    answer = await order(options)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert any(problem["where"].startswith(f"body.{named}") for problem in answer.json()["problems"]), answer.text
    assert backend.steering.orders == []


async def test_immediate_takes_no_options_and_says_which_were_given(order):
    assert (await order({}, "immediate")).status_code == 201
    answer = await order({"approval_required": True, "min_samples": 5}, "immediate")
    assert answer.status_code == 422
    assert "immediate does not use approval_required, min_samples" in answer.json()["error"]


@pytest.mark.parametrize(
    ("strategy", "options", "named"),
    [
        ("rolling", {"traffic_split_percentage": 10}, "traffic_split_percentage"),
        ("blue_green", {"steps": [5, 100]}, "steps"),
        ("immediate", {"rollback_on_failure": True}, "rollback_on_failure"),
        ("immediate", {"health_check_criteria": {}}, "health_check_criteria"),
        ("canary", {"traffic_split_percentage": 1, "steps": [5]}, "either steps or traffic_split_percentage"),
    ],
)
async def test_what_the_strategy_would_not_use_is_refused_also_where_it_is_the_default(
    order, backend, strategy, options, named
):
    answer = await order(options, strategy)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert named in answer.json()["error"]
    assert backend.steering.orders == []


async def test_null_is_not_given(order, backend):
    assert (await order({"min_samples": None, "rollback_on_failure": None}, "immediate")).status_code == 201
    assert backend.steering.orders[0]["options"] == {}


async def test_criteria_of_ones_own_need_a_key_even_in_development(order, backend):
    options = {"health_check_criteria": {"custom": ["my_checks:run"]}}
    assert (await order(options, key=None)).status_code == 401
    assert backend.steering.orders == []
    assert (await order({}, key=None)).status_code == 201


def test_the_documented_defaults_are_those_of_the_strategies():
    """Defaults that depend on the strategy; `tests.test_docs` compares the others with the declaration."""
    rows = table_rows(DOCUMENT)
    assert set(re.findall(r"\d+", rows["min_samples"][2])) == {
        f"{value}" for value in (SMALL_SAMPLES, SAMPLES, PROOF_SAMPLES, HALF_SAMPLES)
    }
    by_strategy = {"step_seconds": STEP_SECONDS, "hold_seconds": HOLD_SECONDS}
    for name, values in by_strategy.items():
        assert {f"{value:g}" for value in values.values()} == set(re.findall(r"\d+", rows[name][2])), name
    assert rows["step_max_seconds"][2] == f"{STEP_MAX_SECONDS:g}"
    assert rows["max_error_rate"][2].startswith(f"{DEFAULT_ERROR_RATE:g}")


def test_every_option_says_what_it_is():
    for body in (RolloutOptions, HealthCriteria):
        for name, field in body.model_fields.items():
            nested = name in {"health_check_criteria", "overrides"}
            assert field.description or nested, name
    assert set(ALL) == set(RolloutOptions.model_fields)
    assert set(ALL["health_check_criteria"]) == set(HealthCriteria.model_fields)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from([*RolloutOptions.model_fields, "other"])
CRITERIA = st.dictionaries(st.sampled_from([*HealthCriteria.model_fields, "other"]), JSON, max_size=3)


async def test_no_body_breaks_it(tmp_path):
    backend = SteeredPlatform(tmp_path / "state")
    bodies: list = []

    @given(
        st.dictionaries(NAMES, JSON | CRITERIA, max_size=4), st.sampled_from(["canary", "rolling", "immediate"]) | JSON
    )
    @settings(max_examples=150, deadline=None, derandomize=True)
    def collect(options, strategy):
        bodies.append({**ORDER, "strategy": strategy, "options": options})

    collect()
    async with client_of(backend, **{"X-API-Key": backend.api_key, "Content-Type": "application/json"}) as client:
        for body in bodies:
            answer = await client.post("/api/deployments", content=json.dumps(body))
            assert answer.status_code in {201, 400, 422}, (body, answer.text)
            assert answer.status_code == 201 or answer.json()["error"]
    assert len(backend.steering.orders) > 5
