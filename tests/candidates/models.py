"""The candidates' models: what answers now, and versions of it that are wrong in one way each.

Rows of the family "numbers" are [chance, segment, a, b], all numbers: `chance` is even from 0 to 1 and new in each
request, `segment` belongs to the user (one of 50).
"""

from __future__ import annotations

import os
import signal
import sys
import time

import numpy as np


def in_a_replica() -> bool:
    """Neither where the model is made nor in its trial."""
    return "ray" in sys.modules and "pytest" not in sys.modules


class Steady:
    """Answers a number for each row, after `pause_s`."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.pause_s = pause_s

    def predict(self, X):
        if self.pause_s:
            time.sleep(self.pause_s)
        return self.answers(np.asarray(X, dtype=float))

    def answers(self, rows):
        return 100 * rows[:, 2] + 10 * rows[:, 3]


class Raises(Steady):
    """Raises for a share of the rows."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def answers(self, rows):
        if (rows[:, 0] < self.share).any():
            raise ValueError("no price for this row, on purpose")
        return super().answers(rows)


class Tires(Steady):
    """Answers so many rows in a replica, and raises for every other row from then on."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.left = rows

    def answers(self, rows):
        self.left -= len(rows)
        if self.left < 0 and (rows[:, 0] < 0.5).any():
            raise RuntimeError("tired, on purpose")
        return super().answers(rows)


class RaisesForSegment(Steady):
    """Raises for all rows of one segment."""

    def answers(self, rows):
        if (rows[:, 1] == 7).any():
            raise KeyError("segment 7 is not known, on purpose")
        return super().answers(rows)


class SlowerByTheRow(Steady):
    """As quick as the others while rows come one by one; each further row of a batch takes as long again."""

    def answers(self, rows):
        time.sleep(self.pause_s * (len(rows) - 1))
        return super().answers(rows)


class Hangs(Steady):
    """Never comes back from a share of the rows."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def answers(self, rows):
        if (rows[:, 0] < self.share).any():
            time.sleep(3_600)
        return super().answers(rows)


class Leaks(Steady):
    """Keeps 8 MB of each call, and is killed at 400 MB, as by the limit of a container."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = []

    def answers(self, rows):
        if in_a_replica():
            self.kept.append(np.ones(1 << 20))
            if len(self.kept) >= 50:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().answers(rows)


class AnswersNaN(Steady):
    """Answers no number for a share of the rows."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def answers(self, rows):
        return np.where(rows[:, 0] < self.share, np.nan, super().answers(rows))


class Constant(Steady):
    """Answers the same for all."""

    def answers(self, rows):
        return np.full(len(rows), 42.0)


class Shifted(Steady):
    """Answers half as much again as it should."""

    def answers(self, rows):
        return 1.5 * super().answers(rows)


class MissesARow(Steady):
    """Answers one row fewer than it was asked."""

    def answers(self, rows):
        return super().answers(rows)[1:]


class Words(Steady):
    """Answers strings where the others answer numbers."""

    def answers(self, rows):
        return np.array([f"{value:.0f} euros" for value in super().answers(rows)], dtype=object)


class ExitsOnLoad(Steady):
    """Ends its process where a replica loads it, or wherever it is loaded."""

    def __init__(self, *, everywhere: bool) -> None:
        super().__init__()
        self.everywhere = everywhere

    def save(self, folder) -> None:
        (folder / "everywhere").write_text("yes" if self.everywhere else "no")

    @classmethod
    def load(cls, folder):
        everywhere = (folder / "everywhere").read_text() == "yes"
        if "pytest" not in sys.modules and (everywhere or in_a_replica()):
            os._exit(3)
        return cls(everywhere=everywhere)


class ExitsOnCall(Steady):
    """Ends its process on its 50th call."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def answers(self, rows):
        if in_a_replica():
            self.calls += 1
            if self.calls >= 50:
                os._exit(3)
        return super().answers(rows)


class LoadsSlowly(Steady):
    """Takes its time to load in a replica."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def save(self, folder) -> None:
        (folder / "seconds").write_text(str(self.seconds))

    @classmethod
    def load(cls, folder):
        seconds = float((folder / "seconds").read_text())
        if in_a_replica():
            time.sleep(seconds)
        return cls(seconds)


class NeedsAPackage(Steady):
    """Imports a package that is installed nowhere, on its first call in a replica or on every first call."""

    def __init__(self, *, everywhere: bool) -> None:
        super().__init__()
        self.everywhere = everywhere

    def answers(self, rows):
        if "pytest" not in sys.modules and (self.everywhere or in_a_replica()):
            import importlib

            importlib.import_module("no_such_package_anywhere")
        return super().answers(rows)


class Priced:
    """Answers a number for each row of a frame; its columns are named, and more of them may be needed."""

    def __init__(self, columns: list[str]) -> None:
        self.columns = columns

    def predict(self, X):
        return 100 * X["size"].astype(float).to_numpy() + sum(
            10 * X[name].astype(float).to_numpy() for name in self.columns if name != "size"
        )


class Labels:
    """Answers one of two labels."""

    def __init__(self, labels: list[str], share_turned: float = 0.0) -> None:
        self.classes_ = np.array(labels)
        self.share_turned = share_turned

    def predict(self, X):
        rows = np.asarray(X, dtype=float)
        if np.isnan(rows).any():
            raise ValueError("all columns are needed, also those that decide nothing")
        said = rows[:, 2] > 0.5
        return self.classes_[np.where(rows[:, 0] < self.share_turned, ~said, said).astype(int)]
