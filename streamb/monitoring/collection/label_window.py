"""Labels of the last minutes: what came since the last look, kept by the minute, so that accuracy is a recent one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from streamb.monitoring.collection.panes import Panes, pane_of

WINDOW_MINUTES: Final = 60
_COUNTED: Final = ("labels", "correct", "error_micro", "squared_error_micro")


class LabelWindow:
    """Turns totals that only grow into what is new, and into the window. Not thread-safe."""

    def __init__(self) -> None:
        self._before: dict[str, int] = {}
        self._panes: Panes[Counter[str]] = Panes()

    def take(self, totals: Mapping[str, int], now: float) -> Mapping[str, int]:
        """Take in the totals of a moment (as `metrics.Snapshot.feedback`); returns what came since the last ones.

        Totals that fell belong to a count that began anew: then all of them are new.
        """
        present = {key: totals.get(key, 0) for key in _COUNTED}
        new = {key: count - self._before.get(key, 0) for key, count in present.items()}
        if any(count < 0 for count in new.values()):
            new = present
        self._before = present
        found = {key: count for key, count in new.items() if count}
        self._panes.rewind(pane_of(now))  # where the clock was set back; else this does nothing
        if found:
            self._panes.add(pane_of(now), Counter(found))
        return found

    def window(self, now: float, minutes: int = WINDOW_MINUTES) -> Mapping[str, int]:
        """The labels that came in the last minutes, counted under the same names."""
        return dict(self._panes.window(pane_of(now), minutes) or {})

    def to_json(self) -> dict[str, Any]:
        """As JSON; `from_json` goes on from there."""
        return {"before": self._before, "panes": [[pane, dict(one)] for pane, one in self._panes.items()]}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> LabelWindow:
        """Go on where `to_json` was called."""
        found = cls()
        found._before = dict(document["before"])
        for pane, counts in document["panes"]:
            found._panes.add(pane, Counter(counts))
        return found
