"""Which requests go into one call, and that nobody's answer depends on who else is in it."""

import asyncio

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.clock import ManualClock
from streamb.metrics import VersionRecorder
from streamb.models.features import Feature, FeatureKind
from streamb.models.schema import FeatureSchema
from streamb.serving import BatchPredictor, GatewayLimits
from streamb.serving.answer import untyped_rows
from streamb.serving.batcher import Batcher
from streamb.serving.forms import form_of, value_typed
from streamb.serving.lane import Lane
from tests.serving.predictors import target

FLOATS = np.zeros((1, 2))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FLOATS, FLOATS.astype(np.float32)),
        (FLOATS, np.zeros((1, 3))),
        (FLOATS, [["a", 1.0]]),
        ([[5, "a"]], [[None, "b"]]),
        ([[5, "a"]], [[5.0, "a"]]),
        ([[5, "a"]], [[True, "a"]]),
        ([[5, "a"], [None, "b"]], [[5, "a"]]),
        ([["a", 1]], [[1, "a"]]),
        ([["a"]], [["a", "b"]]),
        ([[2**70, "a"]], [[5, "a"]]),
        ([[2**70, "a"]], [[2**70, "a"]]),
        ([["a"], ["b", "c"]], [["a"]]),
        ([{"x": 1}], [{"x": None}]),
        ([{"x": 1}], [{"y": 1}]),
        ([{"x": 1, "y": 2}], [{"y": 2, "x": 1}]),
        ([{"x": 1}, {}], [{"x": 1}]),
        (["a"], [1]),
        ([[[1, 2], "a"]], [[[None, 2], "a"]]),
        ([[{"x": 1}, "a"]], [[{"x": "1"}, "a"]]),
        ([["a", np.zeros(2)]], [["a", np.zeros(3)]]),
        ([["a", np.zeros(2)]], [["a", np.zeros(2, np.int64)]]),
        (np.array([[5, "a"]], object), np.array([[None, "a"]], object)),
    ],
)
def test_rows_that_could_change_each_other_are_not_joined(one, other):
    assert form_of(one) != form_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (FLOATS, np.ones((7, 2))),
        ([[5, "a"]], [[6, "b"], [7, "cdef"]]),
        ([[5, "a"], [None, "b"]], [[None, "c"], [1, "d"], [2, "e"]]),
        ([{"x": 1, "y": "a"}], [{"x": 2, "y": "b"}] * 3),
        (["a text"], ["another", "text"]),
        ([[[1, 2], "a"]], [[[3], "b"]]),
        (np.array(["a"]), np.array(["abc"])),
        (np.array([[5, "a"]], object), np.array([[6, "b"]], object)),
    ],
)
def test_rows_of_one_form_are_joined(one, other):
    assert form_of(one) == form_of(other)


def test_in_a_column_of_whole_numbers_a_fraction_or_nothing_is_another_form():
    schema = FeatureSchema((Feature("x", dtype="int64", nullable=True), Feature("y")), "frame")
    typed = value_typed(schema)
    assert typed.tolist() == [True, False]
    forms = [form_of(np.array([row]), typed) for row in ([1.0, 0.5], [2.0, 1.0], [np.nan, 1.0], [0.5, 1.0])]
    assert forms[0] == forms[1] != forms[2] == forms[3]
    assert value_typed(FeatureSchema.numbers(3)) is None


# --- nobody's answer depends on others ----------------------------------------------------------------------------


class Looks:
    """A model that says for each row what it got, and of which type."""

    has_probabilities = False
    classes = None

    def __init__(self, schema=None):
        self.schema = schema

    def predict(self, X):
        if hasattr(X, "dtypes"):
            types, rows = [str(dtype) for dtype in X.dtypes], X.to_numpy(object)
        else:
            types, rows = getattr(X, "dtype", type(X)), X
        return [f"{types}: {row.tolist() if isinstance(row, np.ndarray) else row!r}" for row in rows]


