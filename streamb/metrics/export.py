"""Snapshots as Prometheus text.

Counters are those of the gateways that live now; when one goes, its part goes with it, which Prometheus reads as the
usual counter reset.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from streamb.metrics.snapshot import Snapshot, merge

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

DURATION_BOUNDS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
"""Upper bounds of the duration buckets, in seconds."""

_BATCH_EXPONENTS: Final = range(1, 14)
_LABELS: Final = ("model", "version")


def prometheus_text(snapshots: Sequence[Snapshot], *, gateways: int, version: str) -> bytes:
    """The exposition of `snapshots` (merged here, so pass every gateway's).

    Args:
        gateways: how many gateways answered with their counts.
        version: streamb's own version, for `streamb_build_info`.
    """
    registry = CollectorRegistry()
    registry.register(SnapshotCollector(merge(snapshots), gateways=gateways, version=version))
    return generate_latest(registry)


class SnapshotCollector(Collector):
    """Turns merged snapshots into metric families."""

    def __init__(self, snapshots: Sequence[Snapshot], *, gateways: int, version: str) -> None:
        self._snapshots = snapshots
        self._gateways = gateways
        self._version = version

    def collect(self) -> Iterator[Metric]:
        yield self._requests()
        yield self._outcomes()
        yield self._durations()
        yield self._batches()
        yield self._counter("streamb_rows", "Rows answered with predictions.", "rows")
        yield self._counter("streamb_call_retries", "Calls repeated because their replica died.", "retries")
        yield self._gauge("streamb_requests_in_flight", "Requests queued or being answered.", "in_flight")
        yield self._gauge("streamb_queue_length", "Requests that wait for a call.", "queued")
        yield GaugeMetricFamily("streamb_gateways", "Gateways that answered this scrape.", value=self._gateways)
        info = GaugeMetricFamily("streamb_build_info", "Always 1; what is running.", labels=("version", "python"))
        info.add_metric((self._version, platform.python_version()), 1)
        yield info

    def _requests(self) -> Metric:
        family = CounterMetricFamily("streamb_requests", "Answers by HTTP status.", labels=(*_LABELS, "code"))
        for one in self._snapshots:
            for code, count in sorted(one.codes.items()):
                family.add_metric((one.model_id, one.version, str(code)), count)
        return family

    def _outcomes(self) -> Metric:
        family = CounterMetricFamily("streamb_outcomes", "Answers by outcome class.", labels=(*_LABELS, "outcome"))
        for one in self._snapshots:
            for outcome, count in sorted(one.counts.items()):
                family.add_metric((one.model_id, one.version, outcome), count)
        return family

    def _durations(self) -> Metric:
        family = HistogramMetricFamily(
            "streamb_request_duration_seconds", "From a request's arrival to its answer.", labels=_LABELS
        )
        for one in self._snapshots:
            bounds = [(str(bound), float(one.latency.at_most(bound))) for bound in DURATION_BOUNDS]
            bounds.append(("+Inf", float(one.latency.count)))
            family.add_metric((one.model_id, one.version), bounds, sum_value=one.latency.total_s)
        return family

    def _batches(self) -> Metric:
        family = HistogramMetricFamily("streamb_batch_rows", "Rows in one call to a model version.", labels=_LABELS)
        for one in self._snapshots:
            bounds = [
                (str(float(2**exponent - 1)), float(sum(n for size, n in one.batch_sizes.items() if size <= exponent)))
                for exponent in _BATCH_EXPONENTS
            ]
            bounds.append(("+Inf", float(sum(one.batch_sizes.values()))))
            family.add_metric((one.model_id, one.version), bounds, sum_value=one.batch_rows)
        return family

    def _counter(self, name: str, text: str, attribute: str) -> Metric:
        family = CounterMetricFamily(name, text, labels=_LABELS)
        for one in self._snapshots:
            family.add_metric((one.model_id, one.version), getattr(one, attribute))
        return family

    def _gauge(self, name: str, text: str, attribute: str) -> Metric:
        family = GaugeMetricFamily(name, text, labels=_LABELS)
        for one in self._snapshots:
            family.add_metric((one.model_id, one.version), getattr(one, attribute))
        return family
