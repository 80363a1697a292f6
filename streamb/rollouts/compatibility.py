"""Compares the signatures of two versions: what clients of the one send and read that the other refuses or changes.

Pure. What is not known of either version is no difference, and neither is what only widens: a whole number that may now
be any number, an input that may now be left out. Where just one of the two was registered with an example, the library
told the columns of the other, in wider kinds; then only kinds that exclude each other are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from streamb.errors import IncompatibleSignature, InvalidInput
from streamb.models.dtypes import datetime_unit, number_limits, numpy_dtype
from streamb.models.features import Feature, FeatureKind
from streamb.models.schema import FeatureSchema
from streamb.models.signature import Output
from streamb.registry import ModelVersion, TrialState
from streamb.store.plain import from_plain

_K = FeatureKind
_NUMERIC: Final = frozenset({_K.NUMBER, _K.INTEGER, _K.BOOLEAN})
_TEXTS: Final = frozenset({_K.TEXT, _K.CATEGORY})
_WIDER: Final = frozenset({(_K.INTEGER, _K.NUMBER), (_K.TENSOR, _K.LIST)})
_ROW_FORMS: Final[Mapping[str, str]] = {"texts": "a text", "tensor": "a tensor", "list": "a list of anything"}
_BY_COLUMN: Final = "values by column"
_TENSOR_KINDS: Final[Mapping[str, str]] = {"b": "booleans", "i": "whole numbers", "u": "whole numbers", "f": "numbers"}
_MOST_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two signatures.

    Attributes:
        name: the name by which it is accepted: "added:COLUMN", "removed:COLUMN", "retyped:COLUMN", "levels:COLUMN",
            "order", "classes" or "output:NAME".
        detail: the difference as a clause, for people.
    """

    name: str
    detail: str


def accepted_changes(stable: ModelVersion | None, target: ModelVersion, accepted: Sequence[str]) -> str:
    """Check that every difference of the signatures is accepted; return a clause for the history, "" without any.

    Args:
        stable: the version that serves; None for a model's first deployment. The same version differs in nothing.
        target: the version to deploy.
        accepted: the names of the differences that are wanted.

    Raises:
        IncompatibleSignature: a difference is not accepted; the message and `details["changes"]` list each.
        InvalidInput: an accepted name is none of the differences; the message lists these.
    """
    if stable is None or stable.version == target.version:
        return ""
    found = differences(stable, target)
    between = f"version {target.version} differs from version {stable.version}, which serves"
    if wrong := sorted(set(accepted) - {one.name for one in found}):
        known = f"{between}, in {_listed(found)}" if found else f"no difference from version {stable.version} is known"
        raise InvalidInput(f"accept_changes names what is no difference: {', '.join(wrong)}; {known}")
    if refused := [one for one in found if one.name not in accepted]:
        raise IncompatibleSignature(
            f"{between}, in what clients send or read: {_listed(refused)}. Repair it, or accept each difference by its "
            "name: accept_changes in Python and HTTP, --accept-change on the command line",
            changes=[{"name": one.name, "detail": one.detail} for one in refused],
        )
    return f"accepted changes of the signature: {_listed(found)}" if found else ""


def differences(stable: ModelVersion, target: ModelVersion) -> tuple[Difference, ...]:
    """Return the differences of the target's signature that clients of the stable version may notice.

    Args:
        stable: the version whose clients are protected.
        target: the version that is to answer them.
    """
    alike = (stable.trial.state is TrialState.PASSED) == (target.trial.state is TrialState.PASSED)
    old, new = FeatureSchema.from_json(stable.schema), FeatureSchema.from_json(target.schema)
    inputs = () if old.is_open or new.is_open else _inputs(old, new, alike=alike)
    classes = tuple(_classes(stable.classes, target.classes))
    return (*inputs, *classes, *_outputs(stable, target, relabelled=bool(classes)))


# --- inputs -----------------------------------------------------------------------------------------------------------


