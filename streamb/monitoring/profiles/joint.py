"""Joint counters of numeric columns: correlations, and the distance of rows from the baseline's principal plane.

Notation: each value is replaced by the **normal score** `u` of its bin, the mean of a standard normal variable within
it (van der Waerden 1952), in 32nds; missing ones are 0. So every column has the same bounded shape, and no outlier
decides. `S = sum u u'` holds the moments. The rows of `P` are the first principal components of the baseline's
correlations; the **residual** of a row is `|u|**2 - |P u|**2`, its squared distance from their plane. Its
distribution is counted in bins like that of a column: what one sees of it is then tested without any assumption about
the shape of the data.

The components are learned from half of the baseline's rows and the residuals counted over the rest, since rows are
nearer to a plane that was fitted to them.

To stay within a kilobyte for each feature, the first 64 columns of numbers take part, and at most 8 components. All
arithmetic is on integers that a float64 holds exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.monitoring.profiles.halves import first_half
from streamb.monitoring.profiles.number_bins import MOST_CLASSES, NumberBins

MOST_COLUMNS: Final = 64
LEAST_COLUMNS: Final = 2
_MOST_COMPONENTS: Final = 8
_EXPLAINED: Final = 0.65
SCORE_UNITS: Final = 32.0
_COMPONENT_UNITS: Final = 128.0
_BEYOND: Final = 2.5
"""The score of values outside the baseline's range."""
_VARIANCE_STEPS: Final = 16.0
"""Steps of an octave in which variances are kept, rounded up."""

Classes = NDArray[np.int64]
Moments = NDArray[np.float64]


@dataclass(frozen=True)
class Joint:
    """The joint counters of several columns.

    The counters: rows | sums of `u` | the upper triangle of `S`, row by row | the residual's classes and sums.

    Attributes:
        members: the indices of the baseline's columns that take part.
        scores: `u` of each class of each member, shape (members, 64), int8.
        components: `P` in 128ths, shape (components, members), int16.
        residual: the bins of the residual.
        variances: of `u_i u_j` over the baseline's rows as powers of two in 16ths, shape (pairs,), uint8.
    """

    members: tuple[int, ...]
    scores: NDArray[np.int8]
    components: NDArray[np.int16]
    residual: NumberBins
    variances: NDArray[np.uint8]

    @cached_property
    def _components(self) -> NDArray[np.float64]:
        return self.components.astype(np.float64)

    @classmethod
    def learn(cls, members: Sequence[int], bins: Sequence[NumberBins], classes: Classes) -> tuple[Joint, Classes]:
        """Return the joint counting and the baseline's counters, from the classes of values, shape (members, rows)."""
        scores = np.stack([_scores_of(one, row) for one, row in zip(bins, classes, strict=True)])
        u = scores.astype(np.float64)[np.arange(len(bins))[:, None], classes]
        first = first_half(u.shape[1])
        components = _components_of(u[:, first])
        residuals = _residuals(u[:, ~first], components.astype(np.float64))
        joint = cls(tuple(members), scores, components, NumberBins.learn(residuals), _variances_of(u))
        counters = np.zeros(joint.size, np.int64)
        joint._add_moments(u, counters)
        joint._add_residuals(residuals, counters)
        return joint, counters

    @property
    def width(self) -> int:
        """The number of columns that take part."""
        return len(self.members)

    @property
    def pairs(self) -> int:
        """The number of entries in the upper triangle of `S`, with its diagonal."""
        return self.width * (self.width + 1) // 2

    @property
    def residual_start(self) -> int:
        """The index of the residual's first counter."""
        return 1 + self.width + self.pairs

    @property
    def size(self) -> int:
        """The number of counters."""
        return self.residual_start + self.residual.size

    def add(self, u: Moments, counters: Classes) -> None:
        """Add rows to `counters` in place, by the normal scores of their values, shape (members, rows)."""
        self._add_moments(u, counters)
        self._add_residuals(_residuals(u, self._components), counters)

    def _add_moments(self, u: Moments, counters: Classes) -> None:
        counters[0] += u.shape[1]
        counters[1 : 1 + self.width] += u.sum(axis=1).astype(np.int64)
        counters[1 + self.width : self.residual_start] += (u @ u.T)[np.triu_indices(self.width)].astype(np.int64)

    def _add_residuals(self, residuals: Moments, counters: Classes) -> None:
        start = self.residual_start
        counters[start : start + self.residual.classes] += self.residual.count_classes(residuals)

    def correlations(self, counters: Classes) -> Moments:
        """Return the correlations of the normal scores, shape (members, members); 0 if a column does not vary."""
        means, products = self.moments(counters)
        covariances = products - np.outer(means, means)
        deviations = np.sqrt(np.clip(np.diag(covariances), 0.0, None))
        varying = deviations > 1e-6
        safe = np.where(varying, deviations, 1.0)
        return np.where(np.outer(varying, varying), covariances / np.outer(safe, safe), 0.0).clip(-1.0, 1.0)

    def moments(self, counters: Classes) -> tuple[Moments, Moments]:
        """Return the means of `u`, shape (members,), and of `u u'`, shape (members, members)."""
        rows = max(1, int(counters[0]))
        means = counters[1 : 1 + self.width] / (rows * SCORE_UNITS)
        products = np.zeros((self.width, self.width))
        upper = np.triu_indices(self.width)
        products[upper] = counters[1 + self.width : self.residual_start] / (rows * SCORE_UNITS**2)
        return means, products + np.triu(products, 1).T

    def pair_variances(self) -> Moments:
        """Return upper bounds of the variance of `u_i u_j` over the baseline, for each pair `i < j`, row by row."""
        return np.asarray(2.0 ** (self.variances.astype(np.float64) / _VARIANCE_STEPS - 8.0))

    def largest_products(self) -> Moments:
        """Return the largest possible `|u_i u_j|` for each pair `i < j`, row by row."""
        most = np.abs(self.scores.astype(np.float64)).max(axis=1) / SCORE_UNITS
        return np.asarray(np.outer(most, most)[np.triu_indices(self.width, 1)])

    def to_plain(self) -> list[Any]:
        """Return the joint counting as plain values, for `from_plain`."""
        trimmed = [row[: int(np.flatnonzero(row).max(initial=-1)) + 1].tobytes() for row in self.scores]
        components = self.components.astype("<i2").tobytes()
        return [list(self.members), trimmed, components, self.residual.to_plain(), self.variances.tobytes()]

    @classmethod
    def from_plain(cls, plain: Sequence[Any]) -> Joint:
        """Return the joint counting from the result of `to_plain`."""
        members = tuple(plain[0])
        scores = np.zeros((len(members), MOST_CLASSES), np.int8)
        for row, values in zip(scores, plain[1], strict=True):
            row[: len(values)] = np.frombuffer(values, np.int8)
        components = np.frombuffer(plain[2], "<i2").astype(np.int16).reshape(-1, len(members))
        return cls(
            members, scores, components, NumberBins.from_plain(plain[3]), np.frombuffer(plain[4], np.uint8).copy()
        )


