"""Peer (d): LitServe with batching.

What its documentation recommends for this load: `predict` takes a whole batch, the queue between the HTTP process and
the worker is ZeroMQ (`fast_queue`, "for more than 100 requests a second"), and its own default of one worker.
"""

from __future__ import annotations

import argparse
import signal
from typing import Any

import litserve
import numpy as np

from benchmarks import workload


class PipelineAPI(litserve.LitAPI):
    """The four steps of a LitServe API: decode each request, batch (its default), predict, encode each answer."""

    def setup(self, device: str) -> None:  # noqa: ARG002 (LitServe passes it by name)
        """Load the model in the worker."""
        self.model = workload.pipeline()

    def decode_request(self, request) -> np.ndarray:  # no annotation: LitServe would take it for a parameter type
        """One row a request, which is what LitServe batches."""
        return np.asarray(request["instances"][0], dtype=np.float64)

    def predict(self, batch: np.ndarray) -> list[int]:
        """Predict a batch of shape (requests, features)."""
        return workload.answer(batch)["predictions"]

    def encode_response(self, output: int) -> dict[str, Any]:
        """The answer to one request."""
        return {"predictions": [output]}


def main() -> None:
    """Serve until a signal ends the process."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # LitServe ends its processes on Ctrl-C only
    api = PipelineAPI(max_batch_size=64, batch_timeout=0.005)
    server = litserve.LitServer(api, accelerator="cpu", fast_queue=True)
    server.run(host="127.0.0.1", port=port, generate_client_file=False, log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
