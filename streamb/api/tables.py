"""Reads an uploaded table (Parquet or CSV) into columns by name, with size limits, and checks its feature schema.

Reading blocks: call it in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from streamb.errors import BodyTooLarge, InvalidFeatures, InvalidInput, UnsupportedMediaType
from streamb.models.columns.countable_rows import countable_rows
from streamb.models.columns.values import Mistake, checked_value, wanted
from streamb.models.schema import Feature, FeatureKind, FeatureSchema

if TYPE_CHECKING:
    import pyarrow as pa

MAX_TABLE_BYTES: Final = 256 << 20
"""The largest file that is accepted."""
MOST_CELLS: Final = 25_000_000
"""Most rows times columns: 200 MB of memory as numbers. More do not improve a baseline: send a sample."""
_MOST_UNPACKED_BYTES: Final = 2 << 30
_PARQUET_MAGIC: Final = b"PAR1"
_HEAD_BYTES: Final = 4096
_READ_BYTES: Final = 1 << 20

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Roles:
    """The names of the columns that are not features; None or empty if the table has no such column."""

    predictions: tuple[str, ...] = ()
    labels: str | None = None
    confidence: str | None = None
    probabilities: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all these columns."""
        single = (name for name in (self.labels, self.confidence) if name is not None)
        return (*self.predictions, *single, *self.probabilities)


@dataclass(frozen=True, slots=True)
class Sample:
    """The data that a baseline is learnt from; each field has one entry for each row.

    Attributes:
        features: columns by name, or rows as lists, objects or strings.
        probabilities: shape (rows, classes).
    """

    features: Any
    predictions: Any = None
    labels: Any = None
    confidence: Any = None
    probabilities: Any = None


def read_sample(path: Path, schema: FeatureSchema, roles: Roles) -> Sample:
    """Read an uploaded table.

    Args:
        path: the uploaded file.
        schema: the schema of the model version; an open schema takes any columns.
        roles: the columns that are not features.

    Raises:
        UnsupportedMediaType: the file is neither Parquet nor CSV.
        InvalidInput: the file looks like Parquet or CSV but cannot be read as such, or it has no rows.
        InvalidFeatures: its columns are not those of the schema; the message names each problem.
        BodyTooLarge: the table has more than `MOST_CELLS` values.
    """
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head.startswith(_PARQUET_MAGIC):
        table = _read_parquet(path)
    elif b"\x00" in head or not head.strip():
        raise UnsupportedMediaType("the file is neither Parquet nor CSV (text in UTF-8 with the column names on top)")
    else:
        table = _read_csv(path, schema)
    if table.num_rows == 0:
        raise InvalidInput("the table has no rows")
    _check_names(table.column_names, schema, roles)
    features = _feature_columns(table, schema, roles)
    return Sample(
        features=list(features[schema.names[0]]) if schema.container == "texts" else features,
        predictions=_columns(table, roles.predictions),
        labels=_column(table, roles.labels),
        confidence=_column(table, roles.confidence),
        probabilities=_columns(table, roles.probabilities),
    )


def rows_as_features(instances: list[Any], schema: FeatureSchema) -> Any:
    """Check the rows of a request by the schema, and return them as features of a `Sample`.

    Raises:
        InvalidFeatures: the message names every problem by row and column.
    """
    rows = countable_rows(schema, schema.check_rows(instances))
    if schema.container == "texts":
        return [row[0] for row in rows]
    if isinstance(rows, np.ndarray):
        return {name: rows[:, index] for index, name in enumerate(schema.names)}
    return rows if schema.is_open else {name: [row[i] for row in rows] for i, name in enumerate(schema.names)}


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            about = file.metadata
            _check_size(about.num_rows * about.num_columns)
            unpacked = sum(about.row_group(index).total_byte_size for index in range(about.num_row_groups))
            if unpacked > _MOST_UNPACKED_BYTES:
                raise BodyTooLarge(f"the table unpacks to {unpacked} bytes; send a sample of its rows")
            return file.read()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidInput(f"the file begins like Parquet but cannot be read as such: {_first_line(error)}") from error


def _read_csv(path: Path, schema: FeatureSchema) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    _check_size(_most_cells_of_csv(path))
    texts = [feature.name for feature in schema.features if _is_text(feature)]
    options = csv.ConvertOptions(
        # A text stays unchanged: "0123" is no number, and the country code "NA" is no missing value.
        column_types=dict.fromkeys(texts, pa.string()),
        strings_can_be_null=False,
    )
    try:
        return _without_empty_categories(csv.read_csv(path, convert_options=options), schema)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InvalidInput(f"the file cannot be read as CSV in UTF-8: {_first_line(error)}") from error


