"""The baseline: the usual distribution of a version's data, and the bins in which later data is counted."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgpack
import numpy as np
from numpy.typing import NDArray

from streamb.errors import ArtifactCorrupt, InvalidInput
from streamb.monitoring.profiles.column import Column
from streamb.monitoring.profiles.counting import Counting
from streamb.monitoring.profiles.joint import Joint
from streamb.monitoring.profiles.learning import learn_columns
from streamb.monitoring.profiles.performance import Performance
from streamb.monitoring.profiles.profile import Profile, pack_counters, seal, unpack_counters, unseal
from streamb.monitoring.profiles.tables import named_columns, output_columns
from streamb.store.plain import from_plain, to_plain

_MAGIC: Final = b"SBB1"


@dataclass(frozen=True, eq=False)
class Baseline:
    """The bins of every column, and the baseline's own data counted in them. No rows are kept.

    Attributes:
        baseline_id: digest of all other fields.
        columns: features first, in the order of the data, then outputs.
        joint: the joint counters of several columns; None with fewer than two numeric columns that vary.
        profile: the baseline's own data, counted in the bins.
        performance: the model's errors on the baseline; None without labels.
    """

    baseline_id: str
    columns: tuple[Column, ...]
    joint: Joint | None
    profile: Profile
    performance: Performance | None = None

    @classmethod
    def learn(
        cls,
        X: Any,  # noqa: N803 - the ecosystem's name
        predictions: Any = None,
        labels: Any = None,
        *,
        probabilities: Any = None,
        confidence: Any = None,
    ) -> Baseline:
        """Learn a baseline from data.

        Args:
            X: a DataFrame, an ndarray of shape (rows, features), a mapping from names to values, or a list of dicts, of
                rows or of texts. Columns without names are called x0, x1, …; a column of texts alone is called "text".
            predictions: the model's answers, shape (rows,) or (rows, outputs).
            labels: the truth, shape (rows,); needs predictions.
            probabilities: the probabilities of the classes, shape (rows, classes); a row's largest is its confidence.
            confidence: the probability of the predicted class, 0 to 1, shape (rows,).

        Raises:
            InvalidInput: there are no rows or columns, lengths differ, or labels come without predictions.
        """
        features, outputs = named_columns(X), output_columns(predictions)
        rows = len(next(iter(features.values())))
        if not rows:
            raise InvalidInput("a baseline needs rows; a thousand or more make a good one")
        for name, values in outputs.items():
            if len(values) != rows:
                raise InvalidInput(f"{len(values)} values of {name!r} for {rows} rows; give one for each row")
        if labels is not None and predictions is None:
            raise InvalidInput("labels need predictions to compare with; give both")
        if confidence is None and probabilities is not None:
            confidence = np.asarray(probabilities, np.float64).reshape(rows, -1).max(axis=1)
        performance = None if labels is None else Performance.learn(predictions, labels, confidence)
        columns, joint, counters = learn_columns(features, outputs)
        return _identified(columns, joint, counters, performance)

    @cached_property
    def counting(self) -> Counting:
        """The layout of the counters, with look-up tables that count rows (64 KiB for a numeric column)."""
        return Counting(self.columns, self.joint)

    def empty(self) -> Profile:
        """Return a profile without rows."""
        return Profile(self.baseline_id, np.zeros_like(self.profile.counters))

    @cached_property
    def features(self) -> tuple[str, ...]:
        """The names of the features, in order."""
        return tuple(column.name for column in self.columns if column.role == "feature")

    @cached_property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in order."""
        return tuple(column.name for column in self.columns if column.role == "output")

    def fold(self, X: Any, predictions: Any = None, *, names: Sequence[str] | None = None) -> Profile:  # noqa: N803
        """Count a table in the baseline's bins.

        Args:
            X: a table as for `learn`, or rows as a replica has them: an ndarray of shape (rows, features) or a list of
                lists. A dict in a list of dicts may omit missing values.
            predictions: the model's answers; without them (or without outputs in the baseline) only features count.
            names: the column names of `X` if it has none; by default the baseline's features in their order.

        Raises:
            InvalidFeatures: the columns differ from the baseline's; the message names them.
            InvalidInput: the number of predictions or of outputs is wrong.
        """
        return Profile(self.baseline_id, self.counting.count(X, predictions, names))

    def relearn(self, window: Profile) -> Baseline:
        """Return a baseline with the same bins and a window's counts.

        Raises:
            InvalidInput: the window is empty, or belongs to another baseline.
        """
        total = self.empty().plus(window)
        if not total.rows:
            raise InvalidInput("the window is empty: wait until the model has answered some requests")
        return _identified(self.columns, self.joint, total.counters.copy(), self.performance)

    def to_bytes(self) -> bytes:
        """Return the baseline as bytes, at most a kilobyte for each column, for `from_bytes`."""
        body = _body(self.columns, self.joint, self.performance)
        return seal(_MAGIC, {**body, "counters": pack_counters(self.profile.counters)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Baseline:
        """Return the baseline from the result of `to_bytes`.

        Raises:
            ArtifactCorrupt: the bytes are damaged, or are not a baseline.
        """
        body = unseal(_MAGIC, data, "baseline")
        try:
            columns = tuple(map(Column.from_plain, body["columns"]))
            joint = Joint.from_plain(body["joint"]) if body["joint"] else None
            performance = from_plain(Performance, body["performance"]) if body["performance"] else None
            counters = unpack_counters(body["counters"])
            found = _identified(columns, joint, counters, performance)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ArtifactCorrupt(f"this is not a baseline that this version reads: {error!r}") from error
        if found.counting.size != counters.size:
            raise ArtifactCorrupt("the counters of this baseline do not fit its columns; make it again")
        return found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Baseline) and self.baseline_id == other.baseline_id

    def __hash__(self) -> int:
        return hash(self.baseline_id)


def _body(columns: Sequence[Column], joint: Joint | None, performance: Performance | None) -> dict[str, Any]:
    return {
        "columns": [column.to_plain() for column in columns],
        "joint": joint.to_plain() if joint else None,
        "performance": to_plain(performance) if performance else None,
    }


def _identified(
    columns: tuple[Column, ...], joint: Joint | None, counters: NDArray[np.int64], performance: Performance | None
) -> Baseline:
    digest = hashlib.sha256(msgpack.packb(_body(columns, joint, performance)))
    digest.update(counters.astype("<i8").tobytes())
    counters.setflags(write=False)
    baseline_id = digest.hexdigest()
    return Baseline(baseline_id, columns, joint, Profile(baseline_id, counters), performance)
