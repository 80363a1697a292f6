"""The ModelVersion deployment: loads one artifact, predicts batches. Knows nothing of traffic, and answers no HTTP."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ray import serve

from streamb.cluster.names import MODEL_VERSION
from streamb.cluster.session import QUIET
from streamb.config import Settings
from streamb.crypto import PublicKey
from streamb.errors import Unavailable
from streamb.rollouts import AppSpec
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.replica import BatchPredictor
from streamb.wiring.platform import open_artifacts


class ModelVersion:
    """One replica of one model version.

    It has no `__call__`, so that it stays unreachable by HTTP whatever mode Serve runs in: only `infer` predicts.
    Models predict in a thread of their own, one batch at a time, so that health checks are answered meanwhile.
    """

    def __init__(self, settings: Settings, spec: AppSpec, trusted: PublicKey) -> None:
        self._predictor = BatchPredictor(open_artifacts(settings, None, trusted).load(spec.blob))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._closed = False

    async def infer(self, batch: Batch) -> BatchReply:
        """Answer one batch."""
        if self._closed:
            raise Unavailable("this replica is stopping; try again", retry_after_s=1)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._predictor.run, batch)

    async def ready(self) -> bool:
        """Answers when the replica can take a batch."""
        return not self._closed

    async def check_health(self) -> None:
        """Serve asks this every second; being able to answer at all is the proof."""

    def __del__(self) -> None:
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)


def model_application(settings: Settings, spec: AppSpec, trusted: PublicKey) -> Any:
    """One model version as a Serve application; run it with `route_prefix=None`."""
    options: dict[str, Any] = {"num_replicas": settings.min_instances}
    if settings.enable_auto_scaling and settings.max_instances > settings.min_instances:
        scaling = {"min_replicas": settings.min_instances, "max_replicas": settings.max_instances}
        options = {"autoscaling_config": {**scaling, "target_ongoing_requests": 2, "upscale_delay_s": 5}}
    deployment = serve.deployment(
        name=MODEL_VERSION,
        # Each gateway has two calls under way per version; a burst of gateways must queue here, not be turned away.
        max_ongoing_requests=64,
        ray_actor_options={"num_cpus": settings.replica_cpus},
        health_check_period_s=1,
        logging_config=QUIET,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=10,
        **options,
    )
    return deployment(ModelVersion).bind(settings, spec, trusted)
