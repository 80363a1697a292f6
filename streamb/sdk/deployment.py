"""A handle on one deployment: see its status, wait for its end, control it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from streamb.clock import Clock, SystemClock
from streamb.errors import DeadlineExceeded, NotFound, StreambError, Unavailable
from streamb.metrics.criteria import Finding, Verdict
from streamb.sdk.http import HttpClient
from streamb.store.plain import from_plain

T = TypeVar("T")

_ENDED: Final = frozenset({"completed", "rolled_back", "aborted", "failed"})
_POLL_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    """The status of a deployment.

    Attributes:
        state: pending, awaiting_approval, progressing, paused, completed, rolled_back, aborted or failed.
        weight: percent of the model's traffic that the target version gets, 0 to 100.
        step: index of the current step, counted from 0.
        reason: why it is in this state, in words.
        phase: what happens in the current step: "gate", "capacity", "shift", "observe", …
        findings: the latest result of each criterion.
        waiting_for: which approval it waits for; empty if it waits for none.
        steps: percent of the traffic in each step of the plan.
        needs: what somebody must decide; empty if it goes on by itself or has ended.
        approval_expires_at: when it is aborted without an approval, in seconds since the epoch; None if it needs none.
        watched_until: until when a completed deployment is still judged, and rolled back if the version fails, in
            seconds since the epoch; None if it is not.
        restarts: how often an app was started elsewhere, after the infrastructure took it away.
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
    needs: str = ""
    approval_expires_at: float | None = None
    watched_until: float | None = None
    restarts: int = 0

    @property
    def unknown(self) -> tuple[str, ...]:
        """What is not known yet: the criteria without a verdict, each with what is missing, in words."""
        return tuple(f"{one.criterion}: {one.detail}" for one in self.findings if one.verdict is Verdict.INCONCLUSIVE)

    @property
    def ended(self) -> bool:
        """True if the deployment has ended: it is completed, rolled back, aborted or failed."""
        return self.state in _ENDED

    @classmethod
    def from_answer(cls, body: Mapping[str, Any]) -> DeploymentStatus:
        """Read the JSON of a platform; unknown fields, which a newer platform may add, are ignored."""
        return from_plain(cls, {**body, "steps": [step["weight"] for step in body.get("steps", ())]})


class Deployment:
    """One deployment on a platform.

    Attributes:
        id: its id on the platform, such as "dep-0123456789ab".
    """

    def __init__(self, client: HttpClient, deployment_id: str, clock: Clock | None = None) -> None:
        self.id = deployment_id
        self._client = client
        self._clock = clock or SystemClock()

    def __repr__(self) -> str:
        return f"Deployment({self.id!r})"

    def status(self) -> DeploymentStatus:
        """Return its current status."""
        return DeploymentStatus.from_answer(self._client.get(f"/api/deployments/{self.id}"))

    def wait(
        self, timeout: float = 300.0, *, on_change: Callable[[DeploymentStatus], None] | None = None
    ) -> DeploymentStatus:
        """Wait until the deployment has ended, and return its status; `.state` says how it ended.

        A deployment that is paused or awaits approval has not ended. If the platform cannot answer for a moment, for
        example while its Controller restarts, the wait continues.

        Args:
            timeout: maximum wait, in seconds.
            on_change: called with the status at once, and again whenever state, step, weight or gate change.

        Raises:
            DeadlineExceeded: it has not ended after `timeout` seconds. The deployment itself continues.
        """
        told: tuple[object, ...] = ()
        last: DeploymentStatus | None = None

        def ended() -> DeploymentStatus | None:
            nonlocal told, last
            last = status = self.status()
            now = (status.state, status.step, status.weight, status.waiting_for)
            if on_change is not None and now != told:
                told = now
                on_change(status)
            return status if status.ended else None

        return _until(ended, timeout, self._clock, lambda trouble: _too_late(self.id, timeout, trouble or last))

    def approve(self, by: str = "", reason: str = "") -> DeploymentStatus:
        """Approve a deployment that awaits approval.

        Args:
            by: a comment on who decided; the history names the caller. The same holds for the methods below.
            reason: why; recorded in the history.

        Raises:
            SelfApproval: the caller is the author of the deployment (allowed in development).
            InvalidTransition: the deployment does not await approval.
        """
        return self._steer("approve", by=by, reason=reason)

    def pause(self, by: str = "", reason: str = "") -> DeploymentStatus:
        """Keep the current traffic weight until `resume`."""
        return self._steer("pause", by=by, reason=reason)

    def resume(self, by: str = "", reason: str = "") -> DeploymentStatus:
        """Continue a paused deployment."""
        return self._steer("resume", by=by, reason=reason)

    def promote(self, by: str = "", reason: str = "", *, force: bool = False) -> DeploymentStatus:
        """Skip the remaining steps and send all traffic to the target version.

        Args:
            by, reason: as in `approve`.
            force: do it though no step has judged the version so far; only an administrator may.
        """
        return self._steer("promote", by=by, reason=reason, force=force)

    def abort(self, by: str = "", reason: str = "") -> DeploymentStatus:
        """Stop the deployment and send all traffic to the previous version."""
        return self._steer("abort", by=by, reason=reason)

    def rollback(
        self, to_version: str | None = None, reason: str = "", by: str = "", *, force: bool = False
    ) -> DeploymentStatus:
        """Send all traffic to an earlier version, even after completion. `wait` then waits for that.

        Args:
            to_version: the version to go back to; by default the one that answered before this deployment.
            reason: why; recorded in the history.
            by: a comment on who decided it; the history names the caller.
            force: also to a version that has never served; only an administrator may.
        """
        return self._steer("rollback", by=by, reason=reason, to_version=to_version, force=force)

    def _steer(self, verb: str, **said: str | bool | None) -> DeploymentStatus:
        body = {name: value for name, value in said.items() if value}
        try:
            answer = self._client.change("POST", f"/api/deployments/{self.id}/{verb}", body or None)
        except NotFound as error:
            if "nothing at" in error.message:
                raise StreambError(f"this platform cannot {verb} a deployment; upgrade its streamb") from error
            raise
        return DeploymentStatus.from_answer(answer)


