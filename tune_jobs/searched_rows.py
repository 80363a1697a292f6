"""Divides rows into those a search may use and those it may not, by groups or by time if the data has such a column."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streamb.models import FeatureSchema
from tune_jobs.arguments import WrongArgument
from tune_jobs.table import Table
from tune_jobs.train import split


@dataclass(frozen=True, slots=True)
class Rows:
    """The numbers of the rows for the search and for the final score.

    Attributes:
        training: the rows that trials are trained and scored on.
        testing: the rows that only score the best model, once.
        groups: one value per row of the table; rows with the same value stay together.
        splitting: how `training` is divided into folds.
    """

    training: NDArray[np.intp]
    testing: NDArray[np.intp]
    groups: NDArray[Any] | None
    splitting: Literal["auto", "grouped", "time"]


def rows_to_search(
    table: Table, group: str | None, order_by: str | None, test_share: float, seed: int
) -> tuple[Table, Rows]:
    """Return the table without the column that groups or orders it, and its rows divided.

    Raises:
        WrongArgument: there is no such column, or no other column or rows to learn from.
    """
    if group is not None:
        values, table = _taken_out(table, "group", group)
        training, testing = _whole_groups(values, test_share, seed)
        return table, Rows(training, testing, values, "grouped")
    if order_by is not None:
        values, table = _taken_out(table, "order-by", order_by)
        order = np.argsort(values, kind="stable")
        cut = len(order) - max(1, round(test_share * len(order)))
        return table, Rows(order[:cut], order[cut:], None, "time")
    training, testing = split(table.target, table.task, test_share, seed)
    return table, Rows(training, testing, None, "auto")


def _taken_out(table: Table, option: str, name: str) -> tuple[NDArray[Any], Table]:
    left = tuple(feature for feature in table.schema.features if feature.name != name)
    if len(left) == len(table.schema.features):
        raise WrongArgument.of(option, name, f"no such column; there are {', '.join(table.frame.columns)}")
    if not left:
        raise WrongArgument.of(option, name, "it is the only column besides the target")
    values = table.frame[name]
    if values.isna().any():
        raise WrongArgument.of(option, name, f"{int(values.isna().sum())} rows have no value there")
    rest = replace(table, frame=table.frame.drop(columns=name), schema=FeatureSchema(left, table.schema.container))
    return values.to_numpy(), rest


def _whole_groups(values: NDArray[Any], test_share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Set groups aside for testing, in random order, until they have enough rows."""
    _, codes, sizes = np.unique(values.astype(str), return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise WrongArgument.of("group", values[0], "all rows are in this one group")
    order = np.random.default_rng(seed).permutation(len(sizes))
    reached = np.cumsum(sizes[order])
    count = min(int(np.searchsorted(reached, test_share * len(values))) + 1, len(sizes) - 1)
    apart = np.isin(codes, order[:count])
    return np.flatnonzero(~apart), np.flatnonzero(apart)
