"""A gateway in front of one model: a real link to a real replica's predictor, in one process."""

from contextlib import asynccontextmanager
from dataclasses import replace

from streamb.clock import SystemClock
from streamb.models.outputs import answer_of
from streamb.models.shown_outputs import outputs_of
from streamb.serving import BatchPredictor, GatewayApp, GatewayLimits
from streamb.store.plain import to_plain
from streamb.traffic import VersionTarget
from tests.serving.asgi_client import AsgiClient
from tests.serving.linked import linked
from tests.serving.predictors import table


class LinkPredictor:
    def __init__(self, link) -> None:
        self._link = link

    def replicas(self, target):
        return 1

    async def predict(self, target, batch):
        return await self._link.call(batch)


@asynccontextmanager
async def served(model, *, model_id="m", **known):
    """A client of a gateway whose link leads to a replica with this model; `known` are fields of its target."""
    predictor = BatchPredictor(model)

    async def run(batch):
        return predictor.run(batch)

    async with linked(run) as (_, link, _):
        app = GatewayApp(LinkPredictor(link), GatewayLimits(), SystemClock())
        app.apply(table(replace(VersionTarget("1.0.0", "m-1", {}), **known), model=model_id))
        yield AsgiClient(app), app
        await app.close()


def learned(model, X, *, probabilities=False):
    """The fields of a target that a trial would fill."""
    answer = answer_of(model, X, len(X), probabilities=probabilities)
    outputs = tuple(
        to_plain(output)
        for output in outputs_of(answer.predictions, answer.probabilities, getattr(model, "outputs", ()))
    )
    return {"outputs": outputs, "classes": getattr(model, "classes", None)}
