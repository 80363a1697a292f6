"""Turns recorded predictions and labels into counts: queued at once, folded in batches, joined by request id."""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamb.clock import Clock
from streamb.errors import StreambError
from streamb.metrics import OutcomeWindows, Snapshot, VersionRecorder
from streamb.metrics.outcome import Outcome
from streamb.monitoring.collection.panes import Panes, pane_of
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.profile import Profile
from streamb.sdk.label_join import LabelJoin
from streamb.sdk.rows import one_row, plain_value

BATCH: Final = 1024
"""Records that are folded together."""
MOST_WAITING: Final = 16 * BATCH
"""When this many records wait, the caller who adds another one folds a batch, so that memory stays bounded."""
_SOURCE: Final = "here"
_LONGEST_S: Final = 1e6
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """How much was recorded so far.

    Attributes:
        predictions: predictions that were answered.
        failures: predictions that failed.
        labels: labels that were joined to their prediction.
        duplicates: labels for a prediction that already had one.
        orphans: labels whose prediction is not known, or not known any more.
        unjoinable: labels that are missing or of the wrong type.
        misfits: predictions whose features do not match the baseline; drift ignores them.
        misfit: what was wrong with the last of these.
    """

    predictions: int
    failures: int
    labels: int
    duplicates: int
    orphans: int
    unjoinable: int
    misfits: int
    misfit: str


class _Prediction(NamedTuple):
    """A tuple, because creating one takes a third of the time of a frozen dataclass, and this path is hot."""

    request_id: str
    prediction: Any
    features: Any
    latency_s: float
    confidence: float
    failed: bool


class LabelNote(NamedTuple):
    """The record of a label."""

    request_id: str
    label: Any


