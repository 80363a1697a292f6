"""The limits of a model version, declared once: thresholds of its health, and criteria of its deployments."""

from __future__ import annotations

from streamb.options import NotNegative, Options, Positive, Share, option


class Limits(Options):
    """The limits of a version; a limit of None is not checked. A value exactly at its limit is within it."""

    max_error_rate: Share | None = option("Highest share of failed requests.", unit="share")
    max_latency_ms: Positive | None = option(
        "Highest latency, at the 95th percentile; in a deployment at `latency_percentile`.", unit="milliseconds"
    )
    min_accuracy: Share | None = option("Lowest share of correct predictions; from feedback.", unit="share")
    min_throughput: NotNegative | None = option(
        "Lowest number of requests answered per second.", unit="requests per second"
    )
    max_drift_score: Share | None = option(
        "Highest drift score, beyond chance; needs a baseline and 200 rows.", unit="score"
    )
