"""The ModelVersion deployment: loads one artifact, predicts batches. Knows nothing of traffic, and answers no HTTP."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from ray import serve

from streamb.cluster.autoscaling import ReplicaStats, autoscaling_config
from streamb.cluster.collection import ReplicaCollection
from streamb.cluster.environments import runtime_env
from streamb.cluster.listener import own_address
from streamb.cluster.names import MODEL_VERSION
from streamb.cluster.session import QUIET
from streamb.config import Settings, mark_role
from streamb.control.platform import open_artifacts
from streamb.crypto import PublicKey
from streamb.errors import Unavailable
from streamb.rollouts.runtime import AppSpec
from streamb.security.platform_key import PlatformKey
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links.link import LinkAddress, LinkServer
from streamb.serving.replica import BatchPredictor
from streamb.serving.scaling_policy import ScalingPolicy
from streamb.trials.golden import check_golden

_DRAIN_S: Final = 8.0


class ModelVersion:
    """One replica of one model version.

    It has no `__call__`, so that it stays unreachable by HTTP whatever mode Serve runs in. Gateways use its link;
    callers with only a Serve handle use `infer`. Models predict in a separate thread, one batch at a time, so that
    health checks are answered meanwhile.
    """

    def __init__(self, settings: Settings, spec: AppSpec, trusted: PublicKey) -> None:
        mark_role("replica")  # before the model's code runs
        model, golden = open_artifacts(settings, None, trusted).load(spec.blob)
        if golden is not None:
            check_golden(model, golden)
        self._predictor = BatchPredictor(model)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="predict")
        self._stats = ReplicaStats(cores=settings.replica_cpus)
        self._settings = settings
        replica = serve.get_replica_context().replica_tag
        secret = PlatformKey.load(settings.state_dir).link_secret(replica)
        self._server = LinkServer(self.infer, replica=replica, secret=secret)
        self._collection: ReplicaCollection | None = None
        if settings.monitoring_enabled:
            self._collection = ReplicaCollection(settings, replica, spec.model_id, spec.version, model.schema)
        self._listening: asyncio.Task[LinkAddress] | None = None
        self._closed = False

    async def infer(self, batch: Batch) -> BatchReply:
        """Answer one batch."""
        if self._closed:
            raise Unavailable("this replica is stopping; try again", retry_after_s=1)
        requests = len(batch.counts)
        arrived, answered = self._stats.arrived(requests), False
        loop = asyncio.get_running_loop()
        try:
            reply = await loop.run_in_executor(self._thread, self._stats.timed, requests, self._predictor.run, batch)
            answered = True
            if self._collection is not None:
                self._collection.observe(batch, reply)
            return reply
        finally:
            self._stats.left(arrived, requests, answered=answered)

    async def link(self) -> LinkAddress:
        """Return the address of this replica's link; its secret is not sent. Opens the link on the first call."""
        failed = self._listening is not None and self._listening.done() and self._listening.exception() is not None
        if self._listening is None or failed:
            self._listening = asyncio.ensure_future(self._server.start(own_address(self._settings)))
        return await self._listening

    async def check_health(self) -> None:
        """Called by Serve every second; answering at all shows that the replica is healthy."""
        if self._collection is not None:
            self._collection.start()  # here, because there was no running loop before

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the numbers for the autoscaling policy; Serve collects them."""
        return self._stats.numbers()

    async def __del__(self) -> None:
        """Answer the running calls and refuse new ones; Serve awaits this when it stops the replica."""
        await self._server.close(_DRAIN_S)
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._collection is not None:
            await self._collection.stop()


def model_application(settings: Settings, spec: AppSpec, trusted: PublicKey) -> Any:
    """Return one model version as a Serve application; run it with `route_prefix=None`."""
    options: dict[str, Any] = {"num_replicas": settings.min_instances}
    if settings.enable_auto_scaling and settings.max_instances > settings.min_instances:
        policy = ScalingPolicy(min_instances=settings.min_instances, max_instances=settings.max_instances)
        options = {"autoscaling_config": autoscaling_config(policy, app=spec.app)}
    deployment = serve.deployment(
        name=MODEL_VERSION,
        # Calls by handle must queue here, not be refused; gateways use the link.
        max_ongoing_requests=64,
        ray_actor_options={
            "num_cpus": settings.replica_cpus,
            "runtime_env": runtime_env(spec.environment, settings.environment_timeout_s),
        },
        health_check_period_s=1,
        logging_config=QUIET,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=10,
        **options,
    )
    return deployment(ModelVersion).bind(settings.without_secrets(), spec, trusted)
