"""Relative imports."""

import numpy as np

import shop.parts.tables

from .parts import tables as near
from .parts.tables import Table


def pick(row):
    return row[-1]


class Net:
    def __init__(self, factor):
        self.table = Table(factor)

    def predict(self, X):
        from .late import bonus

        assert near is shop.parts.tables and Table is near.Table
        return np.asarray(X)[:, 0] * self.table.factor + bonus()
