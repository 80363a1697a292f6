"""Snapshots as Prometheus text.

Counters are the sums over the running gateways; when a gateway ends, its part is lost, which Prometheus reads as a
usual counter reset.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Protocol, TypeVar

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from streamb.metrics.predictions import bucket_value
from streamb.metrics.snapshot import FEEDBACK_COUNTS, Snapshot, merge

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

DURATION_BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of the duration buckets, in seconds."""

_DECADES: Final = tuple(10.0**exponent for exponent in range(-3, 7))
VALUE_BOUNDS: Final = (*(-bound for bound in reversed(_DECADES)), 0.0, *_DECADES)
"""Upper bounds of the buckets of predicted numbers."""

DIFFERENCE_BOUNDS: Final = tuple(10.0**exponent for exponent in range(-6, 3))
"""Upper bounds of the buckets of relative differences."""

BATCH_BOUNDS: Final = tuple(float(2**exponent - 1) for exponent in range(1, 14))
"""Upper bounds of the buckets of rows in one call."""

LABELS: Final = ("model", "version")

F = TypeVar("F", CounterMetricFamily, GaugeMetricFamily)


class Counted(Protocol):
    """What is known of one model version."""

    @property
    def model_id(self) -> str: ...

    @property
    def version(self) -> str: ...


V = TypeVar("V", bound=Counted)


def prometheus_text(snapshots: Sequence[Snapshot], *, gateways: int, version: str) -> bytes:
    """Return `snapshots` of all gateways, which are merged here, in Prometheus's text format.

    Args:
        snapshots: the counts of every gateway.
        gateways: number of gateways that sent their counts.
        version: streamb's own version, for `streamb_build_info`.
    """
    return generate_latest(SnapshotCollector(merge(snapshots), gateways=gateways, version=version))


def limited_text(counts: Mapping[tuple[str, str, str], int]) -> bytes:
    """Return how many requests were above a limit on callers, in Prometheus's text format.

    Args:
        counts: the requests by role of the process ("gateway", "console"), kind of limit ("key", "address") and what
            became of them ("refused", "observed").
    """
    family = CounterMetricFamily(
        "streamb_rate_limited", "Requests above a limit on callers.", labels=("role", "limit", "result")
    )
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
    return generate_latest(_Single(family))


