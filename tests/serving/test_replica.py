import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamb.clock import ManualClock
from streamb.errors import InvalidFeatures, ModelFailed
from streamb.models.schema import FeatureSchema
from streamb.serving import Batch, BatchPredictor


class Model:
    """Doubles the first value of each row; `answer` may replace that, rows with -1 make it raise."""

    schema = None
    has_probabilities = False

    def __init__(self, answer=None) -> None:
        self._answer = answer
        self.calls = 0

    def predict(self, X):
        self.calls += 1
        if self._answer is not None:
            return self._answer(X)
        first = np.asarray([row[0] for row in X], dtype=float)
        if (first == -1).any():
            raise ValueError("minus one is not allowed")
        return first * 2

    def predict_proba(self, X):
        first = np.asarray([row[0] for row in X], dtype=float)
        return np.asfortranarray(np.column_stack([first, 1 - first]))


class Classifier(Model):
    has_probabilities = True


def batch(*requests, probabilities=False) -> Batch:
    rows = np.array([[float(value)] for request in requests for value in request]).reshape(-1, 1)
    return Batch(rows, tuple(len(request) for request in requests), (True,) * len(requests) if probabilities else ())


def test_a_whole_batch_takes_one_call():
    model = Model()
    reply = BatchPredictor(model).run(batch([1, 2], [3]))
    assert reply.predictions.tolist() == [2, 4, 6]
    assert reply.probabilities is None
    assert not reply.errors
    assert model.calls == 1


@settings(max_examples=40)
@given(st.lists(st.lists(st.sampled_from([1.0, 2.0, 3.0, -1.0]), min_size=1, max_size=4), min_size=1, max_size=20))
def test_exactly_the_guilty_requests_fail(requests):
    reply = BatchPredictor(Model()).run(batch(*requests))
    assert set(reply.errors) == {index for index, request in enumerate(requests) if -1 in request}
    assert reply.predictions.tolist() == [2 * value for request in requests if -1 not in request for value in request]
    assert all("minus one" in error.message for error in reply.errors.values())


@pytest.mark.parametrize("error", [SystemExit(3), MemoryError("full"), RecursionError("deep"), StopIteration()])
def test_whatever_the_model_raises_fails_its_request(error):
    def answer(X):
        if 7 in [row[0] for row in X]:
            raise error
        return np.zeros(len(X))

    reply = BatchPredictor(Model(answer)).run(batch([1], [7], [2]))
    assert set(reply.errors) == {1}
    assert isinstance(reply.errors[1], ModelFailed)
    assert type(error).__name__ in reply.errors[1].message


def test_one_guilty_request_among_many_is_found_in_few_calls():
    model = Model()
    requests = [[1]] * 64
    requests[37] = [-1]
    assert set(BatchPredictor(model).run(batch(*requests)).errors) == {37}
    assert model.calls <= 1 + 2 * 6


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_fail_only_their_row(bad):
    model = Model(lambda X: np.where(X[:, 0] == 5, bad, X[:, 0]))
    reply = BatchPredictor(model).run(batch([1, 2], [3, 5], [4]))
    np.testing.assert_array_equal(reply.predictions, [1, 2, 3, bad, 4])
    assert reply.sound.tolist() == [1, 2, 3, 4]
    assert (reply.errors, reply.failed) == ({}, [3])
    assert model.calls == 1  # seen at once: nothing is tried again


def test_failed_rows_are_counted_beside_failed_requests():
    def answer(X):
        if -1 in X[:, 0]:
            raise ValueError("minus one")
        return {"a": np.where(X[:, 0] == 5, np.nan, 1), "b": X[:, 0]}

    reply = BatchPredictor(Model(answer)).run(batch([1, 2], [-1, 5], [4, 5]))
    assert (list(reply.errors), reply.failed, len(reply.predictions)) == ([1], [3], 4)
    assert reply.predictions["b"].tolist() == [1, 2, 4, 5]


