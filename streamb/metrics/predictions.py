"""Counts of a version's predictions that merge exactly: labels by name, numbers by signed logarithmic buckets.

Notation: a number `v` is `±m * 2**e` with `1 <= m < 2`. Each octave `2**e` has 16 buckets, each 1/16 of it wide, read
straight from the bits of `v`; so no rounding decides, and every machine puts a number into the same bucket. Bucket
`k > 0` holds `a <= v < b`, bucket `-k` holds `-b < v <= -a`, and either speaks for `±2ab / (a + b)`, whose relative
error is at most `(b - a) / (b + a) <= 1/33`, 3.1 % (DDSketch, Masson et al. 2019, lemma 2). Bucket 0 holds what is
smaller than `2**-32`; the outermost ones hold all from `2**48` on. What is not a number (NaN) has the label "nan".

Labels are bounded to the alphabetically first 64, and all further ones count as "other". Which labels are first does
not depend on who saw them in which order: a label among the first 64 of all is among the first 64 of any part, so it is
never folded into "other" anywhere. That is why the bound may be applied in the recorder, in each merge and in each
difference, and the result is still the same for any sharding, order and grouping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
from heapq import nsmallest
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Prediction: TypeAlias = int | str
"""The key that a prediction is counted under: a bucket of numbers, or a class label."""

OTHER: Final = "other"
NAN: Final = "nan"
"""The label of an answer that is not a number where numbers are counted."""
MOST_LABELS: Final = 64
LONGEST_LABEL: Final = 64
"""Longer labels are cut, so that a version that predicts long texts costs no more than others."""

_SMALLEST_EXPONENT: Final = -32
_OCTAVES: Final = 80
_PER_OCTAVE: Final = 16
LAST_BUCKET: Final = _OCTAVES * _PER_OCTAVE

_SHIFT: Final = np.int64(52 - 4)  # a float64 has 52 bits of mantissa; the first four tell the 16 parts of an octave
_MAGNITUDE: Final = 0x7FFF
_INFINITY: Final = 0x7FF0
"""The exponent and first bits of infinity; what is above is not a number."""
_FIRST: Final = (1023 + _SMALLEST_EXPONENT) * _PER_OCTAVE - 1
MOST_VALUES: Final = 64
"""Rows with more values than this, such as embeddings, are counted as "list"; else each value would be counted."""

_WORDS: Final[dict[type, str]] = {dict: "object", list: "list"}
"""The labels of structured predictions: what is inside of them is not counted."""

_CROWD: Final = 4 * MOST_LABELS
"""How many raw labels are kept before they are folded, as folding at each new label would be slow."""


class PredictionCounter:
    """Counts the predictions of one version in one gateway. Not thread-safe: it belongs to the gateway's event loop."""

    __slots__ = ("_labels", "_numbers")

    def __init__(self) -> None:
        self._numbers: Counter[int] = Counter()
        self._labels: Counter[Any] = Counter()

    def count(self, values: NDArray[Any], task: str) -> None:
        """Count the predictions of one batch; several outputs for a row are counted one by one.

        Args:
            task: "classification" counts labels, also where they are numbers; with any other task, numbers are numbers.
        """
        values = countable(values)
        kind = values.dtype.kind
        if kind in "iuf" and task != "classification":
            self._numbers.update(_leading_bits(values).tolist())  # what bucket they mean can wait until somebody asks
            return
        flat = values.ravel().tolist()
        # Equal numbers have equal labels, so they are counted as they are; in a mixture, True would be the same as 1.
        self._labels.update(flat if kind in "iufU" else map(label_of, flat))
        if len(self._labels) > _CROWD:
            self._labels = Counter(_named(self._labels))

    def counts(self) -> dict[Prediction, int]:
        """Return everything counted so far, at most `MOST_LABELS` labels and "other"."""
        counts: dict[Prediction, int] = _named(self._labels)
        for leading, count in self._numbers.items():
            bucket: Prediction = NAN if leading & _MAGNITUDE > _INFINITY else _bucket(leading)
            counts[bucket] = counts.get(bucket, 0) + count
        return counts


