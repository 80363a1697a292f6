"""The manager against a platform over real HTTP."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from streamb import DeploymentStatus, Prediction, ProductionMLManager
from streamb.errors import (
    BadRequest,
    Conflict,
    InvalidFeatures,
    InvalidInput,
    ModelFailed,
    NotFound,
    NotRunning,
    Unauthorized,
    Unavailable,
)
from streamb.registry import ModelVersion
from tests.api.artifacts import Doubler


@pytest.fixture(scope="module")
def classifier():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(80, 2)), columns=["age", "income"])
    labels = np.where(frame["age"] > 0, "stays", "leaves")
    return LogisticRegression().fit(frame, labels)


@pytest.fixture
def churn(manager, classifier):
    metadata = {"metrics": {"accuracy": 0.9}, "hyperparameters": {"C": 1.0}, "note": "first"}
    made = manager.register_model("churn", "Churn", "who leaves", classifier, "1.0.0", metadata, "ml@example.com")
    deployment = manager.deploy_model(model_id="churn", target_version="1.0.0", rollout_strategy="immediate")
    assert deployment.wait(timeout=30).state == "completed"
    return made


class Root:
    """Answers NaN to negative numbers."""

    def predict(self, X):
        with np.errstate(invalid="ignore"):
            return np.sqrt(np.asarray(X, np.float64)[:, 0])


ROWS = [[2.0, 0.1], [-2.0, 0.1]]
ANSWERS = ["stays", "leaves"]


def test_what_is_registered_says_all_that_was_told(churn):
    assert isinstance(churn, ModelVersion)
    assert churn.metrics == {"accuracy": 0.9}
    assert churn.hyperparameters == {"C": 1.0}
    assert churn.metadata == {"note": "first"}
    assert churn.owner == "ml@example.com"


def test_a_baseline_may_come_with_the_version(manager, classifier):
    frame = pd.DataFrame(np.random.default_rng(1).normal(size=(300, 2)), columns=["age", "income"])
    truth = np.where(frame["age"] > 0, "stays", "leaves")
    manager.register_model("b", "B", "", classifier, "1.0.0", baseline=(frame, None, truth))
    (made,) = manager.monitoring("b").baselines()
    assert (made["version"], made["rows"], made["columns"]) == ("1.0.0", 300, ["age", "income", "prediction"])
    with pytest.raises(InvalidFeatures, match="income"):
        manager.register_model("b", "B", "", classifier, "1.0.0", baseline=(frame[["age"]], truth))
    assert len(manager.monitoring("b").baselines()) == 1
    manager.register_model("b", "B", "", classifier, "1.0.0", baseline=(frame, None, truth))
    assert [one["number"] for one in manager.monitoring("b").baselines()] == [1]


def test_the_same_again_is_the_same_version(manager, classifier, churn):
    again = manager.register_model("churn", "Churn", "who leaves", classifier, "1.0.0")
    assert again == churn
    from sklearn.linear_model import LogisticRegression

    other = LogisticRegression(C=0.001).fit(ROWS, ANSWERS)
    with pytest.raises(Conflict):
        manager.register_model("churn", "Churn", "who leaves", other, "1.0.0")


@pytest.mark.parametrize(
    "rows",
    [
        ROWS,
        [tuple(row) for row in ROWS],
        np.array(ROWS),
        [np.array(row) for row in ROWS],
        [{"income": 0.1, "age": 2.0}, {"age": -2.0, "income": 0.1}],
        pd.DataFrame(ROWS, columns=["age", "income"]),
        pd.DataFrame({"income": [0.1, 0.1], "age": [2, -2]}),
    ],
    ids=["lists", "tuples", "array", "arrays", "dicts", "frame", "frame in another order"],
)
def test_rows_of_every_kind_get_the_same_answer(manager, churn, rows):
    reply = manager.predict("churn", rows, user_id="user-1")
    assert isinstance(reply, Prediction)
    assert reply.predictions == ANSWERS
    assert reply.version == "1.0.0"
    assert reply.request_id


def test_probabilities_come_when_they_are_asked_for(manager, churn, classifier):
    reply = manager.predict("churn", ROWS, probabilities=True)
    expected = classifier.predict_proba(pd.DataFrame(ROWS, columns=["age", "income"]))
    np.testing.assert_allclose(reply.probabilities, expected, rtol=1e-9)
    assert manager.predict("churn", ROWS).probabilities is None
    assert manager.predict("churn", ROWS).classes is None


def test_rows_that_fail_are_named(manager):
    manager.register_model("root", "", "", Root(), "1.0.0")
    manager.deploy_model(model_id="root", target_version="latest", rollout_strategy="immediate").wait(30)
    reply = manager.predict("root", [[4.0], [-1.0]])
    assert reply.predictions == [2.0, None]
    assert [(one["row"], one["code"]) for one in reply.errors] == [(1, "model_error")]
    assert manager.predict("root", [[4.0]]).errors == []
    with pytest.raises(ModelFailed, match="row 0"):
        manager.predict("root", [[-1.0]])


def test_a_model_without_probabilities_says_so(manager):
    manager.register_model("double", "", "", Doubler(), "1.0.0")
    manager.deploy_model(model_id="double", target_version="latest", rollout_strategy="immediate").wait(30)
    with pytest.raises(InvalidInput, match="no class probabilities"):
        manager.predict("double", [[3.0, 1.0]], probabilities=True)


@pytest.mark.parametrize("rows", [[2.0, 0.1], np.array([2.0, 0.1]), {"age": 1, "income": 2}, "text", 5, [1]])
def test_what_is_no_list_of_rows_is_refused_before_it_is_sent(manager, live, churn, rows):
    before = len(live.hits)
    with pytest.raises(InvalidInput, match="row"):
        manager.predict("churn", rows)
    assert len(live.hits) == before


def test_wrong_features_are_named(manager, churn):
    with pytest.raises(InvalidFeatures, match="income") as refusal:
        manager.predict("churn", [{"age": 1}])
    assert refusal.value.details["request_id"]
    with pytest.raises(InvalidInput, match="object"):
        manager.predict("churn", [[object(), 1]])


def test_missing_values_go_as_missing(manager, churn):
    with pytest.raises(InvalidFeatures):
        manager.predict("churn", pd.DataFrame({"age": [np.nan], "income": [1.0]}))


def test_a_users_own_class(manager):
    made = manager.register_model("double", "", "", Doubler(), "1.0.0")
    assert made.carries_code
    manager.deploy_model(model_id="double", target_version="latest", rollout_strategy="immediate").wait(30)
    assert manager.predict("double", [[3.0, 1.0]]).predictions == [6.0]


def test_models_that_are_not_there(manager):
    with pytest.raises((NotFound, Unavailable)):
        manager.predict("nobody", ROWS)
    with pytest.raises(NotFound):
        manager.deploy_model(model_id="nobody", target_version="1.0.0", rollout_strategy="immediate")
    with pytest.raises(InvalidInput):
        manager.register_model("a/b", "", "", Doubler(), "1.0.0")


def test_strategies_that_the_platform_does_not_know(manager, churn):
    with pytest.raises(InvalidInput, match="strategy"):
        manager.deploy_model(model_id="churn", target_version="1.0.0", rollout_strategy="magic")


def test_feedback(manager, churn):
    assert manager.record_feedback("churn", "nobodys", success=True)["not_joined"] == {"success": "orphan"}
    for wrong in ({}, {"success": 1}, {"value": "much"}):
        with pytest.raises(InvalidInput):
            manager.record_feedback("churn", "nobodys", **wrong)
    told = manager.record_feedback("churn", "nobodys", label=np.array([1, 0]), value=np.float64(2), success=np.True_)
    assert told["not_joined"].keys() == {"label", "success", "value"}


def test_feedback_says_when_it_is_not_taken(manager, churn):
    with pytest.raises(NotFound, match="takes no feedback"):
        manager.record_feedback("nobody", "some-request", success=True)


def test_a_deployment_can_be_followed_from_elsewhere(manager, churn):
    made = manager.deploy_model(model_id="churn", target_version="1.0.0", rollout_strategy="immediate")
    status = manager.deployment(made.id).wait(timeout=30)
    assert isinstance(status, DeploymentStatus)
    assert (status.state, status.weight, status.target_version) == ("completed", 100.0, "1.0.0")
    assert status.ended
    assert repr(made) == f"Deployment({made.id!r})"


def test_models_are_listed_over_all_pages(manager):
    for n in range(3):
        manager.create_model(f"m{n}")
    assert [model.model_id for model in manager.list_models()] == ["m0", "m1", "m2"]


def test_models_of_one_owner(manager):
    for n, owner in enumerate(("ada", "bob", "ada")):
        manager.create_model(f"m{n}", owner=owner)
    assert [model.model_id for model in manager.list_models(owner="ada")] == ["m0", "m2"]


def test_versions_are_chosen_by_owner_tags_and_metrics(manager, churn, classifier):
    metadata = {"metrics": {"accuracy": 0.95}, "note": "second"}
    second = manager.register_model("churn", "", "", classifier, "1.1.0", metadata, "ada")
    assert manager.list_versions("churn") == [second, churn]
    assert manager.list_versions("churn", owner="ada", metrics=["accuracy>0.9", "accuracy<=0.95"]) == [second]
    assert manager.list_versions("churn", tags=["team"]) == []
    with pytest.raises(InvalidInput, match="such as accuracy"):
        manager.list_versions("churn", metrics=["accuracy"])
    with pytest.raises(NotFound):
        manager.list_versions("nobody")


class TestAddress:
    def test_nothing_answers(self, unused_port):
        with pytest.raises(NotRunning, match="streamb up"):
            ProductionMLManager(address=f"http://127.0.0.1:{unused_port}", api_key="x")

    def test_no_address(self):
        with pytest.raises(BadRequest, match="http://HOST:PORT"):
            ProductionMLManager(address="localhost", api_key="x")

    def test_a_wrong_key(self, live):
        with pytest.raises(Unauthorized):
            ProductionMLManager(address=live.url, api_key="wrong")

    def test_it_is_not_ours_to_stop(self, live):
        with ProductionMLManager(address=live.url + "/", api_key=live.backend.api_key) as manager:
            assert not manager.embedded
            assert manager.url == live.url
        manager.close()
        with ProductionMLManager(address=live.url, api_key=live.backend.api_key):
            pass

    @pytest.fixture
    def unused_port(self):
        import socket

        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]
