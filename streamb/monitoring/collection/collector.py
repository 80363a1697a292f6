"""The collector of a replica: takes rows and predictions by reference, and folds them into counts in its own thread.

A request costs only `observe`, which is one append. Counts wait, minute by minute, until a push with them is
acknowledged; until then the same push is sent again, and newer counts are merged.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.clock import Clock
from streamb.errors import StreambError
from streamb.monitoring.collection.panes import pane_of
from streamb.monitoring.collection.push import Ack, Counts, Member, PaneCounts, Push, added
from streamb.monitoring.profiles.baseline import Baseline
from streamb.monitoring.profiles.sketch import Sketch

FOLD_ROWS: Final = 1_024
"""The number of rows that are folded at once, and that start a fold at once."""
FOLD_S: Final = 1.0
"""The longest time that rows wait to be folded, in seconds."""
CAPACITY_ROWS: Final = 65_536
CAPACITY_CELLS: Final = 4_000_000
"""The most rows that wait to be folded, and the most values in them; further rows are counted as dropped."""
SKETCHED_ROWS: Final = 256
"""Without a baseline, each fold sketches so many of its rows, evenly spaced: enough to choose bins from."""
MOST_PANES: Final = 60
"""The most minutes that wait for a push; beyond it, the oldest two are merged, which loses no count."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Pane:
    """The counts of one minute by one baseline that are not pushed yet."""

    counts: Counts | None = None
    rows: int = 0
    dropped: int = 0
    unreadable: int = 0

    def add(self, other: _Pane) -> None:
        """Add the counts of another pane."""
        self.counts = added([self.counts, other.counts])
        self.rows += other.rows
        self.dropped += other.dropped
        self.unreadable += other.unreadable


