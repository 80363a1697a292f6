"""Signatures are compared when a deployment is ordered: every difference has a name, and is accepted by it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamb.errors import IncompatibleSignature, InvalidFeatures, InvalidInput
from streamb.models.schema import Feature, FeatureKind, FeatureSchema
from streamb.registry import Artifact, ModelVersion, Stage, Trial, TrialState
from streamb.rollouts.compatibility import accepted_changes, differences
from streamb.rollouts.strategies import Strategy
from tests.rollouts.fakes import House

NUMBER, INTEGER, TEXT, CATEGORY = FeatureKind.NUMBER, FeatureKind.INTEGER, FeatureKind.TEXT, FeatureKind.CATEGORY
PREDICTIONS = {"name": "predictions", "kind": "integer", "dtype": "int64", "shape": []}
PROBABILITIES = {"name": "probabilities", "kind": "tensor", "dtype": "float64", "shape": [2]}
FEATURES = (
    Feature("age"),
    Feature("city", CATEGORY, categories=("Oslo", "Lima")),
    Feature("note", TEXT, optional=True),
)


def version_of(
    number: str = "1.0.0",
    features: tuple[Feature, ...] = FEATURES,
    container: Any = "frame",
    state: TrialState = TrialState.PASSED,
    **more: Any,
) -> ModelVersion:
    """A version of these columns; classification into two classes unless told otherwise."""
    known: dict[str, Any] = {"task": "classification", "outputs": (PREDICTIONS, PROBABILITIES), "classes": (0, 1)}
    schema = FeatureSchema(features, container).to_json() if features else {}
    return ModelVersion(
        digest="d", blob="b", size_bytes=1, framework="f", schema=schema, carries_code=False,
        model_id="m", version=number, stage=Stage.DEVELOPMENT, owner="", created_at=0.0,
        trial=Trial(state), **{**known, **more},
    )  # fmt: skip


def names(stable: ModelVersion, target: ModelVersion) -> list[str]:
    return [one.name for one in differences(stable, target)]


def edited(place: int, **changes: Any) -> tuple[Feature, ...]:
    return tuple(replace(one, **changes) if index == place else one for index, one in enumerate(FEATURES))


ONE_NUMBER = (Feature("x", NUMBER, observed_min=0, observed_max=900),)
MOMENT, TENSOR = FeatureKind.DATETIME, FeatureKind.TENSOR
EDITS = [
    ("added:income", FEATURES, (*FEATURES, Feature("income"))),
    ("added:note", FEATURES, edited(2, optional=False, nullable=False)),
    ("removed:note", FEATURES, FEATURES[:2]),
    ("retyped:age", FEATURES, edited(0, kind=TEXT)),
    ("retyped:x", ONE_NUMBER, (Feature("x", INTEGER),)),
    ("retyped:x", ONE_NUMBER, (Feature("x", NUMBER, minimum=0, maximum=100),)),
    ("retyped:x", ONE_NUMBER, (Feature("x", NUMBER, dtype="int8"),)),
    ("retyped:x", (Feature("x", FeatureKind.BOOLEAN),), (Feature("x", NUMBER),)),
    ("retyped:x", (Feature("x", MOMENT),), (Feature("x", MOMENT, zone="UTC"),)),
    ("retyped:x", (Feature("x", MOMENT),), (Feature("x", MOMENT, dtype="date"),)),
    ("retyped:x", (Feature("x", TENSOR, shape=(3, 4)),), (Feature("x", TENSOR, shape=(3, 5)),)),
    ("retyped:x", (Feature("x", TENSOR, dtype="float32"),), (Feature("x", TENSOR, dtype="int8"),)),
    ("retyped:x", (Feature("x", FeatureKind.LIST),), (Feature("x", TENSOR),)),
    ("levels:city", FEATURES, edited(1, categories=("Oslo", "Pune"))),
    ("levels:city", edited(1, categories=()), FEATURES),
    ("order", FEATURES, FEATURES[::-1]),
]
WIDER = [
    (FEATURES, (*FEATURES, Feature("income", optional=True))),
    (edited(0, kind=INTEGER), FEATURES),
    (FEATURES, edited(0, optional=True)),
    (FEATURES, edited(1, categories=("Lima", "Oslo", "Pune"))),
    (FEATURES, edited(1, kind=TEXT, categories=())),
    (FEATURES, edited(0, kind=FeatureKind.ANY)),
    (edited(0, kind=FeatureKind.ANY), FEATURES),
    ((Feature("x", TENSOR, shape=(3, 4)),), (Feature("x", TENSOR, shape=(None, 4)),)),
    (FeatureSchema.numbers(3).features, (*FEATURES[:1], Feature("b"), Feature("c"))),
    (FEATURES, ()),
    ((), FEATURES),
]


@pytest.mark.parametrize(("name", "stable", "target"), EDITS)
def test_each_edit_of_the_inputs_has_exactly_its_name(name, stable, target):
    assert names(version_of(features=stable), version_of("2.0.0", target)) == [name]


@pytest.mark.parametrize(("stable", "target"), WIDER)
def test_what_widens_or_is_unknown_is_no_difference(stable, target):
    container = "array" if stable and stable[0].name == "x0" else "frame"
    assert names(version_of(features=stable, container=container), version_of("2.0.0", target)) == []


OUTPUT_EDITS: list[tuple[list[str], Callable[[], dict[str, Any]]]] = [
    (["classes"], lambda: {"classes": (0, 2)}),
    (["classes"], lambda: {"classes": (1, 0)}),
    (["classes"], lambda: {"classes": (False, True)}),
    (["classes"], lambda: {"classes": (0, 1, 2), "outputs": (PREDICTIONS, {**PROBABILITIES, "shape": [3]})}),
    ([], lambda: {"classes": None}),
    ([], lambda: {"classes": (0.0, 1.0)}),
    ([], lambda: {"outputs": ()}),
    ([], lambda: {"task": "other"}),
    ([], lambda: {"outputs": ({**PREDICTIONS, "kind": "number"}, PROBABILITIES)}),
    ([], lambda: {"outputs": ({**PREDICTIONS, "kind": "any"}, PROBABILITIES, {**PREDICTIONS, "name": "why"})}),
    (["output:predictions"], lambda: {"outputs": ({**PREDICTIONS, "kind": "text"}, PROBABILITIES)}),
    (["output:predictions"], lambda: {"outputs": ({**PREDICTIONS, "shape": [1]}, PROBABILITIES)}),
    (["output:predictions"], lambda: {"task": "regression"}),
    (["output:probabilities"], lambda: {"outputs": (PREDICTIONS,)}),
    (["output:probabilities"], lambda: {"outputs": (PREDICTIONS, {**PROBABILITIES, "shape": [3]})}),
]


@pytest.mark.parametrize(("expected", "edit"), OUTPUT_EDITS)
def test_each_edit_of_what_it_answers_has_exactly_its_name(expected, edit):
    assert names(version_of(), version_of("2.0.0", **edit())) == expected


def test_predictions_that_have_a_name_of_their_own_now_are_told_as_such():
    (found,) = differences(
        version_of(), version_of("2.0.0", outputs=({**PREDICTIONS, "name": "variable"}, PROBABILITIES))
    )
    assert str(found.name) == "output:predictions"
    assert found.detail == "the output predictions is sent as variable to who names no output of a tensor request"


def test_the_keys_of_an_object_are_outputs_of_their_own_unless_the_whole_is_another_type():
    parts = ({"name": "predictions", "kind": "object"}, {"name": "predictions.a", "kind": "number"})
    stable = version_of(outputs=parts, classes=None)
    assert names(stable, version_of("2.0.0", outputs=parts[:1], classes=None)) == ["output:predictions.a"]
    assert names(stable, version_of("2.0.0", classes=None)) == ["output:predictions"]


def test_what_only_an_example_tells_is_not_compared_with_what_a_library_tells():
    told = version_of(features=(Feature("x", NUMBER, optional=True),), state=TrialState.LOADS)
    learnt = version_of("2.0.0", (Feature("x", INTEGER),))
    assert names(told, learnt) == []
    assert names(told, version_of("2.0.0", (Feature("x", TEXT),))) == ["retyped:x"]


KINDS = [kind for kind in FeatureKind if kind not in (FeatureKind.TENSOR, FeatureKind.DATETIME)]
LEVELS = st.lists(st.sampled_from(["a", "b", "c", 1, 2, True]), max_size=3, unique_by=repr)
VALUES: list[Any] = [0, 1, -2, 2.5, 7, "a", "b", "d", True, None, [1]]


@st.composite
def columns(draw: st.DrawFn, name: str = "p") -> Feature:
    kind = draw(st.sampled_from(KINDS))
    low, high = draw(st.none() | st.integers(-3, 0)), draw(st.none() | st.integers(1, 3))
    levels = tuple(draw(LEVELS)) if kind is CATEGORY else ()
    numeric = kind in (NUMBER, INTEGER)
    return Feature(
        name, kind, low if numeric else None, high if numeric else None, categories=levels, optional=draw(st.booleans())
    )


@given(st.tuples(*map(columns, "pqr")), st.sampled_from(["array", "frame", "records"]))
def test_a_signature_never_differs_from_itself(features, container):
    version = version_of(features=features, container=container)
    assert differences(version, replace(version, version="2.0.0")) == ()


def takes(feature: Feature, value: Any) -> bool:
    try:
        FeatureSchema((feature,), "records").check_rows([{} if value is ... else {feature.name: value}])
    except InvalidFeatures:
        return False
    return True


@given(columns(), columns())
def test_what_the_stable_version_takes_the_target_takes_too_unless_a_difference_is_named(stable, target):
    kinds = {stable.kind, target.kind}
    named = names(version_of(features=(stable,), container="records"), version_of("2.0.0", (target,), "records"))
    refused = [one for one in (..., *VALUES) if takes(stable, one) and not takes(target, one)]
    assert named or not refused or FeatureKind.ANY in kinds, refused


def test_a_refusal_lists_each_difference_and_how_to_accept_it():
    with pytest.raises(
        IncompatibleSignature, match=r"added:income .the column income .number. must be sent."
    ) as caught:
        accepted_changes(version_of(), version_of("2.0.0", (*FEATURES, Feature("income"))), ())
    assert (caught.value.status, caught.value.code) == (409, "incompatible_signature")
    assert caught.value.details["changes"] == [
        {"name": "added:income", "detail": "the column income (number) must be sent"}
    ]


def test_a_name_that_is_no_difference_is_refused_with_the_actual_ones():
    target = version_of("2.0.0", (*FEATURES, Feature("income")))
    with pytest.raises(InvalidInput, match=r"no difference: added:incom; .* in added:income"):
        accepted_changes(version_of(), target, ("added:incom", "added:income"))
    with pytest.raises(InvalidInput, match=r"no difference: classes; no difference from version 1\.0\.0 is known"):
        accepted_changes(version_of(), version_of("2.0.0"), ("classes",))


def test_a_deployment_is_refused_before_it_starts_and_accepted_by_name_whatever_the_strategy():
    house = House()
    for number, features in (("4.0.0", FEATURES), ("5.0.0", (*FEATURES, Feature("income")))):
        schema = FeatureSchema(features, "frame").to_json()
        house.registry.register_version("m", number, Artifact(number, number, 1, "f", "other", schema, False))
    house.serve("1.0.0")  # its signature is not known, so nothing differs from it
    house.serve("4.0.0")
    for strategy in Strategy:
        with pytest.raises(IncompatibleSignature):
            house.create("5.0.0", strategy)
    made = house.create("5.0.0", accept_changes=["added:income"])
    assert made.options == {"accept_changes": ["added:income"]}
    created = next(event for event in house.rollouts.history(10, None).items if event.deployment_id == made.id)
    assert "accepted changes of the signature: added:income" in created.detail
    house.until(made.id, "completed")
    house.until(house.rollouts.rollback(made.id, "ann").id, "rolled_back")  # the way back is never refused
