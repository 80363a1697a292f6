"""What a gateway bounds: work at once, waiting, sizes and times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """The bounds of one gateway.

    Attributes:
        max_concurrent_requests: requests inside calls to model versions at once, over all versions.
        max_queued_requests: requests that may wait for a call; one more is refused with 503.
        request_timeout_s: from joining the queue to the answer, in seconds.
        body_timeout_s: how long a body may take to arrive, in seconds.
        max_body_bytes: the largest body.
        max_held_bytes: of the bodies of large requests at once, whether they arrive, wait or are answered; one more
            is refused with 503. At least one of the largest always fits.
        max_request_rows: the most rows in one request.
        max_batch_rows: the most rows of several requests in one call; a larger single request goes alone.
        calls_per_replica: calls in flight to a version, for each of its replicas, before more requests wait together.
    """

    max_concurrent_requests: int = 200
    max_queued_requests: int = 1000
    request_timeout_s: float = 30.0
    body_timeout_s: float = 10.0
    max_body_bytes: int = 16 * 1024 * 1024
    max_held_bytes: int = 256 * 1024 * 1024
    max_request_rows: int = 20_000
    max_batch_rows: int = 4096
    calls_per_replica: int = 2