def countable(values: NDArray[Any]) -> NDArray[Any]:
    """Return predictions as they are counted: structured ones as "object" or "list", all others as they are.

    Args:
        values: one entry per row; objects are values of JSON.

    >>> countable(np.array([{"a": 1}, [1, 2], "b", 0.5], dtype=object)).tolist()
    ['object', 'list', 'b', 0.5]
    """
    rows = len(values)
    if values.ndim > 2 or values.size > rows * MOST_VALUES:
        return np.full(rows, "list")
    if values.dtype.kind != "O" or not _WORDS.keys() & set(map(type, values.flat)):
        return values
    words = [_WORDS.get(type(value), value) for value in values.flat]
    return np.array(words, dtype=np.object_).reshape(values.shape)


def bucket_of(number: float) -> int:
    """Return the bucket of a number.

    >>> [bucket_of(number) for number in (0.0, 1.0, -1.0, 1.03, 1.07, 2.0)]
    [0, 513, -513, 513, 514, 529]
    """
    return _bucket(int(_leading_bits(np.array(number))[0]))


def _leading_bits(values: NDArray[Any]) -> NDArray[np.int64]:
    """Sign, exponent and first four bits of the mantissa of each number, flattened."""
    return np.ascontiguousarray(values, dtype=np.float64).ravel().view(np.int64) >> _SHIFT


def _bucket(leading: int) -> int:
    magnitude = min(max((leading & _MAGNITUDE) - _FIRST, 0), LAST_BUCKET)
    return magnitude if leading >= 0 else -magnitude


def bucket_value(bucket: int) -> float:
    """Return the number that represents a bucket.

    >>> round(bucket_value(513), 3), bucket_value(0)
    (1.03, 0.0)
    """
    if not bucket:
        return 0.0
    low, high = _bound(abs(bucket) - 1), _bound(abs(bucket))
    middle = 2.0 * low * high / (low + high)
    return middle if bucket > 0 else -middle


def _bound(index: int) -> float:
    octave, part = divmod(index, _PER_OCTAVE)
    return float(2.0 ** (_SMALLEST_EXPONENT + octave) * (1 + part / _PER_OCTAVE))


def label_of(value: object) -> str:
    """Return the name under which a class label is counted; the same for a whole number of any type.

    >>> label_of(2.0), label_of(2), label_of(True), label_of("setosa")
    ('2', '2', 'True', 'setosa')
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    return str(plain)[:LONGEST_LABEL]


def add(parts: Iterable[Mapping[Prediction, int]]) -> dict[Prediction, int]:
    """Return the sum of all counts, with the limit on labels applied; neither order nor grouping changes it."""
    total: Counter[Prediction] = Counter()
    for part in parts:
        total.update(part)
    return _bounded(total)


def fold(counts: Mapping[Prediction, int], kept: Container[Prediction]) -> dict[Prediction, int]:
    """Return the counts with every label that is not in `kept` added to "other"."""
    folded: dict[Prediction, int] = {}
    for key, count in counts.items():
        name = OTHER if isinstance(key, str) and key not in kept else key
        folded[name] = folded.get(name, 0) + count
    return folded


def _named(raw: Mapping[Any, int]) -> dict[Prediction, int]:
    named: dict[Prediction, int] = {}
    for value, count in raw.items():
        label = label_of(value)
        named[label] = named.get(label, 0) + count
    return _bounded(named)


def _bounded(counts: Mapping[Prediction, int]) -> dict[Prediction, int]:
    labels = [key for key in counts if isinstance(key, str) and key != OTHER]
    if len(labels) <= MOST_LABELS:
        return {key: count for key, count in counts.items() if count}
    kept = {key for key in counts if not isinstance(key, str)}.union(nsmallest(MOST_LABELS, labels))
    return fold(counts, kept)
