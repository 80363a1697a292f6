"""The builders that `serve run` and `serve deploy` use, run on the session's Ray."""

import asyncio

import httpx
import numpy as np
import pytest
from pydantic import ValidationError
from ray import serve
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

import serve_apps.gateway
import serve_apps.model_version
from streamb import ProductionMLManager
from streamb.serving.batch import Batch
from tests.cluster.load import Load
from tests.cluster.processes import until
from tests.cluster.session_platform import GATEWAYS

pytestmark = pytest.mark.ray

X, y = load_iris(return_X_y=True)


@pytest.fixture(scope="module")
def model(platform, state_dir):
    fitted = LogisticRegression(max_iter=500).fit(X, y)
    with ProductionMLManager(address=platform.url, api_key=platform.api_key, state_dir=state_dir) as manager:
        manager.register_model("apps", "", "", fitted, "1.0.0")
        deployed = manager.deploy_model(model_id="apps", target_version="1.0.0", rollout_strategy="immediate")
        assert deployed.wait(180).state == "completed"
    return fitted


def gateways(platform) -> int:
    return len(httpx.get(f"{platform.url}/api/status", timeout=30).json()["gateways"])


def test_a_gateway_comes_and_goes_under_load_and_no_request_notices(model, platform, state_dir):
    with Load(platform.url, "apps", [X[0].tolist()]) as load:
        load.wait_for(50)
        args = serve_apps.gateway.Args(state_dir=state_dir)
        serve.run(serve_apps.gateway.app(args), name="another-gateway", route_prefix=None)
        until(lambda: gateways(platform) == GATEWAYS + 1)
        load.wait_for(200)
        serve.delete("another-gateway")
        until(lambda: gateways(platform) == GATEWAYS)
        load.wait_for(100)
    assert not load.failed, load.summary()


def test_a_model_version_predicts_through_its_handle(model, state_dir):
    args = serve_apps.model_version.Args(model_id="apps", version="latest", state_dir=state_dir)
    serve.run(serve_apps.model_version.app(args), name="apps-by-hand", route_prefix=None)

    async def ask():
        handle = serve.get_deployment_handle("ModelVersion", "apps-by-hand")
        return await handle.infer.remote(Batch(np.ascontiguousarray(X[:4]), (4,)))

    try:
        assert asyncio.run(ask()).predictions.tolist() == model.predict(X[:4]).tolist()
    finally:
        serve.delete("apps-by-hand")


def test_wrong_arguments_are_refused_by_name():
    with pytest.raises(ValidationError, match="gateway_replicas"):
        serve_apps.gateway.Args(gateway_replicas=0)
    with pytest.raises(ValidationError, match="no_such"):
        serve_apps.model_version.Args(model_id="m", no_such=1)