def _scores_of(bins: NumberBins, classes: Classes) -> NDArray[np.int8]:
    """The normal score of each class, from how many rows of the baseline are in it."""
    counts = np.bincount(classes, minlength=bins.classes)[bins.below : bins.above + 1].astype(np.float64)
    scores = np.zeros(MOST_CLASSES)
    if counts.sum():
        edges = np.concatenate([[0.0], counts.cumsum() / counts.sum()])
        density = np.array([_density_at_quantile(edge) for edge in edges.tolist()])
        width = np.diff(edges)
        inside = np.where(width > 0.0, (density[:-1] - density[1:]) / np.where(width > 0.0, width, 1.0), 0.0)
        scores[bins.below : bins.above + 1] = inside
        scores[[bins.infinite[0], bins.below]] = -_BEYOND
        scores[[bins.above, bins.infinite[1]]] = _BEYOND
    return np.asarray(np.rint(scores * SCORE_UNITS), np.int8)


def _density_at_quantile(share: float) -> float:
    normal = NormalDist()
    return normal.pdf(normal.inv_cdf(share)) if 0.0 < share < 1.0 else 0.0


def _components_of(u: Moments) -> NDArray[np.int16]:
    """The first principal components: enough for 65 % of the variance, 8 at most, one direction less than there are."""
    centred = u - u.mean(axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values, vectors = values[::-1].clip(0.0), vectors[:, ::-1]
    explained = values.cumsum() / max(float(values.sum()), 1e-300)
    enough = int(np.searchsorted(explained, _EXPLAINED)) + 1
    count = max(1, min(enough, _MOST_COMPONENTS, len(values) - 1))
    return np.asarray(np.rint(vectors[:, :count].T * _COMPONENT_UNITS), np.int16)


def _residuals(u: Moments, components: Moments) -> Moments:
    """Squared distances from the plane of the components, in whole units; below 2**33 whatever the row."""
    along = components @ u
    return np.asarray(np.square(_COMPONENT_UNITS) * np.square(u).sum(axis=0) - np.square(along).sum(axis=0))


def _variances_of(u: Moments) -> NDArray[np.uint8]:
    """The variance of each product, rounded up, with an allowance for what so few rows may not have shown."""
    scaled = u / SCORE_UNITS
    first, second = scaled @ scaled.T, np.square(scaled) @ np.square(scaled).T
    rows = scaled.shape[1]
    most = np.abs(scaled).max(axis=1, initial=0.0)
    found = second / rows - np.square(first / rows) + 9.0 * np.square(np.outer(most, most)) / rows
    pairs = found[np.triu_indices(len(u), 1)].clip(2.0**-7)
    return np.asarray(np.ceil((np.log2(pairs) + 8.0) * _VARIANCE_STEPS).clip(0, 255), np.uint8)
