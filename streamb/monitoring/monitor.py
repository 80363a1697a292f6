"""The Monitor without Ray: takes in what sources push, looks at every version, alerts, and answers questions."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from streamb.asking import Verbs, verb
from streamb.clock import Clock
from streamb.errors import NotFound
from streamb.monitoring.alerting import Alerting
from streamb.monitoring.alerts.causes import Facts, Happening
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
from streamb.monitoring.watches import Standing, Watches
from streamb.options import checked_window

_FORGOTTEN_S: Final = 3_600.0
"""A version that nobody has reported on for so long, and nobody asks, is no longer looked at."""
MOST_IN_FORCE: Final = 1_000
"""Baselines that are held in memory, the newest ones; and those of versions that are looked at, however many."""
_log = logging.getLogger(__name__)


class MonitorCore:
    """Safe to use from several threads; pushes wait for nothing but the aggregator.

    Attributes:
        verbs: everything that another process may ask of the Monitor and of its parts.
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
        self._happenings: Mapping[str, tuple[Happening, ...]] = {}
        self._tick_s = 0.0
        self.verbs = Verbs(self, baselines, watches, alerting.manager, alerting.courier, alerting.outbox)
        self._activate(self._live_versions())

    # --- the Monitor's own life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to deliver notifications. Idempotent."""
        self._alerting.start()

    def receive(self, push: Push) -> Ack:
        """Count what a source pushed.

        Raises:
            StorageFailed: it could not be written; the source sends it again.
        """
        return self._aggregator.receive(push)

    def tick(self) -> None:
        """Look at every version, and alert. What fails for one version is logged, and no matter for the others."""
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
            self._alerting.evaluate(alert for one in found.values() for alert in alerts_of(self._facts(one)))
        except Exception:
            _log.exception("alerts could not be judged; the next look follows")
        self._tick_s = self._clock.monotonic() - began

    def close(self) -> None:
        """Save everything and let go."""
        self._alerting.close()
        with self._lock:
            self._watches.save(now=True)
        self._aggregator.close()

    def told(self, happenings: Sequence[Mapping[str, Any]]) -> None:
        """What was done to models lately (`model_id`, `at`, `words`): it may be why something is wrong with them.

        Replaces what was told before.
        """
        found: dict[str, tuple[Happening, ...]] = {}
        for one in happenings:
            happening = Happening(float(one["at"]), str(one["words"]))
            found[one["model_id"]] = (*found.get(one["model_id"], ()), happening)
        self._happenings = found

    # --- health and drift ---------------------------------------------------------------------------------------------

    @verb
    def health(self, model_id: str, version: str | None = None) -> dict[str, Any]:
        """How a version does, as the last look found it; unknown where nobody has reported on it lately.

        Args:
            version: by default the one that is asked most.
        """
        key = (model_id, version if version is not None else self._main_version(model_id))
        standing = self._standings.get(key)
        return health_answer(standing if standing is not None else self._watches.unheard(key))

    @verb
    def overview(self) -> dict[str, dict[str, Any]]:
        """Each model that is asked: the worst status of its versions, and the reasons."""
        return overview_answer(list(self._standings.values()))

    @verb
    def drift(self, model_id: str, version: str | None = None, minutes: int | None = None) -> dict[str, Any]:
        """How far the last minutes of a version are from its baseline.

        Raises:
            NotFound: it has no baseline, or is still learning it.
            InvalidInput: no length of a window.
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
        """The drift of every version that there are rows of, fresh and enough: for the judgement of deployments."""
        return [score for one in self._standings.values() if (score := score_answer(one)) is not None]

    # --- baselines and thresholds -------------------------------------------------------------------------------------

    @verb
    def set_baseline(
        self, model_id: str, version: str, data: bytes, author: str = "", features: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Put a baseline in force, from the bytes that `Baseline.to_bytes` made.

        Args:
            features: those of the version, where it has a schema.

        Raises:
            ArtifactCorrupt: the bytes are damaged.
            InvalidFeatures: its features are not those of the version; names each.
            StorageFailed: it could not be stored; the one before is still in force.
        """
        baseline = Baseline.from_bytes(data)
        if features:
            check_columns(baseline.features, features, what=f"{model_id} {version}")
        with self._lock:
            record = self._baselines.add(model_id, version, baseline, author=author, origin="upload")
            self._activate(self._live_versions())
        return record.to_answer(active=True)

    @verb
    def update_baseline(
        self, model_id: str, version: str | None = None, minutes: int | None = None, author: str = ""
    ) -> dict[str, Any]:
        """Make the live traffic of the last minutes the baseline.

        With a baseline in force, its bins are kept and the window's rows become its counts. Without one, bins are
        chosen by what was seen so far, and the next 1,000 rows are counted in them: until then its answer says
        `learning`, and nothing is compared.

        Raises:
            NotFound: nothing was seen of the version in these minutes.
            InvalidInput: too few rows, or no length of a window.
        """
        version = version if version is not None else self._main_version(model_id)
        window = self._minutes if minutes is None else checked_window(minutes)
        with self._lock:
            record = self._live.take((model_id, version), window, author)
            self._activate(self._live_versions())
        return record.to_answer(active=True)

    @verb
    def set_thresholds(self, model_id: str, thresholds: Mapping[str, Any], author: str = "") -> dict[str, Any]:
        """Judge a model by these from now on; what is not named is not judged.

        Raises:
            InvalidInput: names each that is unknown or not possible.
        """
        with self._lock:
            return self._watches.set_thresholds(model_id, thresholds, author)

    @verb
    def exposition(self) -> bytes:
        """Everything as Prometheus text."""
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

    def _facts(self, standing: Standing) -> Facts:
        """What the rules of alerts judge a version by."""
        model_id, version = standing.model_id, standing.version
        return Facts(
            model_id,
            version,
            standing.health,
            silent_s=standing.silence_s,
            outcomes=standing.outcomes,
            happenings=self._happenings.get(model_id, ()),
            since=self._alerting.manager.since(model_id, version),
        )

    def _activate(self, live: Sequence[VersionKey]) -> None:
        """Have replicas fold by the baselines in force; let go of those that nobody needs."""
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
        """Versions that have replicas, or are asked."""
        return self._aggregator.live(_FORGOTTEN_S, METRICS_S)

    def _main_version(self, model_id: str) -> str:
        """The version of a model that is asked most.

        Raises:
            NotFound: nothing is known of the model.
        """
        standings = [one for one in self._standings.values() if one.model_id == model_id]
        if standings:
            return max(standings, key=lambda one: (one.health.current_metrics.requests, one.version)).version
        known = {*self._aggregator.versions(), *self._baselines.versions()}
        versions = sorted(version for model, version in known if model == model_id)
        if not versions:
            raise NotFound(f"no data of model {model_id!r} has arrived yet; deploy a version and send requests")
        return versions[-1]
