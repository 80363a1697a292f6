"""Peer (c): Ray Serve's usual composition, a FastAPI router deployment that calls a model deployment.

Default settings throughout: `ray.init()`, `serve.run()`, Serve's own HTTP proxy; one replica each.
Annotations stay objects here (no `from __future__`): FastAPI reads them again inside Serve's processes.
"""

import argparse
import signal
from typing import Any

import ray
from fastapi import FastAPI
from pydantic import BaseModel
from ray import serve
from ray.serve.handle import DeploymentHandle

from benchmarks import workload

app = FastAPI()


class Rows(BaseModel):
    """The body of a request."""

    instances: list[list[float]]


@serve.deployment
class PipelineModel:
    """The model, in a replica of its own."""

    def __init__(self) -> None:
        workload.pipeline()

    def __call__(self, instances: list[list[float]]) -> dict[str, Any]:
        return workload.answer(instances)


@serve.deployment
@serve.ingress(app)
class Router:
    """The HTTP side: validates the body and calls the model through its handle."""

    def __init__(self, model: DeploymentHandle) -> None:
        self.model = model

    @app.post("/predict")
    async def predict(self, rows: Rows) -> dict[str, Any]:
        """Predict each row."""
        return await self.model.remote(rows.instances)


def main() -> None:
    """Serve until a signal ends the process."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    ray.init()
    try:
        serve.start(http_options=serve.HTTPOptions(host="127.0.0.1", port=port))
        serve.run(Router.bind(PipelineModel.bind()))
        signal.pause()
    except KeyboardInterrupt:
        pass
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main()