def _inputs(stable: FeatureSchema, target: FeatureSchema, *, alike: bool) -> Iterator[Difference]:
    old, new = _named(stable, target), _named(target, stable)
    for name, feature in new.items():
        was = old.get(name)
        spared = was is None or (alike and was.optional and was.kind is not _K.ANY)
        if spared and not feature.optional:
            yield Difference(f"added:{name}", f"the column {name} ({feature.kind}) must be sent")
    for name, feature in old.items():
        if name not in new:
            yield Difference(f"removed:{name}", f"the column {name} ({feature.kind}) is refused")
    common = [name for name in old if name in new]
    forms = [_ROW_FORMS.get(one.container, _BY_COLUMN) for one in (stable, target)]
    for name in common:
        what = _column(old[name], new[name], alike=alike)
        if forms[0] != forms[1] and forms != [_BY_COLUMN, "a text"]:
            what = f"retyped: each row is {forms[1]}, not {forms[0]}"
        if what:
            kind, _, detail = what.partition(": ")
            yield Difference(f"{kind}:{name}", f"the column {name} {detail}")
    by_position = {stable.container, target.container} <= {"array", "frame"}
    if by_position and common != [name for name in new if name in old]:
        yield Difference("order", "the columns have another order, which counts where rows do not name them")


def _named(schema: FeatureSchema, other: FeatureSchema) -> dict[str, Feature]:
    """Return the columns by name; where they never had names (x0, x1, …), by those of `other` in the same places."""
    count = len(schema.features)
    unnamed = schema.container == "array" and schema.names == FeatureSchema.numbers(count).names
    names = (*other.names[:count], *schema.names[len(other.names) :]) if unnamed else schema.names
    return dict(zip(names, schema.features, strict=True))


def _column(old: Feature, new: Feature, *, alike: bool) -> str:
    """Return how a column takes fewer values than before: "retyped: …" or "levels: …"; "" if it does not."""
    if _K.ANY in {old.kind, new.kind}:
        return ""
    if not _widens(old, new):
        same_family = any({old.kind, new.kind} <= family for family in (_NUMERIC, _TEXTS))
        return "" if same_family and not alike else f"retyped: is a {new.kind}, not a {old.kind}"
    if old.kind is _K.CATEGORY and new.categories:
        lost = [level for level in old.categories if not _among(level, new.categories)]
        if not old.categories and alike:
            return f"levels: takes only {_few(new.categories)}, not any text"
        return f"levels: refuses {_few(lost)}" if lost else ""
    narrowed = {_K.DATETIME: _of_moments, _K.TENSOR: _of_tensors}.get(old.kind, _of_numbers)(old, new)
    return narrowed and f"retyped: {narrowed}"


def _widens(old: Feature, new: Feature) -> bool:
    """Whether the new kind takes every value of the old kind."""
    if old.kind is new.kind or (old.kind, new.kind) in _WIDER:
        return True
    if old.kind is _K.BOOLEAN and new.kind is _K.NUMBER:
        return new.takes_booleans
    return {old.kind, new.kind} == _TEXTS and not new.categories and all(isinstance(one, str) for one in old.categories)


def _of_moments(old: Feature, new: Feature) -> str:
    if bool(old.zone) != bool(new.zone):
        return "needs an offset from UTC" if new.zone else "refuses an offset from UTC"
    days = [datetime_unit(one.dtype) == "D" for one in (old, new)]
    return "takes dates without a time only" if days == [False, True] else ""


def _of_tensors(old: Feature, new: Feature) -> str:
    if new.kind is _K.LIST:
        return ""
    if not _same_shape(old.shape, new.shape):
        return f"has the shape {_spoken(new.shape)}, not {_spoken(old.shape)}"
    types = [numpy_dtype(one.dtype) for one in (old, new)]
    held = [_TENSOR_KINDS.get(one.kind, "") if one is not None else "" for one in types]
    widened = held[0] == held[1] or held == ["whole numbers", "numbers"]
    return f"holds {held[1]}, not {held[0]}" if all(held) and not widened else ""


