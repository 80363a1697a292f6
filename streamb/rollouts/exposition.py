"""The metrics of deployments as Prometheus text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streamb.hashing import BASIS_POINTS
from streamb.metrics.criteria import Verdict
from streamb.metrics.export import LABELS
from streamb.rollouts.deployment import Deployment, DeploymentState

Counted = Counter[tuple[str, str]]
"""The number of deployments that ended, by strategy and result."""
_WAITS: Final = frozenset({DeploymentState.AWAITING_APPROVAL, DeploymentState.PAUSED})


@dataclass(frozen=True, slots=True)
class Shown:
    """A deployment, and when it ended (seconds since the epoch); None if it has not ended, or not lately."""

    deployment: Deployment
    ended_at: float | None = None


def deployments_text(shown: Sequence[Shown], counted: Counted, now: float) -> bytes:
    """Return the metrics of deployments in Prometheus's text format.

    Args:
        shown: the deployments to show; of several of the same version, the newest.
        counted: how many ended, by strategy and result.
        now: seconds since the epoch.
    """
    newest = {
        (one.deployment.model_id, one.deployment.target_version): one
        for one in sorted(shown, key=lambda one: one.deployment.created_at)
    }
    return generate_latest(_DeploymentCollector([one for _, one in sorted(newest.items())], counted, now))


class _DeploymentCollector(Collector):
    """Turns deployments into metric families, with a series for each version that is or was deployed lately."""

    def __init__(self, shown: Sequence[Shown], counted: Counted, now: float) -> None:
        self._shown = shown
        self._counted = counted
        self._now = now

    def collect(self) -> Iterator[Metric]:
        yield self._by("streamb_deployment_state", "1 for the current state.", ("state",), _states)
        yield self._gauge("streamb_deployment_step", "Current step, from 1.", lambda one: one.deployment.step + 1)
        yield self._gauge("streamb_deployment_steps", "Number of steps.", lambda one: len(one.deployment.steps))
        text = "Percent of the model's traffic."
        yield self._gauge("streamb_deployment_weight", text, lambda one: one.deployment.weight)
        text = "Share of the model's traffic, 0 to 1."
        yield self._gauge("streamb_deployment_share", text, lambda one: one.deployment.share / BASIS_POINTS)
        text = "1: it waits for somebody: an approval, or the end of a pause."
        yield self._gauge("streamb_deployment_waits", text, lambda one: one.deployment.state in _WAITS)
        text = "1 for the latest verdict of each criterion."
        yield self._by("streamb_deployment_verdict", text, ("criterion", "verdict"), _verdicts)
        text = "How long it has been in its present state or phase."
        yield self._gauge("streamb_deployment_phase_seconds", text, self._in_phase)
        text = "How long it took; half an hour after its end it is gone."
        yield self._gauge("streamb_deployment_duration_seconds", text, _duration)
        yield self._results()

    def _results(self) -> Metric:
        text = "Deployments that ended since the Controller started."
        family = CounterMetricFamily("streamb_deployments", text, labels=("strategy", "result"))
        for labels, count in sorted(self._counted.items()):
            family.add_metric(labels, count)
        return family

    def _in_phase(self, one: Shown) -> float | None:
        return max(0.0, self._now - one.deployment.phase_since) if one.deployment.active else None

    def _gauge(self, name: str, text: str, of: Callable[[Shown], float | None]) -> Metric:
        return self._by(name, text, (), lambda one: {} if (value := of(one)) is None else {(): value})

    def _by(
        self,
        name: str,
        text: str,
        labels: tuple[str, ...],
        of: Callable[[Shown], Mapping[tuple[str, ...], float]],
    ) -> Metric:
        family = GaugeMetricFamily(name, text, labels=(*LABELS, *labels))
        for one in self._shown:
            for values, number in of(one).items():
                family.add_metric((one.deployment.model_id, one.deployment.target_version, *values), number)
        return family


def _states(one: Shown) -> Mapping[tuple[str, ...], float]:
    return {(str(state),): state is one.deployment.state for state in DeploymentState}


def _verdicts(one: Shown) -> Mapping[tuple[str, ...], float]:
    return {
        (finding.criterion, str(verdict)): finding.verdict is verdict
        for finding in one.deployment.findings
        for verdict in Verdict
    }


def _duration(one: Shown) -> float | None:
    return None if one.ended_at is None else one.ended_at - one.deployment.created_at