class Collector:
    """Collects the rows of one replica. Only one thread may call `observe`; any may call the other methods.

    Args:
        source: the id of this process, never used again on the platform.
        incarnation: the id of this collector; a new one starts counting from zero.
        model_id: the model's name.
        version: the version that the replica runs.
        clock: for the minute that rows are counted in.
        columns: names of the features in the order of the rows; None if the model has no schema.
        baseline: the baseline to fold by from the start; by default the Monitor sends the one in force.
    """

    def __init__(
        self,
        source: str,
        incarnation: str,
        model_id: str,
        version: str,
        clock: Clock,
        *,
        columns: Sequence[str] | None = None,
        baseline: Baseline | None = None,
    ) -> None:
        self._name = Member(source, incarnation, 0, model_id, version)
        self._clock = clock
        self._columns = None if columns is None else tuple(columns)
        self._baseline = baseline
        # `observe` writes only the first two, and folding only the third, so a request needs no lock.
        self._arrived = 0
        self._refused = 0
        self._taken = 0
        self._told_refused = 0
        self._capacity = CAPACITY_ROWS
        self._waiting: deque[tuple[Any, NDArray[Any]]] = deque()
        self._lock = threading.Lock()
        self._panes: dict[tuple[int, str], _Pane] = {}
        self._in_flight: Push | None = None
        self._sequence = 0
        self._complained = ""
        self._hurry = threading.Event()
        self._closed = False
        self._thread: threading.Thread | None = None

    # --- on a request's way -------------------------------------------------------------------------------------------

    def observe(self, rows: Any, predictions: NDArray[Any]) -> None:
        """Take answered rows with their predictions, by reference: the caller must not change them afterwards.

        Args:
            rows: shape (n, features), or a list of rows, each a list of values.
            predictions: shape (n,) or (n, outputs).
        """
        count = len(rows)
        waiting = self._arrived - self._taken + count
        if waiting > self._capacity:
            self._refused += count
            return
        self._arrived += count
        self._waiting.append((rows, predictions))
        if waiting >= FOLD_ROWS and not self._hurry.is_set():
            self._hurry.set()

    # --- folding ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start folding in the background."""
        self._thread = threading.Thread(target=self._keep_folding, name="fold", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Fold the rows that wait, and end the thread. The counts can still be pushed."""
        self._closed = True
        self._hurry.set()
        if self._thread is not None:
            self._thread.join(10)
        self.fold()

    def fold(self) -> None:
        """Fold all waiting rows now."""
        while self._waiting:
            with self._lock:  # for one fold at a time: a push need not wait for all of them
                if self._waiting:
                    self._fold_some()
        with self._lock:
            refused = self._refused
            if refused > self._told_refused:
                self._add(_Pane(dropped=refused - self._told_refused))
                self._told_refused = refused

    def _keep_folding(self) -> None:
        while not self._closed:
            self._hurry.wait(FOLD_S)
            self._hurry.clear()
            try:
                self.fold()
            except Exception:
                _log.exception("folding failed; monitoring goes on with the next rows")

    def _fold_some(self) -> None:
        """Fold the oldest batches that go together, up to `FOLD_ROWS` rows or one batch."""
        batches = [self._waiting.popleft()]
        count = len(batches[0][0])
        width = _width(batches[0][0])
        while self._waiting and count + len(self._waiting[0][0]) <= FOLD_ROWS:
            if _width(self._waiting[0][0]) != width or type(self._waiting[0][0]) is not type(batches[0][0]):
                break
            count += len(self._waiting[0][0])
            batches.append(self._waiting.popleft())
        self._capacity = max(FOLD_ROWS, min(CAPACITY_ROWS, CAPACITY_CELLS // max(1, width)))
        try:
            self._add(self._folded(_joined([rows for rows, _ in batches]), _joined([found for _, found in batches])))
        except Exception as error:
            # A client sent these rows and the model accepted them: an error in them must not end the thread.
            self._complain(error)
            self._add(_Pane(unreadable=count))
        finally:
            self._taken += count

    def _folded(self, rows: Any, predictions: Any) -> _Pane:
        if self._baseline is not None:
            return _Pane(self._baseline.fold(rows, predictions, names=self._columns), len(rows))
        step = -(-len(rows) // SKETCHED_ROWS)
        return _Pane(Sketch.of(rows[::step], predictions[::step], self._columns), len(rows))

    def _complain(self, error: Exception) -> None:
        text = error.message if isinstance(error, StreambError) else repr(error)
        if text != self._complained:
            self._complained = text
            _log.warning("rows of %s %s cannot be folded: %s", self._name.model_id, self._name.version, text)

    def _add(self, pane: _Pane) -> None:
        key = (pane_of(self._clock.now()), self._baseline_id)
        self._panes.setdefault(key, _Pane()).add(pane)
        mine = sorted(found for found, baseline_id in self._panes if baseline_id == self._baseline_id)
        if len(mine) > MOST_PANES:
            self._panes[mine[1], self._baseline_id].add(self._panes.pop((mine[0], self._baseline_id)))

    # --- pushing ------------------------------------------------------------------------------------------------------

    @property
    def baseline_id(self) -> str:
        """The id of the baseline that rows are folded by; "" if there is none."""
        with self._lock:
            return self._baseline_id

    @property
    def dropped(self) -> int:
        """The number of rows that were dropped since the start."""
        return self._refused

    def set_baseline(self, baseline: Baseline) -> None:
        """Fold by this baseline from now on; counts by another one are still pushed."""
        with self._lock:
            self._baseline = baseline

    def take(self, *, leaving: bool = False) -> Push:
        """Return the push to send: the same one until it is acknowledged, then all counts since.

        Args:
            leaving: whether the process ends after this push.
        """
        with self._lock:
            if self._in_flight is None:
                self._sequence += 1
                panes, self._panes = self._panes, {}
                own = replace(self._name, sequence=self._sequence, baseline_id=self._baseline_id, leaving=leaving)
                self._in_flight = Push((own,), tuple(map(self._encode, panes, panes.values())))
            return self._in_flight

    def acknowledged(self, push: Push, ack: Ack) -> None:
        """Record that the Monitor has stored the push; use the baseline in the answer, if there is one."""
        data = ack.baselines.get(self._name.key)
        baseline = self._read(data) if data is not None else None
        with self._lock:
            if self._in_flight is push:
                self._in_flight = None
            if baseline is not None:
                self._baseline = baseline

    @property
    def _baseline_id(self) -> str:
        return self._baseline.baseline_id if self._baseline is not None else ""

    def _encode(self, key: tuple[int, str], pane: _Pane) -> PaneCounts:
        data = b"" if pane.counts is None else pane.counts.to_bytes()
        numbers = (pane.rows, pane.dropped, pane.unreadable)
        return PaneCounts(self._name.model_id, self._name.version, key[0], key[1], data, *numbers)

    def _read(self, data: bytes) -> Baseline | None:
        try:
            return Baseline.from_bytes(data)
        except StreambError as error:
            self._complain(error)
            return None


def _width(rows: Any) -> int:
    """The number of values in the first row."""
    if isinstance(rows, np.ndarray):
        return rows[0].size if len(rows) else 0
    return len(rows[0]) if rows and isinstance(rows[0], (list, tuple)) else 1


def _joined(parts: list[Any]) -> Any:
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return [row for part in parts for row in part]
