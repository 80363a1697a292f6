"""Learns how a model behaves by asking it for its example in several ways: again, in parts, permuted, with gaps."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from streamb.clock import Clock
from streamb.errors import StreambError
from streamb.models.model import Model
from streamb.models.schema import FeatureSchema
from streamb.trials.asking import Answers, ask

_SINGLE_ROWS: Final = 10
_ROWS_WITH_GAPS: Final = 20


def is_row_wise(model: Model, instances: list[Any], whole: Answers) -> bool | None:
    """Return whether the answer to a row depends on that row alone; None if there is only one row.

    Args:
        model: a model that gives the same answers to the same rows.
        instances: the rows of the example.
        whole: its answers to all of them in one batch.
    """
    count = len(instances)
    if count < 2:
        return None
    order = list(range(count))
    random.Random(0).shuffle(order)  # noqa: S311 - not a secret
    step = max(1, count // _SINGLE_ROWS)
    parts = [order, *([row] for row in range(0, count, step))]
    try:
        return all(
            ask(model, [instances[row] for row in part]).differs_from(whole.taken(part)) is None for part in parts
        )
    except StreambError:  # it cannot answer some of its rows alone
        return False


def with_optional_columns(
    model: Model, schema: FeatureSchema, instances: list[Any], clock: Clock, limit_s: float
) -> FeatureSchema:
    """Return the schema with the columns optional that may be left out without another answer.

    Args:
        model: a model that gives the same answers to the same rows.
        schema: its schema.
        instances: the rows of the example.
        clock: the source of time.
        limit_s: no further column is tried after so many seconds; the columns that are left stay as they are.
    """
    given = instances[:_ROWS_WITH_GAPS]
    expected = ask(model, given)
    end = clock.monotonic() + limit_s
    found = list(schema.features)
    for position in _required(schema):
        if clock.monotonic() > end:
            break
        optional = replace(schema.features[position], optional=True)
        model.schema = replace(schema, features=_with(schema.features, position, optional))
        try:
            gaps = [_without(row, position, optional.name) for row in given]
            if ask(model, gaps).differs_from(expected) is None:
                found[position] = optional
        except StreambError:
            pass
        finally:
            model.schema = schema
    return replace(schema, features=tuple(found))


def _required(schema: FeatureSchema) -> Iterator[int]:
    if schema.container in ("array", "frame", "records", "tensors"):
        yield from (position for position, feature in enumerate(schema.features) if not feature.optional)


def _with(features: tuple[Any, ...], position: int, feature: Any) -> tuple[Any, ...]:
    return (*features[:position], feature, *features[position + 1 :])


def _without(row: Any, position: int, name: str) -> Any:
    if isinstance(row, Mapping):
        return {key: value for key, value in row.items() if key != name}
    return [None if place == position else value for place, value in enumerate(row)]
