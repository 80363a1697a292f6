"""Reads the data that a user gives: rows in any table, labels, groups, and validation data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.hpo.study.training import as_rows


def training_rows(training_data: Any, groups: Any) -> tuple[Any, NDArray[Any] | None, NDArray[Any] | None]:
    """Return rows, labels and groups; labels and groups are None if not given.

    Raises:
        InvalidInput: the data has another form than X or (X, y), or the numbers of rows, labels and groups differ.
    """
    rows, truth = _pair(training_data)
    members = None if groups is None else np.asarray(groups)
    if members is not None:
        _check_length(rows, members, "groups")
    return rows, truth, members


def validation_rows(validation_data: Any, training_truth: NDArray[Any] | None) -> tuple[Any, NDArray[Any] | None]:
    """Return the rows and labels on which the best parameters are scored.

    Raises:
        InvalidInput: the data has another form than X or (X, y), the numbers differ, or labels are missing.
    """
    rows, truth = _pair(validation_data)
    if truth is None and training_truth is not None:
        raise InvalidInput("training_data has labels but validation_data has none; give it as (X, y) too")
    return rows, truth


def _check_length(rows: Any, values: NDArray[Any], what: str) -> None:
    if len(values) != row_count(rows):
        raise InvalidInput(f"X has {row_count(rows)} rows but {what} has {len(values)}; give one for every row")


def _pair(data: Any) -> tuple[Any, NDArray[Any] | None]:
    if (
        isinstance(data, tuple | list)
        and len(data) == 2
        and hasattr(data[0], "__len__")
        and not isinstance(data[0], str)
    ):
        rows, truth = as_rows(data[0]), _labels(data[1])
        if truth is not None:
            _check_length(rows, truth, "y")
        return rows, truth
    if isinstance(data, tuple):
        raise InvalidInput(f"data must be (X, y) or X alone, not a tuple of {len(data)}")
    return as_rows(data), None


def _labels(given: Any) -> NDArray[Any] | None:
    if given is None:
        return None
    truth = np.asarray(given)
    if truth.ndim == 0:
        raise InvalidInput(f"y must have one value for every row of X, not {given!r}")
    return truth.ravel() if truth.ndim == 2 and truth.shape[1] == 1 else truth  # one column of a table


def row_count(rows: Any) -> int:
    """Return the number of rows in any kind of table."""
    return int(rows.shape[0]) if hasattr(rows, "shape") else len(rows)


def data_digest(*parts: Any) -> str:
    """Return a digest that is the same for the same data in every process."""
    from joblib import hash as digest

    return str(digest(parts))