def test_a_row_with_bad_probabilities_fails_if_it_asked_for_them():
    model = Classifier()
    model.predict_proba = lambda X: np.where(X == 7, np.nan, np.hstack([X, 1 - X]))
    some = Batch(np.array([[7.0], [0.5], [7.0], [0.25]]), (1, 1, 2), (False, True, True))
    assert BatchPredictor(model).run(some).failed == [2]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (lambda X: np.array(["yes" if row[0] > 2 else "no" for row in X]), ["no", "yes"]),
        (lambda X: ["yes"] * len(X), ["yes", "yes"]),
        (lambda X: X[:, 0].astype(int), [1, 3]),
        (lambda X: X[:, 0] > 2, [False, True]),
        (lambda X: np.column_stack([X[:, 0], X[:, 0] * 2]), [[1, 2], [3, 6]]),
        (lambda X: np.array(["a", 3], dtype=object)[: len(X)], ["a", 3]),
        (lambda X: np.array([b"a"] * len(X)), ["a", "a"]),
    ],
)
def test_predictions_of_every_kind(answer, expected):
    reply = BatchPredictor(Model(answer)).run(batch([1], [3]))
    assert reply.predictions.tolist() == expected
    assert not reply.errors


@pytest.mark.parametrize(
    "answer",
    [
        lambda X: np.zeros(len(X) + 1),
        lambda X: 3.0,
        lambda X: None,
        lambda X: np.array([object()] * len(X)),
        lambda X: np.array([1j] * len(X)),
        lambda X: [{1, 2}] * len(X),
        lambda X: {"a": np.zeros(len(X) + 1)},
        lambda X: 1 / 0,
    ],
)
def test_what_is_no_prediction_is_an_error_of_the_version(answer):
    reply = BatchPredictor(Model(answer)).run(batch([1], [3]))
    assert len(reply.predictions) == 0
    assert [type(error) for error in reply.errors.values()] == [ModelFailed, ModelFailed]


def test_missing_values_among_objects_are_found():
    answer = lambda X: np.array(["a" if row[0] < 5 else float("nan") for row in X], dtype=object)  # noqa: E731
    assert BatchPredictor(Model(answer)).run(batch([1], [5])).failed == [1]


def test_probabilities_when_asked_for_and_when_there_are_some():
    reply = BatchPredictor(Classifier()).run(batch([0.25], [0.5], probabilities=True))
    assert reply.probabilities.tolist() == [[0.25, 0.75], [0.5, 0.5]]
    assert reply.probabilities.flags.c_contiguous
    assert BatchPredictor(Classifier()).run(batch([0.25])).probabilities is None
    assert BatchPredictor(Model()).run(batch([0.25], probabilities=True)).probabilities is None


def test_probabilities_of_the_requests_that_succeed():
    reply = BatchPredictor(Classifier()).run(batch([0.25], [-1], [0.5], probabilities=True))
    assert reply.probabilities.tolist() == [[0.25, 0.75], [0.5, 0.5]]
    assert list(reply.errors) == [1]


def test_a_model_that_says_the_features_are_wrong_is_believed():
    def answer(X):
        raise InvalidFeatures("column 'age' must be positive")

    assert type(BatchPredictor(Model(answer)).run(batch([1])).errors[0]) is InvalidFeatures


def test_rows_of_any_type_reach_a_model_without_a_schema():
    seen = []
    model = Model(lambda X: seen.append(X) or np.zeros(len(X)))
    BatchPredictor(model).run(Batch(["a", "b"], (1, 1)))
    BatchPredictor(model).run(Batch([1, 2], (1, 1)))
    assert seen[0] == ["a", "b"]
    assert seen[1].tolist() == [1, 2]


def test_a_schema_turns_rows_into_what_the_model_takes():
    seen = []
    model = Model(lambda X: seen.append(X) or np.zeros(len(X)))
    model.schema = FeatureSchema.texts()
    BatchPredictor(model).run(Batch([["a"], ["b"]], (1, 1)))
    assert seen == [["a", "b"]]


def test_the_search_ends_when_it_takes_too_long():
    clock = ManualClock()

    def answer(X):
        clock.advance(6)
        raise ValueError("slow and wrong")

    model = Model(answer)
    reply = BatchPredictor(model, clock=clock, search_s=10).run(batch(*[[1]] * 64))
    assert len(reply.errors) == 64
    assert model.calls < 10