class Desk:
    """A predictor that computes each call at the next turn, so that what comes meanwhile waits."""

    def __init__(self, model):
        self.predictor = BatchPredictor(model)
        self.sizes = []

    def replicas(self, version):
        return 1

    async def predict(self, version, batch):
        self.sizes.append(len(batch.counts))
        for _ in range(3):
            await asyncio.sleep(0)
        return self.predictor.run(batch)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([2**53 + 1, 2**63, 2**70]), st.sampled_from("ab"),
    st.sampled_from([0.5, 2.0]),
)  # fmt: skip
WIDE = st.one_of(VALUES, st.lists(st.integers(0, 2), max_size=2))
ROWS = st.integers(1, 2).flatmap(lambda n: st.lists(st.lists(WIDE, min_size=n, max_size=n), min_size=1, max_size=3))
NAMED = st.lists(st.dictionaries(st.sampled_from("xy"), VALUES, min_size=1), min_size=1, max_size=2)
TEXTS = st.lists(st.sampled_from(["a", "bcd"]), min_size=1, max_size=2)
OPEN = st.one_of(ROWS, ROWS, NAMED, TEXTS)

TYPED = FeatureSchema(
    (
        Feature("n", FeatureKind.NUMBER, dtype="int64", nullable=True),
        Feature("i", FeatureKind.INTEGER, nullable=True),
        Feature("t", FeatureKind.TEXT, nullable=True),
        Feature("a", FeatureKind.ANY, nullable=True),
    ),
    "frame",
)
TYPED_ROWS = st.lists(
    st.tuples(
        st.sampled_from([None, 1, 2, 0.5]),
        st.sampled_from([None, 1, 2]),
        st.sampled_from([None, "a", "bc"]),
        st.sampled_from([None, 1, 0.5, "a", True]),
    ).map(list),
    min_size=1,
    max_size=3,
)
NUMBERS = FeatureSchema(
    (Feature("n", dtype="int64", nullable=True), Feature("m", dtype="int64", nullable=True)), "array"
)
NUMBER_ROWS = st.lists(st.lists(st.sampled_from([None, 1, 2, 0.5]), min_size=2, max_size=2), min_size=1, max_size=3)


async def _answers(model, schema, requests, *, together, limits):
    desk = Desk(model)
    batcher = Batcher(desk, limits, ManualClock())
    lane = Lane(target(), VersionRecorder("m", "1.0.0"))
    lane.value_typed = value_typed(schema)
    futures = []
    for instances in requests:
        rows = untyped_rows(instances) if schema is None else schema.check_rows(instances)
        futures.append(batcher.submit(lane, batcher.admit(rows, probabilities=False)))
        if not together:
            await asyncio.wait(futures)
    await asyncio.wait(futures)
    assert batcher.queued == batcher.in_flight == 0
    told = [future.exception() or future.result().predictions.tolist() for future in futures]
    return [str(one) for one in told], desk.sizes


CASES = st.one_of(
    st.tuples(st.just(None), st.lists(OPEN, min_size=2, max_size=8)),
    st.tuples(st.just(TYPED), st.lists(TYPED_ROWS, min_size=2, max_size=8)),
    st.tuples(st.just(NUMBERS), st.lists(NUMBER_ROWS, min_size=2, max_size=8)),
)


@settings(max_examples=150, deadline=None)
@given(CASES, st.integers(1, 8))
def test_an_answer_does_not_depend_on_who_else_is_in_the_call(case, most_rows):
    schema, requests = case
    limits = GatewayLimits(max_batch_rows=most_rows)
    alone, _ = asyncio.run(_answers(Looks(schema), schema, requests, together=False, limits=limits))
    joined, sizes = asyncio.run(_answers(Looks(schema), schema, requests, together=True, limits=limits))
    assert joined == alone
    assert sum(sizes) == len(requests)


def test_requests_of_one_form_are_joined_around_one_of_another():
    requests = [[[1, "a"]], [[2, "b"]], [[None, "c"]], [[3, "d"]]]
    _, sizes = asyncio.run(_answers(Looks(), None, requests, together=True, limits=GatewayLimits()))
    assert sizes == [3, 1]
