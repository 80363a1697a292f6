"""The limits of a gateway: requests at once, waiting requests, sizes and times."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """The limits of one gateway.

    Attributes:
        max_concurrent_requests: requests inside calls to model versions at once, over all versions.
        max_queued_requests: requests that may wait for a call; a further one is refused with status 503.
        request_timeout_s: longest time from joining the queue to the answer, in seconds.
        body_timeout_s: how long a body may take to arrive, in seconds.
        max_body_bytes: the largest body, in bytes.
        max_held_bytes: bytes of large bodies in memory at once, while they arrive, wait or are answered; a further one
            is refused with status 503. At least one of the largest always fits.
        max_request_rows: the largest number of rows in one request.
        max_batch_rows: the largest number of rows of several requests in one call; a larger single request goes alone.
        calls_per_replica: calls in flight to a version, for each of its replicas, before more requests wait together.
        adapts_depth: whether it is one call instead, where that is measured to answer more (`depth.Depth`).
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
    adapts_depth: bool = True
