"""A model behind a gateway in this process: its batches go through the bytes of a link, as between two processes."""

from __future__ import annotations

from typing import Any

from streamb.clock import SystemClock
from streamb.models import FeatureSchema, Model
from streamb.serving import Batch, BatchReply, GatewayApp, GatewayLimits
from streamb.serving.links.frames import frame_header
from streamb.serving.links.wire import Kind, decode_batch, decode_reply, encode_batch, encode_reply
from streamb.serving.replica import BatchPredictor
from streamb.traffic import VersionTarget
from tests.serving.asgi_client import AsgiClient
from tests.serving.predictors import table

_HEADER = len(frame_header(0, Kind.CALL, 0))


class ModelPredictor:
    """Answers batches with one model."""

    def __init__(self, model: Any) -> None:
        self._predictor = BatchPredictor(model)

    def replicas(self, target) -> int:
        return 1

    async def predict(self, target: VersionTarget, batch: Batch) -> BatchReply:
        arrived = decode_batch(bytearray(encode_batch(1, batch)[_HEADER:]))
        reply = self._predictor.run(arrived)
        return decode_reply(bytearray(encode_reply(1, reply)[_HEADER:]))


def serve(model: Model, *, task: str = "classification") -> AsgiClient:
    """Return a client of a gateway that serves the model as "m"."""
    schema = (model.schema or FeatureSchema.open()).to_json()
    app = GatewayApp(ModelPredictor(model), GatewayLimits(), SystemClock())
    assert app.apply(table(VersionTarget(version="1.0.0", app="m-1.0.0", schema=schema, task=task)))
    return AsgiClient(app)
