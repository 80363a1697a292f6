"""Prepares a version for registration: its archive, and the example with the answers that the model gives here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from streamb.errors import InvalidFeatures, InvalidInput, ModelFailed, TrialFailed
from streamb.models import FeatureKind, FeatureSchema, Model, pack, save_artifact
from streamb.models.artifact import reseal
from streamb.models.example import MAX_BYTES, MOST_TRIED, Example
from streamb.models.signature import Signature
from streamb.sdk.rows import wire_rows
from streamb.trials.asking import Answers, ask_directly


def write_archive(
    model: Any, folder: Path, *, example: Any, schema: FeatureSchema | None, keep: bool
) -> tuple[Model, Path, dict[str, Any] | None]:
    """Write the packed artifact of a model, and ask the model for its example.

    Args:
        model: an object that `Model.wrap` takes; it is not changed.
        folder: an empty folder for the files.
        example: rows, in any form that `register_model` takes; None if there are none.
        schema: the schema of the inputs; None to take that of a `Model`, or to learn it from the example.
        keep: whether rows of the example may be kept with the version.

    Returns:
        the wrapped model, the archive, and the part `example` of the upload (None without an example).

    Raises:
        ArtifactError: the object cannot be saved, or cannot answer its example.
        InvalidFeatures: the example does not satisfy the schema.
    """
    wrapped = Model.wrap(model)
    save_artifact(wrapped, folder / "artifact")
    given = schema or (wrapped.schema if wrapped is model else None)
    prepared = None
    if example is not None:
        given, prepared = _prepared(wrapped, example, given, keep=keep)
    if given is not None and not given.is_open:
        reseal(folder / "artifact", Signature(given).to_json())
    pack(folder / "artifact", folder / "artifact.zip")
    return wrapped, folder / "artifact.zip", prepared


def _prepared(
    model: Model, data: Any, given: FeatureSchema | None, *, keep: bool
) -> tuple[FeatureSchema, dict[str, Any]]:
    data = _in_own_container(model, data)
    schema = given if given is not None and not given.is_open else _learned(data, model.schema)
    tried = _first(data, MOST_TRIED)
    rows = orjson.loads(orjson.dumps(wire_rows(tried), option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS))
    checked = schema.check_rows(rows)
    own = schema.to_input(checked) if isinstance(tried, list) else tried
    try:
        answers, again = ask_directly(model, own, len(rows)), ask_directly(model, own, len(rows))
    except (InvalidInput, ModelFailed) as error:
        raise TrialFailed(f"the model cannot answer the example here: {error.message}", **error.details) from error
    same = again.differs_from(answers) is None
    return schema, _bounded(rows, answers, deterministic=same, keep=keep).to_json()


def _learned(data: Any, own: FeatureSchema | None) -> FeatureSchema:
    """Learn the schema of the example; a column may also be null where the fitted model itself says so."""
    learned = FeatureSchema.learn(data)
    known = {} if own is None else {one.name: one for one in own.features if one.kind is not FeatureKind.ANY}
    features = [
        replace(
            one, nullable=one.nullable or known[one.name].nullable, optional=one.optional or known[one.name].optional
        )
        if one.name in known
        else one
        for one in learned.features
    ]
    return replace(learned, features=tuple(features))


def _bounded(rows: list[Any], answers: Answers, *, deterministic: bool, keep: bool) -> Example:
    """The example with as many rows as fit into an upload."""
    count = len(rows)
    while count:
        example = Example(rows[:count], keep=keep, deterministic=deterministic)
        if deterministic:
            probabilities = answers.probabilities and answers.probabilities[:count]
            example = Example(rows[:count], answers.predictions[:count], probabilities, keep, deterministic=True)
        if len(orjson.dumps(example.to_json())) <= MAX_BYTES:
            return example
        count //= 2
    raise InvalidInput(f"one row of the example is longer than {MAX_BYTES} bytes of JSON; give smaller rows")


def _in_own_container(model: Model, data: Any) -> Any:
    """Return rows without a container of their own as a table with the model's column names, if it knows them."""
    schema = model.schema
    if schema is None or schema.container != "frame":
        return list(data) if isinstance(data, tuple) else data
    import pandas as pd

    if isinstance(data, pd.DataFrame):
        required = [feature.name for feature in schema.features if not feature.optional]
        missing = [f"missing column {name!r}" for name in required if name not in data.columns]
        if missing:
            raise InvalidFeatures(f"the example does not fit the model: {', '.join(missing[:10])}", problems=missing)
    unnamed = isinstance(data, np.ndarray) and data.ndim == 2 and data.shape[1] == len(schema.features)
    if not unnamed and not isinstance(data, list | tuple):
        return data
    named = isinstance(data, list | tuple) and len(data) and isinstance(data[0], Mapping)
    return pd.DataFrame.from_records(data, columns=None if named else list(schema.names))


def _first(data: Any, count: int) -> Any:
    """The first rows of a table of any kind."""
    if isinstance(data, Mapping):
        return {name: values[:count] for name, values in data.items()}
    if hasattr(data, "tocsr"):
        return data.tocsr()[:count].toarray()
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(data, pandas.DataFrame | pandas.Series):
        return data.iloc[:count]
    return data[:count] if hasattr(data, "shape") or isinstance(data, list) else list(data)[:count]
