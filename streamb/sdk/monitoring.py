"""`EnhancedModelMonitoring`: drift, health and alerts of one model in any process: a notebook, a job, a service."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from streamb.charts.files import write_chart
from streamb.clock import Clock, SystemClock
from streamb.errors import InvalidInput
from streamb.monitoring.alerting import Alerting
from streamb.monitoring.alerts.causes import Facts
from streamb.monitoring.alerts.rules import alerts_of
from streamb.monitoring.channels import ChannelSpec, open_channels
from streamb.monitoring.drift.drift import DriftReport, Sensitivity, compare
from streamb.monitoring.health.health import ModelHealth, Status, Thresholds
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.watch import METRICS_S, Seen, VersionWatch, drift_threshold
from streamb.options import checked_window
from streamb.sdk.recording import LabelNote, Recorded, Recording, note_prediction

_FOLD_S: Final = 1.0
_JOIN_S: Final = 30.0
_log = logging.getLogger(__name__)


class EnhancedModelMonitoring:
    """Monitors the latency, errors, accuracy and drift of one model, reports its health, and sends alerts.

    Recording a prediction takes about a microsecond: it is queued, and a background thread (or the next call that
    needs the counts) counts it later. Rows are not stored, only counts. Thread-safe.

    Args:
        model_name: the name of the model in alerts and health.
        monitoring_interval_s: seconds between two checks of the background thread; above 0.
        drift_detection_enabled: whether to compare recorded predictions with the baseline.
        drift_sensitivity: "low", "medium" or "high": the drift score is 0.3 for a shift of 0.5, 0.25 or 0.1 standard
            deviations.
        performance_thresholds: the fields of `metrics.limits.Limits` by name, such as `{"max_latency_ms": 200}`;
            docs/monitoring.md lists them. A limit that is not given is not checked.
        alerting_enabled: whether to send alerts.
        alert_channels: where alerts go: "log", or for example `{"type": "slack", "webhook_url": "https://…"}`.
        alert_options: how alerts are routed, grouped and repeated, as in docs/alerting.md.
        window_minutes: measure drift over this many minutes, 1 to 1440.
        alerts_file: the file that keeps alerts across restarts; None: alerts end with the process.
        clock: the source of time; None: the system clock.

    Raises:
        InvalidInput: a threshold, channel, option or sensitivity is unknown or invalid; the message names each.
    """

    def __init__(
        self,
        *,
        model_name: str,
        monitoring_interval_s: float = 30.0,
        drift_detection_enabled: bool = True,
        drift_sensitivity: str = "medium",
        performance_thresholds: Mapping[str, float | None] | None = None,
        alerting_enabled: bool = False,
        alert_channels: Iterable[ChannelSpec] = ("log",),
        alert_options: Mapping[str, Any] | None = None,
        window_minutes: int = 60,
        alerts_file: str | Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        if not 0 < monitoring_interval_s < float("inf"):
            raise InvalidInput(f"monitoring_interval_s must be above 0, not {monitoring_interval_s}")
        checked_window(window_minutes)
        if drift_sensitivity not in set(Sensitivity):
            raise InvalidInput(f"drift_sensitivity must be one of {', '.join(Sensitivity)}, not {drift_sensitivity!r}")
        self.model_name = model_name
        self._clock = clock or SystemClock()
        self._interval_s = monitoring_interval_s
        self._with_drift = drift_detection_enabled
        thresholds = Thresholds.read(performance_thresholds or {})
        self._recording = Recording(model_name, self._clock, window_minutes=window_minutes)
        self._sensitivity = Sensitivity(drift_sensitivity)
        self._watch = VersionWatch(thresholds, self._sensitivity, interval_s=monitoring_interval_s)
        self._alerting: Alerting | None = None
        if alerting_enabled:
            file = None if alerts_file is None else Path(alerts_file)
            self._alerting = Alerting(
                open_channels(alert_channels, clock=self._clock), self._clock, file, alert_options
            )
        self._began = self._clock.monotonic()
        self._looking = threading.Lock()
        self._starting = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> EnhancedModelMonitoring:
        self.start_monitoring()
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EnhancedModelMonitoring(model_name={self.model_name!r})"

    # --- recording ---------------------------------------------------------------------------------------------------

    def set_baseline(
        self,
        X: Any,  # noqa: N803 - the ecosystem's name
        predictions: Any = None,
        labels: Any = None,
        *,
        confidence: Any = None,
    ) -> Baseline:
        """Set the baseline that later predictions are compared with. The window starts anew.

        Args:
            X: shape (rows, features): a DataFrame, an array, a list of dicts by column name, or a list of texts.
            predictions: the predictions for these rows; with them, drift of predictions is measured too.
            labels: the true labels of these rows; with predictions, a change of the error rate is detected.
            confidence: the confidence of each prediction, 0 to 1; with labels, accuracy can later be estimated
                before labels arrive.

        Raises:
            InvalidInput: a column cannot be used, or the arguments do not match; the message names them.
        """
        baseline = Baseline.learn(X, predictions, labels, confidence=confidence)
        self.use_baseline(baseline)
        return baseline

    def use_baseline(self, baseline: Baseline) -> None:
        """Use a baseline that was made earlier (`Baseline.from_bytes` reads one)."""
        with self._looking:
            self._recording.use(baseline)
            self._watch.use(baseline)

    def record_prediction(
        self,
        request_id: str,
        prediction: Any,
        features: Any,
        latency_ms: float,
        confidence: float | None = None,
        user_id: str | None = None,  # noqa: ARG002 - part of the public signature; not needed for counting
        *,
        failed: bool = False,
    ) -> None:
        """Record one prediction.

        Args:
            request_id: the id that `record_label` will use for its label.
            prediction: what the model predicted.
            features: one row: a dict, a Series or a frame of one row by column name; a list or array in the order of
                the baseline; or a text.
            latency_ms: how long the prediction took, in milliseconds.
            confidence: the confidence of the prediction, 0 to 1; any other value counts as unknown.
            user_id: accepted for completeness; it is not used.
            failed: whether the model failed or was too late, so that there is no prediction.

        Raises:
            ValueError: the latency is not a number.
        """
        note = note_prediction(request_id, prediction, features, latency_ms, confidence, failed=failed)
        if self._recording.note(note) and not self._wake.is_set():
            self._wake.set()

    def record_label(self, request_id: str, label: Any) -> None:
        """Record the true label of a prediction. Only its first label is used; later ones are counted as duplicates.

        A missing label (None, NaN) is ignored, and the prediction keeps waiting for its label.
        """
        if self._recording.note(LabelNote(request_id, label)) and not self._wake.is_set():
            self._wake.set()

    # --- results ------------------------------------------------------------------------------------------------------

    def get_model_health(self) -> ModelHealth:
        """Return the health of the model from all that was recorded so far; unknown if nothing was recorded."""
        with self._looking:
            self._recording.flush()
            total = self._recording.total()
            return self._watch.look(
                Seen(
                    outcomes=self._recording.recent(METRICS_S),
                    seconds=min(METRICS_S, max(1.0, self._clock.monotonic() - self._began)),
                    feedback=total.feedback,
                    window=self._recording.window() if self._with_drift else None,
                    now=self._clock.now(),
                    confidences=self._recording.confidences(),
                    stale=not total.total,
                )
            )

    def detect_drift(self, X: Any, predictions: Any = None) -> DriftReport:  # noqa: N803
        """Compare a table with the baseline now; the table is not recorded. `report.table()` is text for people.

        Args:
            X: the rows, as in `set_baseline`.
            predictions: the predictions for these rows.

        Raises:
            InvalidInput: there is no baseline yet.
            InvalidFeatures: the columns do not match those of the baseline; the message names each.
        """
        baseline = self._needed_baseline()
        window = baseline.fold(X, predictions)
        return compare(baseline, window, self._sensitivity, threshold=drift_threshold(self._watch.thresholds))

    def drift_picture(self, X: Any, path: str | Path, predictions: Any = None) -> Path:  # noqa: N803
        """Draw the report of `detect_drift` to a file (.svg, .png or .pdf), and return its path.

        Raises:
            ConfigError: any format but SVG needs matplotlib, which is not installed.
        """
        return write_chart(self.detect_drift(X, predictions).chart(), path)

    def update_baseline(self) -> Baseline:
        """Make the predictions of the window the new baseline; the bins stay the same.

        Raises:
            InvalidInput: there is no baseline yet, or the window is empty.
        """
        baseline = self._needed_baseline()
        self._recording.flush()
        window = self._recording.window()
        if window is None or not window.rows:
            raise InvalidInput("no prediction was recorded in the window, so there is nothing to make a baseline from")
        found = baseline.relearn(window)
        self.use_baseline(found)
        return found

    def recorded(self) -> Recorded:
        """Return how much was recorded so far."""
        self._recording.flush()
        return self._recording.recorded()

    def alerts(self) -> list[dict[str, Any]]:
        """Return pending, firing and recently resolved alerts; empty if alerting is off."""
        return [one.to_json() for one in self._alerting.manager.alerts()] if self._alerting is not None else []

    # --- the background -----------------------------------------------------------------------------------------------

    def start_monitoring(self) -> None:
        """Start the background thread, which checks and alerts every `monitoring_interval_s`. Idempotent."""
        with self._starting:
            if self._thread is None:
                self._stopping.clear()
                if self._alerting is not None:
                    self._alerting.start()
                self._thread = threading.Thread(target=self._run, name=f"monitor {self.model_name}", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Stop the background thread and count what was recorded. The object stays usable. Idempotent."""
        with self._starting:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            self._stopping.set()
            self._wake.set()
            thread.join(_JOIN_S)
            self._recording.flush()
            if self._alerting is not None:
                self._alerting.stop()

    def close(self) -> None:
        """Stop the background thread and close the alerts file. Idempotent."""
        self.stop()
        alerting, self._alerting = self._alerting, None
        if alerting is not None:
            alerting.close()

    def _run(self) -> None:
        due = self._clock.monotonic() + self._interval_s
        while not self._stopping.is_set():
            self._wake.wait(min(_FOLD_S, self._interval_s))
            self._wake.clear()
            try:
                self._recording.flush()
                if self._clock.monotonic() >= due:
                    due = self._clock.monotonic() + self._interval_s
                    self._judge()
            except Exception:
                _log.exception("a look at %s failed; the next one follows", self.model_name)

    def _judge(self) -> None:
        health = self.get_model_health()
        if self._alerting is not None and health.status is not Status.UNKNOWN:
            counts = self._recording.recent(METRICS_S).counts
            since = self._alerting.manager.since(self.model_name, "")
            facts = Facts(self.model_name, "", health, silent_s=0.0, outcomes=counts, since=since)
            self._alerting.evaluate(alerts_of(facts))

    def _needed_baseline(self) -> Baseline:
        baseline = self._watch.baseline
        if baseline is None:
            raise InvalidInput("there is no baseline to compare with: call set_baseline first")
        return baseline
