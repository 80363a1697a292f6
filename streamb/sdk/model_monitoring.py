"""Monitoring of one model on a platform: health, drift and baselines, over HTTP."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from streamb.errors import InvalidInput
from streamb.sdk.http import HttpClient

_PREDICTION: Final = "streamb prediction"
_LABEL: Final = "streamb label"
_CONFIDENCE: Final = "streamb confidence"
_PROBABILITY: Final = "streamb probability"


class ModelMonitoring:
    """The monitoring of one model; `ProductionMLManager.monitoring` returns one.

    In all methods, `version` is a version number, an alias or "latest"; by default the version that serves.
    """

    def __init__(self, client: HttpClient, model_id: str) -> None:
        self._client = client
        self._path = f"/api/monitoring/{model_id}"
        self.model_id = model_id

    def __repr__(self) -> str:
        return f"ModelMonitoring(model_id={self.model_id!r})"

    def health(self, version: str | None = None) -> dict[str, Any]:
        """Return the health of a version: `status` (healthy, degraded, unhealthy, unknown), `reasons`, metrics, drift.

        Raises:
            NotFound: there is no such model or version.
            Unavailable: the Monitor cannot answer now, for example because it restarts.
        """
        return self._client.get(f"{self._path}/health", version=version)

    def drift(self, version: str | None = None, *, minutes: int | None = None) -> dict[str, Any]:
        """Return how far recent traffic has drifted from the baseline: `overall_drift_score`, and one per feature.

        Args:
            version: the version; by default the one that serves.
            minutes: compare the traffic of this many minutes; by default `ML_MONITORING_WINDOW_MINUTES`.

        Raises:
            NotFound: there is no such version, or it has no baseline.
        """
        return self._client.get(f"{self._path}/drift", version=version, minutes=minutes)

    def set_baseline(
        self,
        X: Any,  # noqa: N803 - the ecosystem's name
        predictions: Any = None,
        labels: Any = None,
        *,
        confidence: Any = None,
        probabilities: Any = None,
        version: str | None = None,
    ) -> dict[str, Any]:
        """Set the baseline of a version, which later traffic is compared with. Only counts are stored.

        Args:
            X: shape (rows, features): a DataFrame, a list of dicts or a mapping by column name; or an array or a list
                of rows in the order of the version's features.
            predictions: for these rows, shape (rows,) or (rows, outputs). Of dicts and lists only their type counts.
            labels: the true labels of these rows, shape (rows,).
            confidence: the confidence of each prediction, 0 to 1, shape (rows,).
            probabilities: the probability of each class, shape (rows, classes).
            version: the version; by default the one that serves.

        Raises:
            InvalidFeatures: the columns do not match those of the version; the message names each.
            BodyTooLarge: the table is too large; a sample of its rows is enough.
        """
        import numpy as np

        columns = self._named(X, version)
        outputs = [] if predictions is None else _split(predictions, _PREDICTION)
        shares = [] if probabilities is None else _split(np.asarray(probabilities).tolist(), _PROBABILITY)
        single = [(name, one) for name, one in ((_LABEL, labels), (_CONFIDENCE, confidence)) if one is not None]
        metadata = {
            "model_id": self.model_id,
            "version": version,
            "predictions": [name for name, _ in outputs] or None,
            "labels": _LABEL if labels is not None else None,
            "confidence": _CONFIDENCE if confidence is not None else None,
            "probabilities": [name for name, _ in shares],
        }
        return self._upload({**columns, **dict(outputs), **dict(shares), **dict(single)}, metadata)

    def update_baseline(self, minutes: int = 60, *, version: str | None = None) -> dict[str, Any]:
        """Make the traffic of the last `minutes` the new baseline."""
        body = {"model_id": self.model_id, "version": version, "from_window_minutes": minutes}
        return self._client.change("POST", "/api/monitoring/baseline", body)

    def baselines(self) -> list[dict[str, Any]]:
        """Return the baselines of all versions, newest first."""
        found: list[dict[str, Any]] = self._client.get(f"{self._path}/baselines")["items"]
        return found

    def set_thresholds(self, **thresholds: float) -> dict[str, Any]:
        """Set the limits that health is judged by. Limits that are not given are removed.

        Args:
            **thresholds: the fields of `streamb.metrics.limits.Limits`, as in `max_latency_ms=200`; docs/monitoring.md
                has them in a table.
        """
        return self._client.change("POST", f"{self._path}/thresholds", thresholds)

    def alerts(self) -> list[dict[str, Any]]:
        """Return the alerts of the model: firing, pending, and recently resolved."""
        return list(self._client.pages("/api/alerts", model=self.model_id))

    def _named(self, data: Any, version: str | None) -> dict[str, Any]:
        """Return the columns by name; unnamed columns get the names of the version's features."""
        from streamb.monitoring.profiles.tables import named_columns
        from streamb.monitoring.profiles.values import is_frame

        columns = named_columns(data)
        first = data[0] if isinstance(data, Sequence) and len(data) else None
        if is_frame(data) or isinstance(data, Mapping) or isinstance(first, Mapping):
            return columns
        found = self._client.get(f"/api/models/{self.model_id}/versions/{version or 'latest'}")
        names = [feature["name"] for feature in (found["schema"] or {}).get("features", [])]
        if names and len(names) != len(columns):
            raise InvalidInput(f"{self.model_id} has {len(names)} features; these rows have {len(columns)}")
        return dict(zip(names or columns, columns.values(), strict=True))

    def _upload(self, columns: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            table = pa.table({name: pa.array(values, from_pandas=True) for name, values in columns.items()})
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise InvalidInput(f"these columns do not form a table: {error}") from error
        with tempfile.TemporaryDirectory(prefix="streamb-") as scratch:
            path = Path(scratch) / "baseline.parquet"
            parquet.write_table(table, path, compression="zstd")
            return self._client.upload(
                "/api/monitoring/baseline", path, metadata, part="table", media_type="application/vnd.apache.parquet"
            )


def _split(values: Any, name: str) -> list[tuple[str, Any]]:
    """Return one column, or one for each output."""
    import numpy as np

    from streamb.metrics.predictions import countable
    from streamb.monitoring.profiles.tables import output_columns

    if isinstance(values, np.ndarray):
        values = countable(values)
    found = list(output_columns(values).values())
    return [(name if len(found) == 1 else f"{name} {index}", column) for index, column in enumerate(found)]
