"""`Predictor` over Serve handles: one cached handle per model version."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from ray import serve
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, ReplicaUnavailableError, gRPCStatusError

from streamb.cluster.names import INFER, MODEL_VERSION
from streamb.errors import ModelFailed, StreambError, Unavailable
from streamb.serving.batch import Batch, BatchReply
from streamb.traffic import VersionTarget

_NOT_STARTED: Final = (
    RayActorError,
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)
"""The call was not taken, or its replica died: nothing was answered, so it may be asked again."""


class HandlePredictor:
    """Calls the replicas of model versions through Serve."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    async def prepare(self, targets: Iterable[VersionTarget], timeout_s: float = 5.0) -> None:
        """Make the handles of new targets and let them find their replicas, so that the first request need not wait."""
        new = [target for target in targets if target.app not in self._handles]
        for target in new:
            handle = serve.get_deployment_handle(MODEL_VERSION, target.app, _check_exists=False)
            self._handles[target.app] = handle.options(method_name=INFER)
        calls = [asyncio.ensure_future(self._greet(target.app)) for target in new]
        if calls:
            _, late = await asyncio.wait(calls, timeout=timeout_s)
            for call in late:
                call.cancel()

    async def _greet(self, app: str) -> None:
        try:
            await self._handles[app].options(method_name="ready").remote()
        except (RayError, *_NOT_STARTED):
            return  # the version is not up (yet): requests will say so

    def forget(self, apps: Iterable[str]) -> None:
        """Drop the handles of apps that no table names any more."""
        for app in apps:
            self._handles.pop(app, None)

    @property
    def apps(self) -> frozenset[str]:
        """The apps that have a handle."""
        return frozenset(self._handles)

    async def predict(self, target: VersionTarget, batch: Batch) -> BatchReply:
        """Answer one batch; see `serving.batch.Predictor`."""
        handle = self._handles.get(target.app)
        if handle is None:
            raise Unavailable(f"version {target.version} is not connected yet; try again", retry_after_s=1)
        try:
            reply: BatchReply = await handle.remote(batch)
        except StreambError:
            raise
        except _NOT_STARTED as error:
            raise Unavailable(
                f"no replica of version {target.version} could answer; try again", retry_after_s=1
            ) from error
        except gRPCStatusError as error:
            raise Unavailable(
                f"the replica of version {target.version} broke off; try again", retry_after_s=1
            ) from error
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, StreambError):
                raise cause from None
            raise ModelFailed(f"version {target.version} failed: {cause}") from error
        except RayError as error:
            raise Unavailable(f"version {target.version} could not be reached: {error}", retry_after_s=1) from error
        return reply
