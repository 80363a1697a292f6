"""The ModelVersion deployment: loads one artifact, predicts batches. Knows nothing of traffic, and answers no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from ray import serve

from streamb.cluster.autoscaling import ReplicaStats, autoscaling_config
from streamb.cluster.background import log_to_file
from streamb.cluster.collection import ReplicaCollection
from streamb.cluster.environments import runtime_env
from streamb.cluster.listener import own_address
from streamb.cluster.names import MODEL_VERSION
from streamb.cluster.session import QUIET
from streamb.config import Settings, mark_role
from streamb.control.platform import open_artifacts, platform_files
from streamb.crypto import PublicKey
from streamb.errors import StreambError, TrialFailed, Unavailable, words_of
from streamb.models.schema import FeatureSchema
from streamb.rollouts.runtime import AppSpec, Resources
from streamb.security.isolation import Isolation, own_folder
from streamb.security.platform_key import PlatformKey
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links.link import LinkAddress, LinkServer
from streamb.serving.predicting import PredictThread
from streamb.serving.references import References
from streamb.serving.replica import BatchPredictor
from streamb.serving.scaling_policy import ScalingPolicy
from streamb.trials.caged import ARTIFACT, CagedModel
from streamb.trials.golden import check_golden

_T = TypeVar("_T")

_DRAIN_S: Final = 8.0
_MB: Final = 1_000_000
_GRACE_S: Final = 1.0
"""So much longer than the time limit of a request (seconds) may a call run that nobody waits for any more."""


class ModelVersion:
    """One replica of one model version.

    It has no `__call__`, so that it stays unreachable by HTTP whatever mode Serve runs in. Gateways use its link;
    callers with only a Serve handle use `infer`. Models predict in a separate thread, one batch at a time, so that
    health checks are answered meanwhile. A model whose thread is stuck fails them, and Serve replaces the replica.
    """

    def __init__(self, settings: Settings, spec: AppSpec, trusted: PublicKey) -> None:
        log_to_file()
        mark_role("replica")  # before the model's code runs
        self._answers, schema = _loaded(settings, spec, trusted)
        self._stats = ReplicaStats(cores=settings.replica_cpus if spec.resources.cpus is None else spec.resources.cpus)
        self._settings = settings
        replica = serve.get_replica_context().replica_tag
        secret = PlatformKey.load(settings.state_dir).link_secret(replica)
        self._collection: ReplicaCollection | None = None
        if settings.monitoring_enabled:
            self._collection = ReplicaCollection(settings, replica, spec.model_id, spec.version, schema)
        patience_s = settings.request_timeout_s + _GRACE_S
        if isinstance(self._answers, CagedModel):  # it replaces a child that hangs, which takes as long as a start
            patience_s += _GRACE_S + settings.trial_timeout_s
        self._thread = PredictThread(
            self._predict,
            limit_s=patience_s,
            watch=self._stats,
            after=self._collection.observe if self._collection is not None else None,
        )
        self._server = LinkServer(self._thread, replica=replica, secret=secret)
        self._listening: asyncio.Future[LinkAddress] | None = None
        self._closed = False

    async def infer(self, batch: Batch) -> BatchReply:
        """Answer one batch."""
        if self._closed:
            raise Unavailable("this replica is stopping; try again", retry_after_s=1)
        return await self._thread.answer(batch)

    async def link(self) -> LinkAddress:
        """Return the address of this replica's link; its secret is not sent. Opens the link on the first call."""
        self._check_alive()
        failed = self._listening is not None and self._listening.done() and self._listening.exception() is not None
        if self._listening is None or failed:
            self._listening = self._on_link(self._server.start(own_address(self._settings)))
        return await asyncio.shield(self._listening)

    async def check_health(self) -> None:
        """Called by Serve every second; it replaces the replica if this raises three times in turn."""
        if self._collection is not None:
            self._collection.start()  # here, because there was no running loop before
        self._check_alive()

    def _check_alive(self) -> None:
        if trouble := self._thread.trouble() or (
            self._answers.trouble() if isinstance(self._answers, CagedModel) else ""
        ):
            raise Unavailable(f"the model does not answer: {trouble}", retry_after_s=1)

    def _predict(self, batch: Batch) -> BatchReply:
        return self._stats.timed(len(batch.counts), self._answers.run, batch)

    def _on_link(self, work: Coroutine[Any, Any, _T]) -> asyncio.Future[_T]:
        """Run something on the event loop of the links."""
        return asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._thread.loop))

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Return the numbers for the autoscaling policy; Serve collects them."""
        return self._stats.numbers()

    async def __del__(self) -> None:
        """Answer the running calls and refuse new ones; Serve awaits this when it stops the replica."""
        await self._on_link(self._server.close(_DRAIN_S))
        self._closed = True
        self._thread.end()
        if isinstance(self._answers, CagedModel):
            self._answers.end()
        if self._collection is not None:
            await self._collection.stop()


def _loaded(
    settings: Settings, spec: AppSpec, trusted: PublicKey
) -> tuple[BatchPredictor | CagedModel, FeatureSchema | None]:
    """Load the model, and ask it for its golden rows; whatever its code raises is an error with words.

    Returns:
        what answers batches, and the model's schema.
    """
    store = open_artifacts(settings, None, trusted)
    if spec.isolation is Isolation.PROCESS:
        place = own_folder("model")
        inputs = store.fetch(spec.blob, place / ARTIFACT).interface.inputs
        limit_s = settings.request_timeout_s + _GRACE_S
        hidden = platform_files(settings)
        caged = CagedModel(place, [trusted], hidden=hidden, limit_s=limit_s, load_s=settings.trial_timeout_s)
        return caged, inputs
    try:
        model, golden = store.load(spec.blob)
        if golden is not None:
            check_golden(model, golden)
    except (StreambError, OSError):
        raise
    except BaseException as error:  # raised, a SystemExit would end the process without a word
        raise TrialFailed(f"the version raised {words_of(error)} while it was loaded") from None
    return BatchPredictor(model, references=References()), model.schema


def _reserved(settings: Settings, resources: Resources) -> dict[str, float]:
    """Return what Ray reserves for a replica, as options of its actor."""
    reserved = {"num_cpus": settings.replica_cpus if resources.cpus is None else resources.cpus}
    if resources.memory_mb is not None:
        reserved["memory"] = resources.memory_mb * _MB
    if resources.gpus:
        reserved["num_gpus"] = resources.gpus
    return reserved


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
            **_reserved(settings, spec.resources),
            "runtime_env": runtime_env(spec.environment, settings.environment_timeout_s),
        },
        health_check_period_s=1,
        logging_config=QUIET,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=10,
        **options,
    )
    return deployment(ModelVersion).bind(settings.without_secrets(), spec, trusted)
