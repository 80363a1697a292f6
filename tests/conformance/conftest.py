"""One gateway with every model of the zoo, and clients of it."""

from __future__ import annotations

import httpx
import pytest
import tritonclient.http as triton

from streamb import ProductionMLManager
from tests.conformance.asking import ROWS
from tests.conformance.hosting import hosting
from tests.conformance.zoo import echo, named, zoo


@pytest.fixture(scope="package")
def address():
    """Where the gateway listens, as tritonclient wants it: "HOST:PORT"."""
    with hosting(zoo()) as found:
        yield found


@pytest.fixture(scope="package")
def client(address):
    with triton.InferenceServerClient(address, network_timeout=20, connection_timeout=20) as opened:
        yield opened


@pytest.fixture(scope="package")
def http(address):
    """For what tritonclient does not send: whole bodies, headers, other methods."""
    with httpx.Client(base_url=f"http://{address}", timeout=20) as opened:
        yield opened


@pytest.fixture(scope="package")
def platform_models(platform, state_dir):
    """Two models of the zoo on the session's platform: "oip-echo", which has no schema, and "oip-named"."""
    with ProductionMLManager(address=platform.url, api_key=platform.api_key, state_dir=state_dir) as manager:
        started = []
        for model, function, example in (("oip-echo", echo, None), ("oip-named", named, ROWS)):
            manager.register_model(model, "", "", function, "1.0.0", example=example)
            started.append(manager.deploy_model(model_id=model, target_version="1.0.0", rollout_strategy="immediate"))
        for deployment in started:
            assert deployment.wait(180).state == "completed"
        yield "oip-echo", "oip-named"
