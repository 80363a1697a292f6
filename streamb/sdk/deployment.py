"""A handle on one deployment: follow it, and steer it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from streamb.clock import Clock, SystemClock
from streamb.errors import DeadlineExceeded, NotFound, StreambError
from streamb.sdk.http import HttpClient

_ENDED: Final = frozenset({"completed", "rolled_back", "aborted", "failed"})
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """Where a deployment stands.

    Attributes:
        state: pending, awaiting_approval, progressing, paused, completed, rolled_back, aborted or failed.
        weight: percent of the model's traffic that goes to the target version.
        step: which step of the strategy is being worked on, from 0.
        reason: why it stands there, in words.
    """

    id: str
    model_id: str
    target_version: str
    previous_version: str | None
    strategy: str
    state: str
    weight: float
    step: int
    reason: str

    @property
    def ended(self) -> bool:
        """True when the deployment does nothing more by itself."""
        return self.state in _ENDED

    @classmethod
    def from_answer(cls, body: Mapping[str, Any]) -> DeploymentStatus:
        """From the JSON that the platform answers; what a newer platform adds is left out."""
        return cls(**{name: body[name] for name in cls.__slots__})


class Deployment:
    """One deployment on a platform.

    Attributes:
        id: its name on the platform.
    """

    def __init__(self, client: HttpClient, deployment_id: str, clock: Clock | None = None) -> None:
        self.id = deployment_id
        self._client = client
        self._clock = clock or SystemClock()

    def __repr__(self) -> str:
        return f"Deployment({self.id!r})"

    def status(self) -> DeploymentStatus:
        """Where it stands now."""
        return DeploymentStatus.from_answer(self._client.get(f"/api/deployments/{self.id}"))

    def wait(self, timeout: float = 300.0) -> DeploymentStatus:
        """Wait until it has ended, whichever way: look at `.state`.

        Args:
            timeout: seconds.

        Raises:
            DeadlineExceeded: it has not ended by then; it goes on nevertheless.
        """
        deadline = self._clock.monotonic() + timeout
        while True:
            status = self.status()
            if status.ended:
                return status
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise DeadlineExceeded(
                    f"deployment {self.id} of {status.model_id} {status.target_version} has not ended after "
                    f"{timeout:g} s; it is {status.state}: {status.reason}",
                    state=status.state,
                )
            time.sleep(min(_POLL_S, left))

    def approve(self, by: str = "") -> DeploymentStatus:
        """Let a deployment that awaits approval go on; `by` names who approves."""
        return self._steer("approve", {"by": by} if by else None)

    def pause(self) -> DeploymentStatus:
        """Stay at the present weight."""
        return self._steer("pause")

    def resume(self) -> DeploymentStatus:
        """Go on after a pause."""
        return self._steer("resume")

    def promote(self) -> DeploymentStatus:
        """Skip the remaining steps: all traffic to the target version."""
        return self._steer("promote")

    def abort(self) -> DeploymentStatus:
        """Stop, and give all traffic back to the version before."""
        return self._steer("abort")

    def rollback(self) -> DeploymentStatus:
        """Give all traffic back to the version before, even after completion."""
        return self._steer("rollback")

    def _steer(self, verb: str, body: Mapping[str, Any] | None = None) -> DeploymentStatus:
        try:
            answer = self._client.change("POST", f"/api/deployments/{self.id}/{verb}", body)
        except NotFound as error:
            if "nothing at" in error.message:
                raise StreambError(f"this platform cannot {verb} a deployment; it needs a newer streamb") from error
            raise
        return DeploymentStatus.from_answer(answer)
