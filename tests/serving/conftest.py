import pytest

from streamb.clock import SystemClock
from streamb.serving import GatewayApp, GatewayLimits
from streamb.traffic import RoutingTable
from tests.serving.asgi_client import AsgiClient
from tests.serving.predictors import SumPredictor, table


@pytest.fixture
def predictor():
    return SumPredictor()


@pytest.fixture
def make(predictor):
    """Builds a gateway with a routing table and limits, as a client of it."""

    def build(routing: RoutingTable | None = None, **limits):
        app = GatewayApp(predictor, GatewayLimits(**limits), SystemClock())
        assert app.apply(routing or table())
        return AsgiClient(app)

    return build
