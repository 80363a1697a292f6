"""How a forest's prediction depends on one or two parameters, averaged over the ranges of all others.

Notation, as in Hutter, Hoos & Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance" (ICML
2014), for one tree with leaves `l`:

| symbol | here | meaning |
| --- | --- | --- |
| `c_l` | `values` | what leaf `l` predicts |
| `θ_l` | `covers` | the box of leaf `l`; per axis, which cells it covers |
| `‖θ_lu‖` | `volumes` | the share of axis `u` that the box covers; the product over axes is the leaf's volume |
| `a_0` | `mean` | the mean over the whole space |
| `a_u(θ_u)` | `curve`, `surface` | the marginal: the mean over all axes but those in `u` (their equation 5) |
| `V`, `V_u` | `variance`, `main`, `pair` | the tree's variance, and the part due to `u` alone (equations 3 and 6) |

A tree cuts each axis into cells at its thresholds; the sums below run over cells, so they are exact. A category is a
cell of its own. The forest comes from scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TREES: Final = 64
_FEWEST_IN_A_LEAF: Final = 2


@dataclass(frozen=True, slots=True)
class _Tree:
    """One tree of the forest as arrays.

    Attributes:
        values: predictions (leaves,). volumes: shares of the axes (leaves, axes).
        edges: per axis, the upper ends of its cells, ascending.
        weights: per axis, the share of the axis that each cell covers.
        covers: per axis, (leaves, cells): 1 where the leaf's box covers the cell, else 0.
    """

    values: Array
    volumes: Array
    edges: tuple[Array, ...]
    weights: tuple[Array, ...]
    covers: tuple[Array, ...]

    @property
    def mean(self) -> float:
        return float(self.values @ self.volumes.prod(axis=1))

    @property
    def variance(self) -> float:
        return float((self.values - self.mean) ** 2 @ self.volumes.prod(axis=1))

    def curve(self, i: int) -> Array:
        """Return the marginal `a_i` at each cell of axis `i`."""
        return np.asarray((self.values * self._volume_without(i)) @ self.covers[i])

    def surface(self, i: int, j: int) -> Array:
        """Return the marginal `a_ij` at each pair of cells (cells of i, cells of j)."""
        scaled = self.covers[i] * (self.values * self._volume_without(i, j))[:, None]
        return np.asarray(scaled.T @ self.covers[j])

    def main(self, i: int) -> float:
        """Return `V_i`, the variance explained by axis `i` alone."""
        return float((self.curve(i) - self.mean) ** 2 @ self.weights[i])

    def pair(self, i: int, j: int) -> float:
        """Return `V_ij`, the variance that both explain together beyond what each explains alone."""
        alone = self.curve(i)[:, None] + self.curve(j)[None, :]
        return float(self.weights[i] @ (self.surface(i, j) - alone + self.mean) ** 2 @ self.weights[j])

    def cells(self, i: int, positions: Array) -> NDArray[np.intp]:
        """Return the index of the cell of axis `i` in which each position lies."""
        return np.minimum(np.searchsorted(self.edges[i], positions, side="left"), len(self.edges[i]) - 1)

    def _volume_without(self, *axes: int) -> Array:
        return np.asarray(np.delete(self.volumes, axes, axis=1).prod(axis=1))


class Marginals:
    """Fits a forest to rows and values, and computes its marginals.

    Args:
        rows: positions (n, d), each column between 0 and 1.
        values: the value measured at each row (n,).
        categories: per column, the number of categories, which lie at `(k + 1/2) / m`; 0 for a range.
        seed: seed of the forest.

    >>> rows = np.random.default_rng(0).random((200, 3))
    >>> shares = Marginals(rows, 5.0 * rows[:, 1], (0, 0, 0)).main_shares().mean(axis=0)
    >>> int(shares.argmax()), bool(shares[1] > 0.95)
    (1, True)
    """

    def __init__(self, rows: Array, values: Array, categories: tuple[int, ...], *, seed: int = 0) -> None:
        from sklearn.ensemble import RandomForestRegressor

        forest = RandomForestRegressor(TREES, min_samples_leaf=_FEWEST_IN_A_LEAF, random_state=seed, n_jobs=1)
        forest.fit(rows, values)
        taken_apart = [_take_apart(one.tree_, categories) for one in forest.estimators_]
        self._trees = [tree for tree in taken_apart if tree.variance > 0.0]
        self._axes = len(categories)
        self._flat = float(np.mean(values))

    def main_shares(self) -> Array:
        """Return `V_i / V` by tree and axis (trees, d); trees in which nothing varies are left out."""
        shares = [[tree.main(i) / tree.variance for i in range(self._axes)] for tree in self._trees]
        return np.array(shares).reshape(len(self._trees), self._axes)

    def pair_shares(self, i: int, j: int) -> Array:
        """Return `V_ij / V` by tree."""
        return np.array([tree.pair(i, j) / tree.variance for tree in self._trees])

    def curve(self, i: int, positions: Array) -> Array:
        """Return the forest's marginal along axis `i` at these positions: the mean over its trees."""
        if not self._trees:
            return np.full(len(positions), self._flat)
        return np.asarray(np.mean([tree.curve(i)[tree.cells(i, positions)] for tree in self._trees], axis=0))

    def surface(self, i: int, j: int, across: Array, along: Array) -> Array:
        """Return the marginal over axes `i` and `j` at a grid of positions (len(across), len(along))."""
        if not self._trees:
            return np.full((len(across), len(along)), self._flat)
        found = [tree.surface(i, j)[np.ix_(tree.cells(i, across), tree.cells(j, along))] for tree in self._trees]
        return np.asarray(np.mean(found, axis=0))


def _take_apart(tree: Any, categories: tuple[int, ...]) -> _Tree:
    low, high, values = _boxes(tree, len(categories))
    edges, weights, covers = [], [], []
    for i, count in enumerate(categories):
        if count:
            ends = (np.arange(count) + 0.5) / count
            shares = np.full(count, 1.0 / count)
        else:
            ends = np.unique(np.append(tree.threshold[tree.feature == i], 1.0))
            ends = ends[(ends > 0.0) & (ends <= 1.0)]
            shares = np.diff(np.append(0.0, ends))
        edges.append(ends)
        weights.append(shares)
        covers.append(((low[:, i, None] < ends) & (ends <= high[:, i, None])).astype(np.float64))
    volumes = np.stack([cover @ share for cover, share in zip(covers, weights, strict=True)], axis=1)
    return _Tree(values, volumes, tuple(edges), tuple(weights), tuple(covers))


def _boxes(tree: Any, axes: int) -> tuple[Array, Array, Array]:
    """Lower and upper corners of the leaves' boxes (leaves, d), and the leaves' values.

    scikit-learn sends `x <= threshold` to the left, so boxes are open below and closed above.
    """
    lows, highs, values = [], [], []
    waiting = [(0, np.full(axes, -np.inf), np.full(axes, np.inf))]
    while waiting:
        node, low, high = waiting.pop()
        left, right = int(tree.children_left[node]), int(tree.children_right[node])
        if left == right:
            lows.append(low)
            highs.append(high)
            values.append(float(tree.value[node].ravel()[0]))
            continue
        axis, threshold = int(tree.feature[node]), float(tree.threshold[node])
        below, above = high.copy(), low.copy()
        below[axis] = min(below[axis], threshold)
        above[axis] = max(above[axis], threshold)
        waiting += [(left, low, below), (right, above, high)]
    return np.array(lows), np.array(highs), np.array(values)