class Recording:
    """What was recorded of one model. Any thread may add records; a lock lets one thread fold at a time.

    Args:
        model_name: the model that the counts belong to.
        clock: the source of time.
        window_minutes: how many minutes of counts to keep.
    """

    def __init__(self, model_name: str, clock: Clock, *, window_minutes: int) -> None:
        self._model_name = model_name
        self._clock = clock
        self._window_minutes = window_minutes
        self._notes: deque[_Prediction | LabelNote] = deque()
        self._lock = threading.RLock()
        self._recorder = VersionRecorder(model_name, "")
        self._windows = OutcomeWindows()
        self._joins = LabelJoin()
        self._baseline: Baseline | None = None
        self._panes: Panes[Profile] = Panes()
        self._confidences: Panes[NDArray[np.int64]] = Panes()
        self._misfits = 0
        self._misfit = ""

    def note(self, note: _Prediction | LabelNote) -> bool:
        """Add a record. Returns True if a batch is full."""
        self._notes.append(note)
        waiting = len(self._notes)
        if waiting > MOST_WAITING:
            self._fold(BATCH)
        return waiting >= BATCH

    def use(self, baseline: Baseline) -> None:
        """Count in the bins of this baseline from now on; the window starts anew."""
        with self._lock:
            self.flush()
            self._baseline, self._panes, self._confidences = baseline, Panes(), Panes()

    def flush(self) -> None:
        """Fold all records that were added before this call."""
        self._fold(len(self._notes))

    def window(self) -> Profile | None:
        """Return the counts of the window; None without a baseline."""
        with self._lock:
            if self._baseline is None:
                return None
            return self._panes.window(self._pane(), self._window_minutes) or self._baseline.empty()

    def confidences(self) -> NDArray[np.int64] | None:
        """Return the window's predictions by confidence, in the baseline's bins; None if it has no such bins."""
        with self._lock:
            return self._confidences.window(self._pane(), self._window_minutes)

    def recent(self, seconds: int) -> Snapshot:
        """Return what was counted in the last `seconds`."""
        return self._windows.recent(self._model_name, "", self._clock.monotonic(), seconds)

    def total(self) -> Snapshot:
        """Return everything that was counted so far."""
        return self._windows.total(self._model_name, "")

    def recorded(self) -> Recorded:
        """Return how many predictions and labels were counted, and how many were not."""
        total = self.total()
        told = {key: total.feedback.get(key, 0) for key in ("labels", "duplicates", "orphans", "unjoinable")}
        return Recorded(total.ok, total.blamed, **told, misfits=self._misfits, misfit=self._misfit)

    def _fold(self, most: int) -> None:
        with self._lock:
            while most > 0:
                notes = self._take(min(most, BATCH))
                if not notes:
                    return
                most -= len(notes)
                self._count(notes)
                self._profile([note for note in notes if isinstance(note, _Prediction) and not note.failed])
                self._windows.feed(_SOURCE, self._clock.monotonic(), [self._recorder.snapshot()])

    def _take(self, most: int) -> list[_Prediction | LabelNote]:
        taken = []
        for _ in range(most):
            try:
                taken.append(self._notes.popleft())
            except IndexError:
                break
        return taken

    def _count(self, notes: Iterable[_Prediction | LabelNote]) -> None:
        """Outcomes, latencies and labels, in the order in which they came."""
        performance = self._baseline.performance if self._baseline is not None else None
        task = performance.task if performance is not None else None
        for note in notes:
            if isinstance(note, LabelNote):
                for key, count in self._joins.labelled(note.request_id, note.label, task).items():
                    self._recorder.learned(key, count)
            elif note.failed:
                self._recorder.failed(Outcome.MODEL_ERROR, 500, note.latency_s)
            else:
                self._recorder.answered(note.latency_s, 1)
                self._joins.predicted(note.request_id, note.prediction)

    def _profile(self, notes: list[_Prediction]) -> None:
        """Fold the rows of a batch at once; if one does not match, fold them one by one."""
        if self._baseline is None or not notes:
            return
        table = self._baseline.performance.calibration if self._baseline.performance is not None else None
        if table is not None:
            self._confidences.add(self._pane(), table.fold([one.confidence for one in notes]))
        alike: dict[type, list[_Prediction]] = {}  # dicts, lists and single values form separate tables
        for one in notes:
            alike.setdefault(type(one.features), []).append(one)
        for group in alike.values():
            self._add_all(self._baseline, group)

    def _add_all(self, baseline: Baseline, notes: list[_Prediction]) -> None:
        try:
            self._add(baseline, notes)
        except Exception as error:  # one bad record must not keep the others from being counted
            if len(notes) == 1:
                self._misfits += 1
                self._complain(error.message if isinstance(error, StreambError) else repr(error))
                return
            for one in notes:
                self._add_all(baseline, [one])

    def _complain(self, misfit: str) -> None:
        if misfit != self._misfit:
            self._misfit = misfit
            _log.warning("drift of %s does not see predictions whose features do not fit: %s", self._model_name, misfit)

    def _add(self, baseline: Baseline, notes: list[_Prediction]) -> None:
        folded = baseline.fold([one.features for one in notes], [one.prediction for one in notes])
        self._panes.add(self._pane(), folded)

    def _pane(self) -> int:
        return pane_of(self._clock.monotonic())


def note_prediction(
    request_id: str, prediction: Any, features: Any, latency_ms: float, confidence: float | None, *, failed: bool
) -> _Prediction:
    """Make the record of a prediction; it copies what the caller may change later.

    Raises:
        ValueError: the latency is not a number.
    """
    seconds = float(latency_ms) / 1e3
    return _Prediction(
        request_id,
        plain_value(prediction),
        one_row(features),
        min(seconds, _LONGEST_S) if seconds > 0 else 0.0,
        _share(confidence),
        failed,
    )


def _share(confidence: Any) -> float:
    """Convert a confidence to a share, 0 to 1; NaN for anything else."""
    try:
        share = float(confidence)
    except (TypeError, ValueError):
        return math.nan
    return share if 0.0 <= share <= 1.0 else math.nan
