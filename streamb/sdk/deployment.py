"""A handle on one deployment: follow it, and steer it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from streamb.clock import Clock, SystemClock
from streamb.errors import DeadlineExceeded, NotFound, StreambError, Unavailable
from streamb.sdk.http import HttpClient

if TYPE_CHECKING:
    from streamb.metrics.criteria import Finding

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
        phase: what is done within the step: "gate", "capacity", "shift", "observe", …
        findings: what each criterion said of the target version when it was last judged.
        waiting_for: what a gate waits for; empty when it waits for nothing.
        steps: percent of the traffic in each step of the whole plan.
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
    phase: str = ""
    findings: tuple[Finding, ...] = ()
    waiting_for: str = ""
    steps: tuple[float, ...] = ()

    @property
    def ended(self) -> bool:
        """True when the deployment does nothing more by itself."""
        return self.state in _ENDED

    @classmethod
    def from_answer(cls, body: Mapping[str, Any]) -> DeploymentStatus:
        """From the JSON that the platform answers; what a newer platform adds is left out."""
        known = {name: body[name] for name in cls.__slots__ if name in body}
        findings = tuple(_finding(one) for one in body.get("findings", ()))
        steps = tuple(float(step["weight"]) for step in body.get("steps", ()))
        return cls(**{**known, "findings": findings, "steps": steps})


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

    def wait(
        self, timeout: float = 300.0, *, on_change: Callable[[DeploymentStatus], None] | None = None
    ) -> DeploymentStatus:
        """Wait until it has ended, whichever way: look at `.state`. One that is paused or awaits approval has not.

        A platform that cannot answer for a moment (its Controller is restarting) is waited for as well.

        Args:
            timeout: seconds.
            on_change: told where it stands, first at once, then whenever state, step, weight or gate are others.

        Raises:
            DeadlineExceeded: it has not ended by then; it goes on nevertheless.
        """
        deadline = self._clock.monotonic() + timeout
        told: tuple[object, ...] = ()
        last: DeploymentStatus | StreambError
        while True:
            try:
                last = status = self.status()
            except (Unavailable, DeadlineExceeded) as error:
                last = error
            else:
                now = (status.state, status.step, status.weight, status.waiting_for)
                if on_change is not None and now != told:
                    told = now
                    on_change(status)
                if status.ended:
                    return status
            left = deadline - self._clock.monotonic()
            if left <= 0:
                raise _too_late(self.id, timeout, last)
            time.sleep(min(_POLL_S, left))

    def approve(self, by: str = "", reason: str = "") -> DeploymentStatus:
        """Let a deployment that awaits approval go on; `by` names who approves, by default the owner of the API key.

        Raises:
            Forbidden: `by` is who began the deployment.
            InvalidTransition: it does not await approval.
        """
        return self._steer("approve", by=by, reason=reason)

    def pause(self, by: str = "", reason: str = "") -> DeploymentStatus:
        """Stay at the present weight."""
        return self._steer("pause", by=by, reason=reason)

    def resume(self, by: str = "", reason: str = "") -> DeploymentStatus:
        """Go on after a pause."""
        return self._steer("resume", by=by, reason=reason)

    def promote(self, by: str = "", reason: str = "") -> DeploymentStatus:
        """Skip the remaining steps: all traffic to the target version."""
        return self._steer("promote", by=by, reason=reason)

    def abort(self, by: str = "", reason: str = "") -> DeploymentStatus:
        """Stop, and give all traffic back to the version before."""
        return self._steer("abort", by=by, reason=reason)

    def rollback(self, to_version: str | None = None, reason: str = "", by: str = "") -> DeploymentStatus:
        """Give all traffic back to the version before, even after completion; `wait` then waits for that.

        Args:
            to_version: any version that was registered before; by default the one that answered before.
        """
        return self._steer("rollback", by=by, reason=reason, to_version=to_version)

    def _steer(self, verb: str, **said: str | None) -> DeploymentStatus:
        body = {name: value for name, value in said.items() if value}
        try:
            answer = self._client.change("POST", f"/api/deployments/{self.id}/{verb}", body or None)
        except NotFound as error:
            if "nothing at" in error.message:
                raise StreambError(f"this platform cannot {verb} a deployment; it needs a newer streamb") from error
            raise
        return DeploymentStatus.from_answer(answer)


def _finding(body: Mapping[str, Any]) -> Finding:
    from streamb.metrics.criteria import Finding, Verdict  # late: most answers carry none

    rest = {name: body.get(name) for name in ("value", "limit")}
    return Finding(
        body["criterion"], Verdict(body["verdict"]), body["detail"], **rest, samples=int(body.get("samples") or 0)
    )


def _too_late(deployment_id: str, timeout: float, last: DeploymentStatus | StreambError) -> DeadlineExceeded:
    if isinstance(last, StreambError):
        return DeadlineExceeded(
            f"deployment {deployment_id} has not ended after {timeout:g} s as far as is known; the platform does not "
            f"answer: {last.message}"
        )
    waits = f", waiting for {last.waiting_for}" if last.waiting_for else ""
    return DeadlineExceeded(
        f"deployment {deployment_id} of {last.model_id} {last.target_version} has not ended after {timeout:g} s; "
        f"it is {last.state}{waits}: {last.reason}",
        state=last.state,
    )