def wait_until_stopped(
    client: HttpClient, undeployment: Mapping[str, Any], timeout: float, clock: Clock | None = None
) -> None:
    """Wait until the apps of a model that was undeployed are gone; the wait continues while the Controller restarts.

    Args:
        client: of the platform.
        undeployment: the platform's answer to the order.
        timeout: maximum wait, in seconds.
        clock: measures the wait.

    Raises:
        DeadlineExceeded: an app still runs after `timeout` seconds. It stops by itself later.
    """
    model_id = undeployment["model_id"]

    def stopped() -> bool | None:
        now = client.get(f"/api/models/{model_id}/status")["undeployment"]
        return None if now is not None and now["at"] == undeployment["at"] else True

    def late(trouble: StreambError | None) -> DeadlineExceeded:
        apps = ", ".join(undeployment["apps"])
        why = f"the platform does not answer: {trouble.message}" if trouble is not None else f"{apps} still runs"
        return DeadlineExceeded(f"{model_id} gets no new requests, but after {timeout:g} s {why}")

    _until(stopped, timeout, clock or SystemClock(), late)


def _until(
    look: Callable[[], T | None],
    timeout: float,
    clock: Clock,
    late: Callable[[StreambError | None], DeadlineExceeded],
) -> T:
    """Call `look` until it returns a value, and return that; a platform that cannot answer for a moment is asked again.

    Args:
        look: asks the platform; returns None if there is nothing to return yet.
        timeout: maximum wait, in seconds.
        clock: measures the wait.
        late: makes the error that is raised after `timeout` seconds from the last error of `look`, if there was one.
    """
    deadline = clock.monotonic() + timeout
    while True:
        trouble: StreambError | None = None
        try:
            found = look()
        except (Unavailable, DeadlineExceeded) as error:
            trouble = error
        else:
            if found is not None:
                return found
        remaining = deadline - clock.monotonic()
        if remaining <= 0:
            raise late(trouble)
        time.sleep(min(_POLL_S, remaining))


def _too_late(deployment_id: str, timeout: float, last: DeploymentStatus | StreambError | None) -> DeadlineExceeded:
    if not isinstance(last, DeploymentStatus):
        return DeadlineExceeded(
            f"the platform does not answer, so the state of deployment {deployment_id} after {timeout:g} s is not "
            f"known: {last.message if last is not None else 'no answer'}"
        )
    waits = f", waiting for {last.waiting_for}" if last.waiting_for else ""
    return DeadlineExceeded(
        f"deployment {deployment_id} of {last.model_id} {last.target_version} has not ended after {timeout:g} s; "
        f"it is {last.state}{waits}: {last.reason}",
        state=last.state,
    )