def _of_numbers(old: Feature, new: Feature) -> str:
    """A limit that was declared counts; a type's limit, only if the old version's training data is beyond it."""
    low, high = number_limits(new.dtype)
    seen = [one for one in (old.observed_min, old.observed_max) if one is not None]
    below = new.minimum is not None and (old.minimum is None or old.minimum < new.minimum)
    above = new.maximum is not None and (old.maximum is None or old.maximum > new.maximum)
    if new.kind not in _NUMERIC or not (below or above or any(not low <= one <= high for one in seen)):
        return ""
    bounds = (low if new.minimum is None else new.minimum, high if new.maximum is None else new.maximum)
    return "takes only numbers from {:g} to {:g}".format(*bounds)


# --- outputs ----------------------------------------------------------------------------------------------------------


def _classes(old: Sequence[Any] | None, new: Sequence[Any] | None) -> Iterator[Difference]:
    if old is None or new is None or _comparable(old) == _comparable(new):
        return
    if sorted(map(repr, old)) == sorted(map(repr, new)):
        yield Difference("classes", f"the classes have another order: {_few(new)}, not {_few(old)}")
    else:
        yield Difference("classes", f"the classes are {_few(new)}, not {_few(old)}")


def _outputs(stable: ModelVersion, target: ModelVersion, *, relabelled: bool) -> Iterator[Difference]:
    """Compare the outputs; the number of probabilities follows from the classes if these differ (`relabelled`)."""
    old, new = ({one["name"]: from_plain(Output, one) for one in of.outputs} for of in (stable, target))
    tasks = {stable.task, target.task}
    if tasks == {"classification", "regression"}:
        yield Difference("output:predictions", f"the predictions are those of {target.task}, not of {stable.task}")
        return
    retyped: set[str] = set()
    for name, output in old.items() if new else ():
        if name.partition(".")[0] in retyped:
            continue
        what = _output(output, new.get(name))
        if what and name == "predictions" and name not in new:  # it may still be named
            own = [one for one in new if one != "probabilities"]
            what = f"is sent as {', '.join(own)} to who names no output of a tensor request"
        if what and not (relabelled and name == "probabilities" and name in new and output.kind == new[name].kind):
            retyped.add(name)
            yield Difference(f"output:{name}", f"the output {name} {what}")


def _output(old: Output, new: Output | None) -> str:
    """Return in what an output differs; "" for nothing."""
    if new is None:
        return "is not answered any more"
    kinds = [{"integer": "number", "list": "tensor"}.get(one.kind, one.kind) for one in (old, new)]
    if "any" in kinds:
        return ""
    if kinds[0] != kinds[1]:
        return f"is a {new.kind}, not a {old.kind}"
    lists = "list" in {old.kind, new.kind}  # only the length of a list is known, not what it holds
    shapes = [one.shape[:1] if lists else one.shape for one in (old, new)]
    if not _same_shape(*shapes):
        return f"has the shape {_spoken(new.shape)} in each row, not {_spoken(old.shape)}"
    booleans = [one.dtype.startswith("bool") for one in (old, new)]
    return "" if booleans[0] == booleans[1] or not (old.dtype and new.dtype) else f"holds {new.dtype}, not {old.dtype}"


# --- parts ------------------------------------------------------------------------------------------------------------


def _same_shape(old: Sequence[int | None], new: Sequence[int | None]) -> bool:
    """Whether the shapes agree; an axis of any length agrees with each."""
    return len(old) == len(new) and all(None in pair or pair[0] == pair[1] for pair in zip(old, new, strict=True))


def _among(level: Any, levels: Sequence[Any]) -> bool:
    return any(level == one and isinstance(level, bool) == isinstance(one, bool) for one in levels)


def _comparable(value: Any) -> Any:
    """Lists as tuples, and booleans told apart from 0 and 1."""
    if isinstance(value, list | tuple):
        return tuple(map(_comparable, value))
    return (isinstance(value, bool), value)


def _listed(found: Sequence[Difference]) -> str:
    return "; ".join(f"{one.name} ({one.detail})" for one in found)


def _few(values: Sequence[Any]) -> str:
    more = f" and {len(values) - _MOST_LISTED} more" if len(values) > _MOST_LISTED else ""
    return ", ".join(map(repr, values[:_MOST_LISTED])) + more


def _spoken(shape: Sequence[int | None]) -> str:
    return "(" + ", ".join("any" if axis is None else str(axis) for axis in shape) + ")"