def _without_empty_categories(table: pa.Table, schema: FeatureSchema) -> pa.Table:
    """Replace empty fields of category columns by null: CSV has no other way to write a missing value."""
    from pyarrow import compute

    for feature in schema.features:
        if feature.kind is FeatureKind.CATEGORY and _is_text(feature) and feature.name in table.column_names:
            index, column = table.column_names.index(feature.name), table[feature.name]
            filled = compute.if_else(compute.equal(column, ""), None, column)
            table = table.set_column(index, feature.name, filled)
    return table


def _most_cells_of_csv(path: Path) -> int:
    """Return an upper limit of the number of cells: separators and line ends, counted without parsing."""
    cells = 0
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            cells += piece.count(b",") + piece.count(b"\n")
    return cells


def _check_size(cells: int) -> None:
    if cells > MOST_CELLS:
        raise BodyTooLarge(
            f"the table has {cells} values; the limit is {MOST_CELLS}: send a sample of its rows", most=MOST_CELLS
        )


def _check_names(found: Sequence[str], schema: FeatureSchema, roles: Roles) -> None:
    """Raise InvalidFeatures if a column is repeated, missing or unknown."""
    problems = [f"the column {name!r} occurs twice" for name in sorted({n for n in found if found.count(n) > 1})]
    problems += [
        f"missing column {name!r}, which is named in the metadata" for name in roles.names if name not in found
    ]
    if not schema.is_open:
        problems += [f"missing column {name!r}" for name in schema.names if name not in found]
        problems += [
            f"unknown column {name!r} (predictions and labels are named as such in the metadata)"
            for name in found
            if name not in schema.names and name not in roles.names
        ]
    _refuse(problems)


def _feature_columns(table: pa.Table, schema: FeatureSchema, roles: Roles) -> Columns:
    if schema.is_open:
        return {name: _values(table[name]) for name in table.column_names if name not in roles.names}
    columns, problems = {}, []
    for feature in schema.features:
        values = _values_of(feature, table[feature.name])
        wrong = _wrong_kind(feature, values)
        if wrong:
            problems.append(f"column {feature.name!r}: {wrong}")
        columns[feature.name] = values
    _refuse(problems)
    return columns


def _is_text(feature: Feature) -> bool:
    """Whether a column's values are strings in a table."""
    if feature.kind is FeatureKind.CATEGORY:
        return all(isinstance(level, str) for level in feature.categories)
    return feature.kind in (FeatureKind.TEXT, FeatureKind.DATETIME)


def _values_of(feature: Feature, column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column as rows hold it: of datetimes, the numbers of their unit since 1970."""
    values = _values(column)
    if feature.kind is not FeatureKind.DATETIME:
        return values
    return np.array([_number_of(feature, text) for text in values.tolist()], np.float64)


def _number_of(feature: Feature, text: Any) -> float:
    """Return the number of a moment; infinity if the text names none, for `_wrong_kind`."""
    try:
        found = checked_value(replace(feature, nullable=True), text or None)
    except Mistake:
        return np.inf
    return np.nan if found is None else float(found)


def _wrong_kind(feature: Feature, values: NDArray[Any]) -> str:
    """Return what is wrong with a column's values, or an empty string."""
    if feature.kind is FeatureKind.DATETIME:
        return f"expected {wanted(feature)} in every row" if np.isinf(values).any() else ""
    if feature.kind.is_numeric or (feature.kind is FeatureKind.CATEGORY and not _is_text(feature)):
        return "" if values.dtype.kind in "iufb" else f"expected numbers, got {_sample_of(values)}"
    if not _is_text(feature):
        return ""
    is_text = values.dtype.kind == "O" and all(isinstance(value, str | None) for value in values)
    return "" if is_text else f"expected strings, got {_sample_of(values)}"


def _sample_of(values: NDArray[Any]) -> str:
    present = next((value for value in values.tolist() if value is not None), None)
    return f"{str(present)[:40]!r}"


def _values(column: pa.ChunkedArray) -> NDArray[Any]:
    """Return a column as a numpy array: numbers with NaN for missing values, or objects with None."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.string())
    if pa.types.is_null(column.type) or pa.types.is_decimal(column.type):
        column = column.cast(pa.float64())
    if pa.types.is_boolean(column.type) and column.null_count:
        column = column.cast(pa.uint8())
    values: NDArray[Any] = column.to_numpy()
    return values


def _column(table: pa.Table, name: str | None) -> NDArray[Any] | None:
    return None if name is None else _values(table[name])


def _columns(table: pa.Table, names: Sequence[str]) -> NDArray[Any] | None:
    """Return one column as shape (rows,), several as shape (rows, columns)."""
    if len(names) <= 1:
        return _column(table, names[0]) if names else None
    found = [_values(table[name]) for name in names]
    kinds = {values.dtype.kind for values in found}
    return np.stack([values.astype(object) for values in found] if "O" in kinds else found, axis=1)


def _refuse(problems: list[str]) -> None:
    if problems:
        raise InvalidFeatures("; ".join(problems[:20]), problems=problems[:20])


def _first_line(error: Exception) -> str:
    return str(error).split("\n", 1)[0][:300]
