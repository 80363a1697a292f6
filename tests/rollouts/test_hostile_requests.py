"""A real gateway under a rollout: 1,000 hostile rows and labels of every kind leave its findings as they were."""

from itertools import cycle

from streamb.clock import ManualClock
from streamb.errors import ModelFailed
from streamb.metrics.windows import OutcomeWindows
from streamb.rollouts.observation import Observation, Stable
from streamb.serving import GatewayApp, GatewayLimits
from streamb.serving.breaker import BreakerState
from tests.rollouts.test_observation import canary
from tests.serving.asgi_client import AsgiClient
from tests.serving.predictors import VersionsPredictor
from tests.serving.test_pinned import WAYS, routing, send, settled

HOSTILE = 1000


class Failing(VersionsPredictor):
    """Fails every row that begins with 666, on either version."""

    async def predict(self, target, batch):
        if any(row[0] == 666 for row in batch.rows):
            raise ModelFailed("the model raised")
        return await super().predict(target, batch)


async def rolled_out(hostile: bool):
    clock, windows = ManualClock(1e9), OutcomeWindows()
    client = AsgiClient(GatewayApp(Failing(), GatewayLimits(), clock))
    client.app.apply(routing(1000))
    observation, deployment = Observation(windows, clock), canary(share=1000, observed_since=1e9)
    ways, tokens = cycle(WAYS), []
    found = []
    for second in range(10):
        windows.feed("g", clock.monotonic(), client.app.snapshot())
        found.append(observation.look(deployment, Stable("1.0.0"), 1.0))
        for number in range(60):
            await client.post("/v2/models/m/predict", {"instances": [[1, 2]]}, x_user_id=f"u{second}-{number}")
            if hostile:
                for version in ("1.0.0", "2.0.0"):
                    row = 666 if number % 2 else 1
                    tokens.append(
                        (await send(client, next(ways), version, instances=[[row, 2]])).headers["x-request-id"]
                    )
        for token in tokens[-20:] if hostile else ():
            body = {"request_id": token, "label": 1e6, "success": False}
            assert (await client.post("/v2/models/m/feedback", body)).json()["joined"] == []
        await settled(client.app)
        clock.advance(1.0)
    states = {known.breaker.state for known in client.app._builder.known()}
    return [(one.findings, one.refused) for one in found], states, len(tokens)


async def test_pinned_rows_and_their_labels_change_no_finding_of_any_look():
    plain, states, _ = await rolled_out(hostile=False)
    attacked, after, sent = await rolled_out(hostile=True)
    assert sent >= HOSTILE
    assert attacked == plain
    assert states == after == {BreakerState.CLOSED}
    assert plain[-1][0], "it was judged at all"
