"""A gateway behind its real listener on a real socket, in a thread; its models answer in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
import uvloop

from streamb.clock import SystemClock
from streamb.models import FeatureSchema, Model
from streamb.models.outputs import answer_of
from streamb.models.shown_outputs import outputs_of
from streamb.serving import Batch, BatchReply, GatewayApp, GatewayLimits
from streamb.serving.http.listener import listener_config
from streamb.serving.links.frames import frame_header
from streamb.serving.links.wire import Kind, decode_batch, decode_reply, encode_batch, encode_reply
from streamb.serving.replica import BatchPredictor
from streamb.store.plain import to_plain
from streamb.traffic import Batching, GatewayPolicy, ModelRoute, RoutingTable, Split, VersionTarget

_HEADER = len(frame_header(0, Kind.CALL, 0))


@dataclass(frozen=True)
class Hosted:
    """A model as the platform knows it after a trial.

    Attributes:
        model: the model.
        example: rows in the form that it takes; what it answers to them tells its outputs. None: it has had no trial.
        aliases: names of its only version, beside "1.0.0".
        batching: how its requests are joined.
    """

    model: Model
    example: Any = None
    aliases: tuple[str, ...] = ()
    batching: Batching = field(default_factory=Batching)

    def route(self, name: str) -> ModelRoute:
        known: dict[str, Any] = {}
        if self.example is not None:
            wants = self.model.has_probabilities
            answer = answer_of(self.model, self.example, len(self.example), probabilities=wants)
            known["outputs"] = tuple(
                to_plain(one)
                for one in outputs_of(answer.predictions, answer.probabilities, getattr(self.model, "outputs", ()))
            )
        schema = (self.model.schema or FeatureSchema.open()).to_json()
        target = VersionTarget(
            "1.0.0", name, schema, self.model.task, classes=self.model.classes, batching=self.batching, **known
        )
        aliases = dict.fromkeys(self.aliases, "1.0.0")
        return ModelRoute(name, "salt", Split.all_to("1.0.0"), {"1.0.0": target}, aliases=aliases)


class InProcess:
    """Answers batches with the models of this process; what is asked and answered goes through the bytes of a link."""

    def __init__(self, models: Mapping[str, Hosted]) -> None:
        self._predictors = {name: BatchPredictor(hosted.model) for name, hosted in models.items()}

    def replicas(self, target: VersionTarget) -> int:
        return 1

    async def predict(self, target: VersionTarget, batch: Batch) -> BatchReply:
        await asyncio.sleep(0)  # whoever comes in this turn of the loop may be joined to the next call
        arrived = decode_batch(bytearray(encode_batch(1, batch)[_HEADER:]))
        reply = self._predictors[target.app].run(arrived)
        return decode_reply(bytearray(encode_reply(1, reply)[_HEADER:]))


@contextmanager
def hosting(models: Mapping[str, Hosted], **limits: Any) -> Iterator[str]:
    """Serve models on a free port of this machine; yields "HOST:PORT".

    Args:
        models: the models by name.
        limits: fields of `GatewayLimits` that differ from the defaults.
    """
    table = RoutingTable(1, {name: hosted.route(name) for name, hosted in models.items()}, GatewayPolicy())
    ready = threading.Event()
    shared: dict[str, Any] = {}

    async def serve() -> None:
        app = GatewayApp(InProcess(models), GatewayLimits(**limits), SystemClock())
        assert app.apply(table)
        server = shared["server"] = uvicorn.Server(listener_config(app, host="127.0.0.1", port=0))
        serving = asyncio.create_task(server.serve())
        while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)
        shared["port"] = server.servers[0].sockets[0].getsockname()[1]
        ready.set()
        await serving
        await app.close()

    def run() -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())

    thread = threading.Thread(target=run, name="gateway", daemon=True)
    thread.start()
    assert ready.wait(20), "the gateway listens"
    try:
        yield f"127.0.0.1:{shared['port']}"
    finally:
        shared["server"].should_exit = shared["server"].force_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the gateway has ended"
