"""Which steps of a fitted estimator read which columns of its input, one after the other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

Path = tuple[tuple[Any, int | None], ...]
"""The steps that a column passes, in order, each with the column's position in the step's input (None: unknown)."""

_INNER: Final = ("best_estimator_", "regressor_", "estimator_", "estimators_")


def paths(estimator: Any, columns: Sequence[str]) -> list[list[Path]]:
    """Return for each column the paths on which the estimator reads it; none for a column that nothing reads.

    Args:
        estimator: a fitted estimator, pipeline, column transformer, or one made of those (a search, votes, …).
        columns: the names of its columns, as text.

    Raises:
        ValueError, IndexError: it selects columns that are not among these.
    """
    found: list[list[Path]] = [[] for _ in columns]
    everything = list(range(len(columns)))
    for steps in _chains(estimator):
        known = [(step, True) for step in steps]
        for column, path in _walk(known, columns, everything, dict.fromkeys(everything, ())):
            found[column].append(path)
    return found


def chain(estimator: Any) -> list[Any]:
    """Return the steps that see the input one after the other: a pipeline's (in a search too), else the estimator."""
    estimator = getattr(estimator, "best_estimator_", estimator)
    steps = getattr(estimator, "steps", None)
    if not isinstance(steps, list):
        return [estimator]
    return [inner for _, step in steps if not _passes_on(step) for inner in chain(step)]


def _chains(estimator: Any) -> list[list[Any]]:
    """The chain of an estimator; of one that is made of pipelines (votes, bags, calibration, …), all of theirs."""
    steps = chain(estimator)
    if len(steps) == 1 and _parts(steps[0]) is None:
        inner = [found for one in _inner(steps[0]) for found in _chains(one)]
        if any(len(found) > 1 or _parts(found[0]) is not None for found in inner if found):
            return inner
    return [steps]


def _inner(estimator: Any) -> list[Any]:
    """The fitted estimators inside another one that get the same columns."""
    found: list[Any] = [one.estimator for one in getattr(estimator, "calibrated_classifiers_", ())]
    for attribute in _INNER:
        part = getattr(estimator, attribute, None)
        found += part if isinstance(part, list) else list(part.flat) if isinstance(part, np.ndarray) else [part]
    count = getattr(estimator, "n_features_in_", None)
    return [one for one in found if getattr(one, "n_features_in_", None) == count is not None]


def _parts(step: Any) -> list[tuple[Any, Any]] | None:
    """The parts of a column transformer with their columns, or of a union, which get all; None for other steps."""
    transformers = getattr(step, "transformers_", None)
    if transformers is not None:
        return [(part, selected) for _, part, selected in transformers if not _drops(part)]
    union = getattr(step, "transformer_list", None)
    return [(part, slice(None)) for _, part in union if not _drops(part)] if isinstance(union, list) else None


def _walk(
    steps: list[tuple[Any, bool]], names: Sequence[str], columns: Sequence[int], lead: Mapping[int, Path]
) -> Iterator[tuple[int, Path]]:
    """Yield the paths of columns through steps.

    Args:
        steps: the steps, and whether the columns arrive there in the order of `columns`.
        names: the names of the columns.
        columns: their positions in the whole input.
        lead: the steps that each has passed.
    """
    for number, (step, is_ordered) in enumerate(steps):
        parts = _parts(step)
        if parts is None:
            lead = {c: (*lead[c], (step, place if is_ordered else None)) for place, c in enumerate(columns)}
            continue
        rest = [(after, False) for after, _ in steps[number + 1 :]]
        for part, selected in parts:
            places = positions(selected, names)
            inner = [(one, is_ordered) for one in chain(part)] if not _passes_on(part) else []
            yield from _walk([*inner, *rest], [names[p] for p in places], [columns[p] for p in places], lead)
        return
    yield from ((column, lead[column]) for column in columns)


def _passes_on(step: Any) -> bool:
    """Whether a step gives on its input unchanged."""
    if step is None or isinstance(step, str):  # "passthrough"
        return True
    return type(step).__name__ == "FunctionTransformer" and step.func is None and not step.validate


def _drops(part: Any) -> bool:
    return part is None or (isinstance(part, str) and part == "drop")


def positions(selected: Any, columns: Sequence[str]) -> list[int]:
    """Return the positions of the columns that a column transformer selects."""
    names = list(columns)
    if isinstance(selected, str):
        return [names.index(selected)]
    if isinstance(selected, slice) and any(isinstance(end, str) for end in (selected.start, selected.stop)):
        start = names.index(selected.start) if selected.start is not None else 0
        stop = names.index(selected.stop) + 1 if selected.stop is not None else None  # names: the end is included
        return list(range(len(names)))[start:stop]
    if isinstance(selected, slice):
        return list(range(len(names)))[selected]
    chosen = np.atleast_1d(np.asarray(selected)).tolist()
    if chosen and all(isinstance(item, bool) for item in chosen):
        return [index for index, taken in enumerate(chosen) if taken]
    return [names.index(item) if isinstance(item, str) else int(item) % len(names) for item in chosen]
