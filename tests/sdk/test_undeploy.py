"""Taking models out of traffic, deleting versions and listing what there is, from Python, over real HTTP."""

from __future__ import annotations

import httpx
import pytest
from sklearn.linear_model import LogisticRegression

from streamb.errors import Conflict, DeadlineExceeded, NotFound
from streamb.registry import RegisteredModel
from streamb.sdk.deployment import wait_until_stopped
from streamb.sdk.http import HttpClient

pytestmark = pytest.mark.slow

ROWS, LABELS = [[2.0, 0.1], [-2.0, 0.1]], ["stays", "leaves"]


@pytest.fixture
def churn(manager):
    made = manager.register_model("churn", "Churn", "who leaves", LogisticRegression().fit(ROWS, LABELS), "1.0.0")
    manager.deploy_model(model_id="churn", target_version="1.0.0", rollout_strategy="immediate").wait(timeout=30)
    return made


def test_it_returns_when_the_apps_have_stopped(live, manager, churn):
    assert list(manager.predict("churn", ROWS).predictions) == LABELS
    with live.passing_time():
        manager.undeploy("churn", by="ada", reason="retired")
    assert live.backend.runtime.specs == {}
    with pytest.raises(NotFound, match="no model 'churn' is deployed"):
        manager.predict("churn", ROWS)
    with pytest.raises(Conflict, match="not deployed"):
        manager.undeploy("churn")
    manager.deploy_model(model_id="churn", target_version="latest").wait(timeout=30)
    assert list(manager.predict("churn", ROWS).predictions) == LABELS


def test_the_wait_has_an_end(live, manager, churn):
    with pytest.raises(DeadlineExceeded, match=r"no new requests, but after 0 s churn--1\.0\.0--\w+ still runs"):
        manager.undeploy("churn", timeout=0)
    with live.passing_time():
        manager.undeploy("churn")


def test_the_wait_goes_on_while_the_platform_cannot_answer():
    down = [httpx.Response(503, json={"error": "the Controller restarts", "code": "unavailable"})] * 9
    seen = [httpx.Response(200, json={"undeployment": one}) for one in ({"at": 1.0}, None)]
    answers = iter([*down, *seen])
    transport = httpx.MockTransport(lambda request: next(answers))
    with HttpClient("http://127.0.0.1:1", transport=transport, sleep=lambda _: None) as client:
        wait_until_stopped(client, {"model_id": "m", "apps": ["a"], "at": 1.0}, 60)
    assert list(answers) == []


def test_a_version_is_deleted_when_it_no_longer_serves(live, manager, churn):
    with pytest.raises(Conflict, match="it serves"):
        manager.delete_version("churn", "1.0.0")
    with live.passing_time():
        manager.undeploy("churn")
    assert manager.list_versions("churn") == [churn]
    manager.delete_version("churn", "1.0.0")
    assert manager.list_versions("churn") == []
    with pytest.raises(NotFound):
        manager.list_versions("unknown")
    other = LogisticRegression(C=0.01).fit(ROWS, LABELS)
    with pytest.raises(Conflict, match="was deleted and had other content"):
        manager.register_model("churn", "", "", other, "1.0.0")
    again = manager.register_model("churn", "", "", LogisticRegression().fit(ROWS, LABELS), "1.0.0")
    assert again.digest == churn.digest
    manager.deploy_model(model_id="churn", target_version="1.0.0").wait(timeout=30)
    assert list(manager.predict("churn", ROWS).predictions) == LABELS


def test_models_and_deployments_are_listed(manager, churn):
    second = manager.deploy_model(model_id="churn", target_version="1.0.0", rollout_strategy="immediate")
    second.wait(timeout=30)
    manager.create_model("empty", owner="ada")
    (model, empty) = manager.list_models()
    assert isinstance(model, RegisteredModel)
    assert (model.model_id, model.latest_version, empty.owner) == ("churn", "1.0.0", "ada")
    assert manager.list_versions("empty") == []
    found = manager.list_deployments()
    assert found == manager.list_deployments("churn")
    assert [(one.id == second.id, one.state) for one in found] == [(True, "completed"), (False, "completed")]
    assert (manager.list_deployments("empty"), manager.list_deployments(limit=1)) == ([], found[:1])
