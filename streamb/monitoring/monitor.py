"""The Monitor without Ray: receives the counts of sources, judges every version, raises alerts, answers requests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streamb.asking import Verbs, change, verb
from streamb.clock import Clock
from streamb.errors import NotFound
from streamb.monitoring.alerting import Alerting
from streamb.monitoring.alerts.alert import Alert
from streamb.monitoring.alerts.causes import Facts
from streamb.monitoring.alerts.deployments import News, deployment_alerts, settled
from streamb.monitoring.alerts.rules import alerts_of
from streamb.monitoring.answers import drift_answer, health_answer, overview_answer, score_answer
from streamb.monitoring.baselines import Baselines
from streamb.monitoring.collection.aggregator import Aggregator
from streamb.monitoring.collection.push import Ack, Push, VersionKey
from streamb.monitoring.exposition import MonitorFacts, monitor_text
from streamb.monitoring.live_baseline import LEARNT_ROWS, LiveBaselines
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.tables import check_columns
from streamb.monitoring.watch import METRICS_S
from streamb.monitoring.watches import TICK_S, Standing, Watches
from streamb.options import checked_window

_FORGOTTEN_S: Final = 3_600.0
"""A version without a report or a request for so many seconds is no longer judged."""
_SILENT_S: Final = 4 * TICK_S
"""Without an answer of the Controller for so many seconds, what it told is no longer known to be true."""
MOST_IN_FORCE: Final = 1_000
"""The number of newest baselines kept in memory, in addition to those of all versions that are judged."""
_log = logging.getLogger(__name__)


class MonitorCore:
    """Judges all versions and raises alerts. Safe to use from several threads; a push waits only for the aggregator.

    Attributes:
        verbs: the methods of the Monitor and its parts that another process may call.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        aggregator: Aggregator,
        baselines: Baselines,
        watches: Watches,
        alerting: Alerting,
        window_minutes: int,
    ) -> None:
        self._clock = clock
        self._aggregator = aggregator
        self._baselines = baselines
        self._watches = watches
        self._alerting = alerting
        self._minutes = window_minutes
        self._live = LiveBaselines(aggregator, baselines)
        self._lock = threading.RLock()
        self._standings: Mapping[VersionKey, Standing] = {}
        self._active: dict[VersionKey, str] = {}
        self._news: News | None = None
        self._told_s = 0.0
        self._tick_s = 0.0
        parts = (self, baselines, watches, alerting.manager, alerting.courier, alerting.outbox)
        self.verbs = Verbs(*parts, keeper=alerting.outbox.answers)
        self._activate(self._live_versions())

    # --- the Monitor's own life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start delivering notifications. Idempotent."""
        self._alerting.start()

    def receive(self, push: Push) -> Ack:
        """Count a source's push.

        Raises:
            StorageFailed: the push could not be written; the source sends it again.
        """
        return self._aggregator.receive(push)

    def tick(self) -> None:
        """Judge every version, and evaluate alerts. An error of one version is logged and does not affect others."""
        began = self._clock.monotonic()
        with self._lock:
            live = self._live_versions()
            self._activate(live)
            found: dict[VersionKey, Standing] = {}
            for key in live:
                try:
                    self._live.advance(key)
                    found[key] = self._watches.look(key)
                except Exception:
                    _log.exception("a look at %s %s failed; the next one follows", *key)
            self._standings = found
            self._watches.forget(set(found))
            self._watches.save()
        try:
            self._alerting.evaluate(self._alerts(found))
        except Exception:
            _log.exception("alerts could not be judged; the next look follows")
        self._tick_s = self._clock.monotonic() - began

    def close(self) -> None:
        """Save the state, and close all files."""
        self._alerting.close()
        with self._lock:
            self._watches.save(now=True)
        self._aggregator.close()

    def told(self, news: News) -> None:
        """Replace what the Controller last told of deployments and versions."""
        self._news, self._told_s = news, self._clock.monotonic()

    # --- health and drift ---------------------------------------------------------------------------------------------

    @verb
    def health(self, model_id: str, version: str | None = None) -> dict[str, Any]:
        """Return a version's health from the last look; "unknown" without recent reports.

        Args:
            model_id: the model's name.
            version: the version; by default the one with the most requests.
        """
        key = (model_id, version if version is not None else self._main_version(model_id))
        standing = self._standings.get(key)
        return health_answer(standing if standing is not None else self._watches.unheard(key))

    @verb
    def overview(self) -> dict[str, dict[str, Any]]:
        """Return for each model the worst status of its versions that can be called, with reasons."""
        return overview_answer(self._present(self._standings))

    @verb
    def drift(self, model_id: str, version: str | None = None, minutes: int | None = None) -> dict[str, Any]:
        """Compare the last minutes of a version with its baseline.

        Args:
            model_id: the model's name.
            version: the version; by default the one with the most requests.
            minutes: the length of the window; by default the setting `monitoring_window_minutes`.

        Raises:
            NotFound: the version has no baseline, or is still learning it.
            InvalidInput: `minutes` is not a valid length of a window.
        """
        version = version if version is not None else self._main_version(model_id)
        minutes = self._minutes if minutes is None else checked_window(minutes)
        baseline = self._baselines.need(model_id, version)
        record = self._baselines.active_record(model_id, version)
        if record is not None and record.learning:
            rows = self._live.counted((model_id, version))
            raise NotFound(
                f"the baseline of {model_id} {version} is being learnt: {rows:,} of {LEARNT_ROWS:,} rows were counted"
            )
        report = self._watches.compare((model_id, version), baseline, minutes)
        return drift_answer(report, model_id, version, minutes, record)

    def scores(self) -> list[dict[str, Any]]:
        """Return the drift score of every version with enough recent rows; deployments are judged by it."""
        return [score for one in self._standings.values() if (score := score_answer(one)) is not None]

    # --- baselines and thresholds -------------------------------------------------------------------------------------

    @change
    def set_baseline(
        self, model_id: str, version: str, data: bytes, author: str = "", features: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Put a baseline in force.

        Args:
            model_id: the model's name.
            version: the version that the baseline is for.
            data: the result of `Baseline.to_bytes`.
            author: who sets it.
            features: the names of the version's features; None: it has no schema, so they are not checked.

        Raises:
            ArtifactCorrupt: the bytes are damaged.
            InvalidFeatures: its features differ from those of the version; the message names each.
            StorageFailed: it could not be stored; the earlier one is still in force.
        """
        baseline = Baseline.from_bytes(data)
        if features:
            check_columns(baseline.features, features, what=f"{model_id} {version}")
        with self._lock:
            record = self._baselines.add(model_id, version, baseline, author=author, origin="upload")
            self._activate(self._live_versions())
        return record.to_answer(active=True)

    @change
    def update_baseline(
        self, model_id: str, version: str | None = None, minutes: int | None = None, author: str = ""
    ) -> dict[str, Any]:
        """Make the live traffic of the last minutes the baseline (`version` and `minutes` as in `drift`).

        If there is a baseline, the new one has its bins and the window's counts. Otherwise bins are chosen from the
        traffic so far, and the next 1,000 rows are counted in them: until then the baseline is `learning`, and nothing
        is compared.

        Raises:
            NotFound: there were no rows of the version in these minutes.
            InvalidInput: there were too few rows, or `minutes` is not a valid length of a window.
        """
        version = version if version is not None else self._main_version(model_id)
        window = self._minutes if minutes is None else checked_window(minutes)
        with self._lock:
            record = self._live.take((model_id, version), window, author)
            self._activate(self._live_versions())
        return record.to_answer(active=True)

    @change
    def set_thresholds(self, model_id: str, thresholds: Mapping[str, Any], author: str = "") -> dict[str, Any]:
        """Judge a model by these thresholds from now on; a threshold that is not given is not judged.

        Raises:
            InvalidInput: a threshold is unknown or not valid; the message names each.
        """
        with self._lock:
            return self._watches.set_thresholds(model_id, thresholds, author)

    @verb
    def exposition(self) -> bytes:
        """Return all metrics of the Monitor as Prometheus text."""
        return monitor_text(
            MonitorFacts(
                standings=[one for _, one in sorted(self._standings.items())],
                firing=self._alerting.manager.firing(),
                notifications=self._alerting.courier.counts(),
                sources=len(self._aggregator.sources()),
                tick_s=self._tick_s,
            )
        )

    # ------------------------------------------------------------------------------------------------------------------

    def _alerts(self, found: Mapping[VersionKey, Standing]) -> list[Alert]:
        """The results of all rules at this look; of versions that are gone, none.

        While the Controller is silent, it is not known how deployments go: their alerts stay as they are. The routing
        table cannot change meanwhile, so what was gone before stays gone.
        """
        alerts = [alert for one in self._present(found) for alert in alerts_of(self._facts(one))]
        news = self._news if self._clock.monotonic() - self._told_s <= _SILENT_S else None
        alerts += deployment_alerts(news.deployments) if news is not None else []
        judged = {alert.fingerprint for alert in alerts}
        return alerts + settled(self._alerting.manager.open(), judged, news)

    def _present(self, found: Mapping[VersionKey, Standing]) -> list[Standing]:
        """The standings of versions in the routing table; of all versions before the Controller has told of it."""
        return [one for key, one in found.items() if self._news is None or key in self._news.versions]

    def _facts(self, standing: Standing) -> Facts:
        """The facts by which the alert rules judge a version."""
        model_id, version = standing.model_id, standing.version
        return Facts(
            model_id,
            version,
            standing.health,
            silent_s=standing.silence_s,
            outcomes=standing.outcomes,
            happenings=self._news.happenings.get(model_id, ()) if self._news is not None else (),
            since=self._alerting.manager.since(model_id, version),
        )

    def _activate(self, live: Sequence[VersionKey]) -> None:
        """Send the baselines in force to the replicas, and release those that are not needed."""
        wanted = self._baselines.hold(live, MOST_IN_FORCE)
        for key in wanted:
            baseline = self._baselines.active(*key)
            if baseline is not None and self._active.get(key) != baseline.baseline_id:
                self._aggregator.activate(*key, baseline)
                self._active[key] = baseline.baseline_id
        for key in self._active.keys() - wanted:
            self._aggregator.activate(*key, None)
            del self._active[key]

    def _live_versions(self) -> list[VersionKey]:
        """The versions that have replicas or receive requests."""
        return self._aggregator.live(_FORGOTTEN_S, METRICS_S)

    def _main_version(self, model_id: str) -> str:
        """The version of a model with the most requests.

        Raises:
            NotFound: no data of the model has arrived.
        """
        standings = [one for one in self._standings.values() if one.model_id == model_id]
        if standings:
            return max(standings, key=lambda one: (one.health.current_metrics.requests, one.version)).version
        known = {*self._aggregator.versions(), *self._baselines.versions()}
        versions = sorted(version for model, version in known if model == model_id)
        if not versions:
            raise NotFound(f"no data of model {model_id!r} has arrived yet; deploy a version and send requests")
        return versions[-1]