class _Single(Collector):
    """One metric family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterator[Metric]:
        yield self._family


class SnapshotCollector(Collector):
    """Turns merged snapshots into metric families."""

    def __init__(self, snapshots: Sequence[Snapshot], *, gateways: int, version: str) -> None:
        self._snapshots = snapshots
        self._gateways = gateways
        self._version = version

    def collect(self) -> Iterator[Metric]:
        yield self._requests()
        yield self._outcomes()
        yield self._counts(
            "streamb_aside",
            "Answers to requests that named their version, by outcome.",
            "outcome",
            lambda one: one.aside,
        )
        yield self._durations()
        yield self._batches()
        yield self._counter("streamb_rows", "Rows answered with predictions.", "rows")
        yield self._counter("streamb_call_retries", "Calls repeated because their replica died.", "retries")
        yield self._counter("streamb_disturbed", "Answers that waited for a replica that had died.", "disturbed")
        yield self._queue_wait()
        yield self._counter("streamb_fallbacks", "Requests of the version that its fallback answered.", "fallbacks")
        yield from self._predictions()
        yield from self._feedback()
        yield from self._shadow()
        yield self._gauge("streamb_requests_in_flight", "Requests queued or being answered.", "in_flight")
        yield self._gauge("streamb_queue_length", "Requests that wait for a call.", "queued")
        yield self._gauge("streamb_requests_overdue", "Requests that wait longer than they should.", "overdue")
        yield GaugeMetricFamily("streamb_gateways", "Gateways that answered this scrape.", value=self._gateways)
        info = GaugeMetricFamily("streamb_build_info", "Always 1; what is running.", labels=("version", "python"))
        info.add_metric((self._version, platform.python_version()), 1)
        yield info

    def _requests(self) -> Metric:
        return self._counts("streamb_requests", "Answers by HTTP status.", "code", lambda one: one.codes)

    def _outcomes(self) -> Metric:
        return self._counts("streamb_outcomes", "Answers by outcome class.", "outcome", lambda one: one.counts)

    def _queue_wait(self) -> Metric:
        family = CounterMetricFamily(
            "streamb_queue_wait_seconds", "Time that requests waited for a call.", labels=LABELS
        )
        return by_version(family, self._snapshots, lambda one: one.waited_ns / 1e9)

    def _durations(self) -> Metric:
        family = _histogram("streamb_request_duration_seconds", "From a request's arrival to its answer.")
        for one in self._snapshots:
            _add(family, one, DURATION_BOUNDS, one.latency.at_most, one.latency.count, one.latency.total_s)
        return family

    def _batches(self) -> Metric:
        family = _histogram("streamb_batch_rows", "Rows in one call to a model version.")
        for one in self._snapshots:
            sizes = {float(2**exponent - 1): calls for exponent, calls in one.batch_sizes.items()}
            _add(family, one, BATCH_BOUNDS, _up_to(sizes), sum(sizes.values()), one.batch_rows)
        return family

    def _predictions(self) -> Iterator[Metric]:
        yield self._counts("streamb_predictions", "Predicted classes.", "prediction", _labels_of)
        family = _histogram("streamb_prediction_value", "Predicted numbers.")
        for one in self._snapshots:
            numbers = {bucket_value(key): count for key, count in one.predictions.items() if isinstance(key, int)}
            if numbers:
                _add(family, one, VALUE_BOUNDS, _up_to(numbers), sum(numbers.values()), None)
        yield family

    def _feedback(self) -> Iterator[Metric]:
        yield self._counts("streamb_feedback", "Feedback on predictions.", "kind", _counted_feedback)
        yield self._summary("streamb_feedback_value", "Values that clients reported.", "values", "value")
        yield self._summary("streamb_feedback_error", "Distance from prediction to label.", "labels", "error")
        yield self._summary(
            "streamb_feedback_squared_error", "Distance from prediction to label, squared.", "labels", "squared_error"
        )

    def _shadow(self) -> Iterator[Metric]:
        yield self._counts("streamb_shadow", "Requests copied to the version.", "result", lambda one: one.shadow)
        shown = "Predicted classes for copied requests."
        yield self._counts("streamb_shadow_predictions", shown, "prediction", _shadow_labels_of)
        family = _histogram("streamb_shadow_difference", "Copied answers' distance from the real ones, relative.")
        for one in self._snapshots:
            apart = one.shadow_difference
            if apart.count:
                _add(family, one, DIFFERENCE_BOUNDS, apart.at_most, apart.count, apart.total_s)
        yield family

    def _counts(self, name: str, text: str, label: str, of: Callable[[Snapshot], Mapping[Any, int]]) -> Metric:
        return by_part(CounterMetricFamily(name, text, labels=(*LABELS, label)), self._snapshots, of)

    def _summary(self, name: str, text: str, count: str, total: str) -> Metric:
        """A summary of feedback: a sum, kept in millionths, and its count; versions without it are left out."""
        family = SummaryMetricFamily(name, text, labels=LABELS)
        for one in self._snapshots:
            if one.feedback.get(count):
                summed = one.feedback.get(f"{total}_micro", 0) / 1e6
                family.add_metric((one.model_id, one.version), count_value=one.feedback[count], sum_value=summed)
        return family

    def _counter(self, name: str, text: str, attribute: str) -> Metric:
        return by_version(CounterMetricFamily(name, text, labels=LABELS), self._snapshots, attrgetter(attribute))

    def _gauge(self, name: str, text: str, attribute: str) -> Metric:
        return by_version(GaugeMetricFamily(name, text, labels=LABELS), self._snapshots, attrgetter(attribute))


def by_version(family: F, versions: Iterable[V], of: Callable[[V], float | None]) -> F:
    """The family, with what `of` gives for each version; one for which it is None has no series."""
    for one in versions:
        value = of(one)
        if value is not None:
            family.add_metric((one.model_id, one.version), value)
    return family


def by_part(family: F, versions: Iterable[V], of: Callable[[V], Mapping[Any, float]]) -> F:
    """The family, with what `of` gives for each version by the value of a third label."""
    for one in versions:
        for part, value in sorted(of(one).items()):
            family.add_metric((one.model_id, one.version, str(part)), value)
    return family


def _histogram(name: str, text: str) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, labels=LABELS)


def _add(
    family: HistogramMetricFamily,
    of: Snapshot,
    bounds: Iterable[float],
    at_most: Callable[[float], int],
    count: int,
    total: float | None,
) -> None:
    """Add one version's histogram: the counts up to each of the bounds, and the total count and sum."""
    buckets = [*((str(bound), float(at_most(bound))) for bound in bounds), ("+Inf", float(count))]
    family.add_metric((of.model_id, of.version), buckets, sum_value=total)


def _up_to(counts: Mapping[float, int]) -> Callable[[float], int]:
    return lambda bound: sum(count for value, count in counts.items() if value <= bound)


def _labels_of(snapshot: Snapshot) -> dict[str, int]:
    return {key: count for key, count in snapshot.predictions.items() if isinstance(key, str)}


def _shadow_labels_of(snapshot: Snapshot) -> dict[str, int]:
    return {key: count for key, count in snapshot.shadow_predictions.items() if isinstance(key, str)}


def _counted_feedback(snapshot: Snapshot) -> dict[str, int]:
    return {key: snapshot.feedback[key] for key in FEEDBACK_COUNTS if key in snapshot.feedback}
