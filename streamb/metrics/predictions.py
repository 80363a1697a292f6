"""Counts of a version's predictions that merge exactly: labels by name, numbers by signed logarithmic buckets.

Notation: a number `v` is `±m * 2**e` with `1 <= m < 2`. Each octave `2**e` has 16 buckets, each 1/16 of it wide, read
straight from the bits of `v`; so no rounding decides, and every machine puts a number into the same bucket. Bucket
`k > 0` holds `a <= v < b`, bucket `-k` holds `-b < v <= -a`, and either speaks for `±2ab / (a + b)`, whose relative
error is at most `(b - a) / (b + a) <= 1/33`, 3.1 % (DDSketch, Masson et al. 2019, lemma 2). Bucket 0 holds what is
smaller than `2**-32`; the outermost ones hold all from `2**48` on. What is not a number (NaN) has the label "nan".

At most 64 labels are counted by name, and all others as "other". A set of names only ever grows, until it is full: a
name that is in it stays, and one that found it full is "other" for good, so no count ever moves from one name to
another, and none decreases. A recorder's set begins with the class labels of the version's signature, and takes what
else is predicted in the order of its first appearance. Gateways may keep different names, so whoever puts counts of
several of them together (`control.observations`, `metrics.windows`) passes them through a set of its own, once, where
they arrive (`bounded`). From there on all is plain addition: exact for any sharding, order and grouping.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping
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

_UNBOUNDED: Final = frozenset({OTHER, NAN})
"""Labels that take no place in a set of names."""

_CROWD: Final = 4 * MOST_LABELS
"""How many raw labels are kept before they are folded, as folding at each new label would be slow."""


class PredictionCounter:
    """Counts the predictions of one version in one gateway. Not thread-safe: it belongs to the gateway's event loop.

    Args:
        classes: the class labels that are counted by name in any case; a list within it has those of one output.
    """

    __slots__ = ("_kept", "_labels", "_numbers")

    def __init__(self, classes: Iterable[Any] | None = None) -> None:
        self._numbers: Counter[int] = Counter()
        self._labels: Counter[Any] = Counter()
        self._kept: set[str] = names_of(classes)

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
            self._labels = Counter(self._named())

    def counts(self) -> dict[Prediction, int]:
        """Return everything counted so far, at most `MOST_LABELS` labels and "other"."""
        counts = self._named()
        for leading, count in self._numbers.items():
            bucket: Prediction = NAN if leading & _MAGNITUDE > _INFINITY else _bucket(leading)
            counts[bucket] = counts.get(bucket, 0) + count
        return counts

    def _named(self) -> dict[Prediction, int]:
        named: dict[Prediction, int] = {}
        for value, count in self._labels.items():
            label = label_of(value)
            named[label] = named.get(label, 0) + count
        return bounded(named, self._kept)


def countable(values: NDArray[Any]) -> NDArray[Any]:
    """Return predictions as they are counted: structured ones as "object" or "list", all others as they are.

    Args:
        values: one entry per row; objects are values of JSON.

    >>> countable(np.array([{"a": 1}, [1, 2], "b", 0.5], dtype=object)).tolist()
    ['object', 'list', 'b', 0.5]
    >>> countable(np.array([1, 0.5], dtype=object))
    array([1. , 0.5])
    """
    rows = len(values)
    if values.dtype.names is not None:
        return np.full(rows, "object")
    if values.ndim > 2 or values.size > rows * MOST_VALUES:
        return np.full(rows, "list")
    if values.dtype.kind != "O":
        return values
    types = set(map(type, values.flat))
    if types == {int, float}:
        return values.astype(np.float64)
    if not _WORDS.keys() & types:
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


def names_of(classes: Iterable[Any] | None) -> set[str]:
    """Return the names of class labels; empty if they are unknown, or more than are counted by name.

    >>> sorted(names_of([0, 1])), sorted(names_of([["a", "b"], [True]]))
    (['0', '1'], ['True', 'a', 'b'])
    """
    names: set[str] = set()
    for one in classes or ():
        names.update(map(label_of, one) if isinstance(one, list | tuple) else (label_of(one),))
    return names - _UNBOUNDED if len(names) <= MOST_LABELS else set()


def bounded(counts: Mapping[Prediction, int], kept: set[str]) -> dict[Prediction, int]:
    """Return the counts with every label that is not in `kept` added to "other".

    Args:
        counts: counts by label or bucket.
        kept: the names that are kept apart, over time; new ones are added to it while there is room.
    """
    folded: dict[Prediction, int] = {}
    for key, count in counts.items():
        name = key
        if isinstance(key, str) and key not in kept and key not in _UNBOUNDED:
            if len(kept) < MOST_LABELS:
                kept.add(key)
            else:
                name = OTHER
        folded[name] = folded.get(name, 0) + count
    return folded


def comparable(
    left: Mapping[Prediction, int], right: Mapping[Prediction, int]
) -> tuple[dict[Prediction, int], dict[Prediction, int]]:
    """Return two counts so that the same label has the same name in both.

    Where one side has "other", a label that it does not name may be within that, so the other side's count of it is
    added to "other" as well. Where it has not, it never predicted the label.

    >>> comparable({"a": 5, "b": 5}, {"a": 5, "other": 5})
    ({'a': 5, 'other': 5}, {'a': 5, 'other': 5})
    >>> comparable({"a": 5, "b": 5}, {"a": 5})
    ({'a': 5, 'b': 5}, {'a': 5})
    """
    return (
        _only(left, right) if right.get(OTHER) else dict(left),
        _only(right, left) if left.get(OTHER) else dict(right),
    )


def _only(counts: Mapping[Prediction, int], kept: Container[Prediction]) -> dict[Prediction, int]:
    """Return the counts with every label that is not in `kept` added to "other"."""
    folded: dict[Prediction, int] = {}
    for key, count in counts.items():
        name = OTHER if isinstance(key, str) and key not in kept and key not in _UNBOUNDED else key
        folded[name] = folded.get(name, 0) + count
    return folded
