"""Reads a CSV file as training data: the target, and columns of numbers, categories or text with their schema."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.hashing import sha256_file
from streamb.models import Feature, FeatureKind, FeatureSchema
from streamb.sdk.job_options import JobOptions
from tune_jobs.arguments import WrongArgument
from tune_jobs.progress import Progress

if TYPE_CHECKING:
    import pandas as pd

Task = Literal["classification", "regression"]

FEWEST_ROWS: Final = 10
_MOST_CLASSES: Final = 20
_TEXT_WORDS: Final = 3.0
_TEXT_SHARE_DISTINCT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Table:
    """Training data.

    Attributes:
        frame: the feature columns, one row per row with a target.
        target: shape (rows,): whole numbers, strings or booleans for classes, else float64.
        schema: the features of `frame`; those with missing values are optional.
        task: classification or regression.
        digest: SHA-256 of the file.
        notes: sentences on what was left out or filled in.
    """

    frame: pd.DataFrame
    target: NDArray[Any]
    schema: FeatureSchema
    task: Task
    digest: str
    notes: tuple[str, ...]

    def columns(self, *kinds: FeatureKind, optional: bool | None = None) -> list[str]:
        """Return the names of the columns of these kinds; `optional` selects those with, or without, missing values."""
        return [f.name for f in self.schema.features if f.kind in kinds and optional in (None, f.optional)]


def read_table(
    path: Path,
    target: str,
    *,
    task: Task | None = None,
    drop: Sequence[str] = (),
    category: Sequence[str] = (),
    text: Sequence[str] = (),
) -> Table:
    """Read a CSV file whose first line names the columns.

    Rows without a target and columns without any value are left out. Strings are categories, or text if most values
    differ and have several words; `category` and `text` override this.

    Raises:
        WrongArgument: a named column does not exist.
        InvalidInput: the file is not CSV, has too few rows, or has a target that cannot be learned.
    """
    frame = _read_csv(path)
    _check_names(frame, {"target": [target], "drop": drop, "category": category, "text": text})
    notes = []
    known = frame[frame[target].notna()]
    if len(known) < len(frame):
        notes.append(f"left out, because they have no {target!r}: {len(frame) - len(known)} rows")
    if len(known) < FEWEST_ROWS:
        raise InvalidInput(f"{path} has {len(known)} rows with a {target!r}; training needs {FEWEST_ROWS} at least")
    features = known.drop(columns=[target, *drop])
    _refuse_infinities(path, known.drop(columns=list(drop)))
    empty = [str(name) for name in features.columns if features[name].isna().all()]
    if empty:
        notes.append(f"left out, because they have no value at all: {', '.join(empty)}")
        features = features.drop(columns=empty)
    if not len(features.columns):
        raise InvalidInput(f"{path} has no column to learn from besides {target!r}")
    kinds = {str(name): _kind(features[name], str(name), category, text) for name in features.columns}
    features, filled = _uniform(features, kinds)
    notes += filled
    schema = FeatureSchema(tuple(_feature(features[name], name, kind) for name, kind in kinds.items()), "frame")
    found = task or _task_of(known[target])
    return Table(features, _target(known[target], found), schema, found, sha256_file(path), tuple(notes))


def table_of(options: JobOptions, progress: Progress) -> Table:
    """Read the table that a job learns from, and print what was read.

    Raises:
        WrongArgument, InvalidInput: as in `read_table`.
    """
    if options.csv is None or options.target is None:
        raise WrongArgument("give --csv and --target: the data and the column to predict")
    task = None if options.task == "auto" else options.task
    columns = {"drop": options.drop, "category": options.category, "text": options.text}
    table = read_table(options.csv, options.target, task=task, **columns)
    kinds = ", ".join(f"{f.name} ({f.kind}{', with gaps' if f.optional else ''})" for f in table.schema.features)
    progress.say(f"read {len(table.frame)} rows, {len(table.schema.features)} columns from {options.csv}: {kinds}")
    for note in table.notes:
        progress.say(note)
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        frame = pd.read_csv(path, low_memory=False)
    except (ValueError, OSError) as error:  # pandas' parser errors and encoding errors are ValueErrors
        raise InvalidInput(f"{path} cannot be read as CSV: {error}") from error
    frame.columns = [str(name) for name in frame.columns]
    return frame


def _refuse_infinities(path: Path, frame: pd.DataFrame) -> None:
    """Raise InvalidInput for infinite numbers, naming the column, as no estimator can learn from them."""
    found = [str(name) for name, values in frame.items() if values.dtype.kind == "f" and np.isinf(values).any()]
    if found:
        raise InvalidInput(f"{path} has infinite numbers in {', '.join(found)}; leave such values empty, or drop them")


def _check_names(frame: pd.DataFrame, named: dict[str, Sequence[str]]) -> None:
    for option, names in named.items():
        for name in names:
            if name not in frame.columns:
                raise WrongArgument.of(option, name, f"no such column; there are {', '.join(frame.columns)}")
            if option != "target" and name in named["target"]:
                raise WrongArgument.of(option, name, "this is the target")


def _kind(values: pd.Series[Any], name: str, category: Sequence[str], text: Sequence[str]) -> FeatureKind:
    import pandas as pd

    if name in text:
        return FeatureKind.TEXT
    if name in category:
        return FeatureKind.CATEGORY
    present = values.dropna()
    if all(isinstance(value, bool) for value in present.head(1)) and {*present} <= {True, False}:
        return FeatureKind.BOOLEAN
    if pd.api.types.is_integer_dtype(values.dtype):
        return FeatureKind.INTEGER
    if pd.api.types.is_numeric_dtype(values.dtype):
        return FeatureKind.NUMBER
    words = float(np.mean([len(str(value).split()) for value in present]))
    many = present.nunique() > _TEXT_SHARE_DISTINCT * len(present)
    return FeatureKind.TEXT if many and words >= _TEXT_WORDS else FeatureKind.CATEGORY


def _uniform(frame: pd.DataFrame, kinds: dict[str, FeatureKind]) -> tuple[pd.DataFrame, list[str]]:
    """Convert the frame to one type per kind, as serving sends it: numbers float64, everything else strings."""
    import pandas as pd

    notes = []
    columns: dict[str, Any] = {}
    for name, kind in kinds.items():
        values = frame[name]
        if kind in {FeatureKind.NUMBER, FeatureKind.INTEGER, FeatureKind.BOOLEAN}:
            columns[name] = values.astype(np.float64)
        else:
            strings = values.astype(object).where(values.isna(), values.astype(str))
            if kind is FeatureKind.TEXT and values.isna().any():
                notes.append(f"missing texts in {name!r} are taken as empty")
                strings = strings.where(values.notna(), "")
            columns[name] = strings.where(strings.notna(), None)
    return pd.DataFrame(columns), notes


def _feature(values: pd.Series[Any], name: str, kind: FeatureKind) -> Feature:
    missing = bool(values.isna().any())
    if kind in {FeatureKind.NUMBER, FeatureKind.INTEGER}:
        return Feature(name, kind, observed_min=float(values.min()), observed_max=float(values.max()), optional=missing)
    return Feature(name, kind, optional=missing)


def _task_of(target: pd.Series[Any]) -> Task:
    """The task of a target: strings, booleans or at most 20 whole numbers are classes, anything else is regression."""
    import pandas as pd

    if not pd.api.types.is_numeric_dtype(target.dtype) or pd.api.types.is_bool_dtype(target.dtype):
        return "classification"
    return "classification" if _whole(target) and target.nunique() <= _MOST_CLASSES else "regression"


def _whole(values: Iterable[float]) -> bool:
    return all(float(value).is_integer() for value in values)


def _target(target: pd.Series[Any], task: Task) -> NDArray[Any]:
    import pandas as pd

    numeric = pd.api.types.is_numeric_dtype(target.dtype)
    if task == "regression":
        if not numeric:
            raise WrongArgument.of(
                "task", "regression", f"the target {target.name!r} holds {target.iloc[0]!r}, which is not a number"
            )
        return target.to_numpy(np.float64)
    if target.nunique() < 2:
        raise InvalidInput(f"the target {target.name!r} is {target.iloc[0]!r} in every row; there is nothing to learn")
    if pd.api.types.is_bool_dtype(target.dtype):
        return target.to_numpy(bool)
    if numeric and _whole(target):
        return target.to_numpy(np.int64)
    if numeric:
        raise WrongArgument.of("task", "classification", f"the target {target.name!r} holds fractions")
    return np.array(target.astype(str).tolist())
