"""A model is taken out of traffic on a real platform under load: nothing in flight is lost, and its replicas end."""

import pytest
from ray import serve
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from streamb import ProductionMLManager
from streamb.errors import NotFound
from tests.cluster.load import Load

pytestmark = pytest.mark.ray

X, y = load_iris(return_X_y=True)
MODEL = "undeployed"


def test_what_is_in_flight_is_answered_and_then_the_replicas_end(platform, ray_cluster, state_dir):
    model = LogisticRegression(max_iter=500).fit(X, y)
    with ProductionMLManager(address=platform.url, api_key=platform.api_key, state_dir=state_dir) as manager:
        manager.register_model(MODEL, "", "", model, "1.0.0")
        first = manager.deploy_model(model_id=MODEL, target_version="1.0.0", rollout_strategy="immediate")
        assert first.wait(180).state == "completed"
        with Load(platform.url, MODEL, [X[0].tolist()]) as load:
            load.wait_for(50)
            manager.undeploy(MODEL, reason="the test is over")
        assert {outcome.status for outcome in load.outcomes} == {200, 404}, load.summary()
        assert not [name for name in serve.status().applications if name.startswith(f"{MODEL}--")]
        with pytest.raises(NotFound, match="no model 'undeployed' is deployed"):
            manager.predict(MODEL, X[:1])
        manager.delete_version(MODEL, "1.0.0")
        assert manager.list_versions(MODEL) == []
        manager.register_model(MODEL, "", "", model, "1.0.0")
        again = manager.deploy_model(model_id=MODEL, target_version="1.0.0", rollout_strategy="immediate")
        assert again.wait(180).state == "completed"
        assert manager.predict(MODEL, X[:1]).version == "1.0.0"
        manager.undeploy(MODEL)
