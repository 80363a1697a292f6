"""Peer (b): bare FastAPI + uvicorn in one process, the model in the same process.

The route is `async def`: for a model this small, FastAPI's thread pool (a plain `def` route) costs more than it saves.
uvicorn runs with what `uvicorn[standard]` brings, uvloop and httptools, and without its access log.
"""

from __future__ import annotations

import argparse
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from benchmarks import workload

app = FastAPI()


class Rows(BaseModel):
    """The body of a request."""

    instances: list[list[float]]


@app.post("/predict")
async def predict(rows: Rows) -> dict[str, Any]:
    """Predict each row."""
    return workload.answer(rows.instances)


def main() -> None:
    """Serve until a signal ends the process."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--port", type=int, required=True)
    port = arguments.parse_args().port
    workload.pipeline()
    uvicorn.run(
        app, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )


if __name__ == "__main__":
    main()
