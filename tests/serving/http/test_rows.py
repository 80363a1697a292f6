import numpy as np
import orjson
import pytest

from streamb.errors import BadRequest, InvalidFeatures
from streamb.models.outputs import Answer
from streamb.models.schema import FeatureSchema
from streamb.serving.answer import Origin, untyped_rows
from streamb.serving.http.rows import RowsRequest

SCHEMA = FeatureSchema.numbers(2)
ORIGIN = Origin("m", "1.0.0", "r-1")


def test_rows_by_position_and_by_name():
    request = RowsRequest.decode(
        b'{"instances": [[1, 2.5], {"x1": 4, "x0": 3}], "user_id": "u", "probabilities": true}'
    )
    assert request.rows(SCHEMA).tolist() == [[1, 2.5], [3, 4]]
    assert (request.user_id, request.probabilities, request.row_count) == ("u", True, 2)


def test_a_whole_number_is_a_user_id_too():
    assert RowsRequest.decode(b'{"instances": [[1]], "user_id": 17}').user_id == "17"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"instances": [[NaN]]}', "not JSON"),
        (b'{"instances": [[1e999]]}', "not JSON"),
        (b'\xff{"instances": [[1]]}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[[1]]", "JSON object, not a list"),
        (b"{}", "the body has no fields"),
        (b'{"rows": [[1]]}', "the body has rows"),
        (b'{"instances": []}', "it is empty"),
        (b'{"instances": {"a": 1}}', "it is an object"),
        (b'{"instances": [[1]], "user_id": true}', "user_id"),
        (b'{"instances": [[1]], "probabilities": "yes"}', "true or false"),
    ],
)
def test_a_malformed_body_says_what_is_wrong(body, message):
    with pytest.raises(BadRequest, match=message):
        RowsRequest.decode(body)


def test_wrong_features_are_named():
    with pytest.raises(InvalidFeatures) as refused:
        RowsRequest.decode(b'{"instances": [[1, "tall"], [1]]}').rows(SCHEMA)
    assert len(refused.value.details["problems"]) == 2


@pytest.mark.parametrize(
    ("predictions", "written"),
    [
        (np.array([1.5, 2.0]), [1.5, 2.0]),
        (np.array([1, 2]), [1, 2]),
        (np.array([True, False]), [True, False]),
        (np.array(["yes", "no"]), ["yes", "no"]),
        (np.array(["yes", 3], dtype=object), ["yes", 3]),
        (np.array([[1.0, 2.0], [3.0, 4.0]]).T, [[1.0, 3.0], [2.0, 4.0]]),
        (np.array([0.5, 0.25], dtype=np.float16), [0.5, 0.25]),
        (np.array([1.0, 2.0], dtype=">f8"), [1.0, 2.0]),
    ],
)
def test_predictions_of_every_type_become_json(predictions, written):
    encoded = RowsRequest([[1], [2]]).encode(Answer(predictions), ORIGIN)
    assert orjson.loads(encoded.body) == {
        "predictions": written,
        "model": "m",
        "version": "1.0.0",
        "request_id": "r-1",
    }


def test_probabilities_are_written_when_there_are_some():
    answer = Answer(np.array([1]), np.asfortranarray([[0.25, 0.75], [0.5, 0.5]])[:1])
    assert orjson.loads(RowsRequest([[1]]).encode(answer, ORIGIN).body)["probabilities"] == [[0.25, 0.75]]


def test_rows_without_a_schema():
    assert untyped_rows([[1, 2], [3, 4]]).dtype == np.float64
    assert untyped_rows([[[1], [2]], [[3], [4]]]).shape == (2, 2, 1)
    assert untyped_rows([1, 2]).tolist() == [1, 2]
    assert untyped_rows([[2**64 - 1, 1]]).tolist() == [[2**64 - 1, 1]]
    assert untyped_rows([[True, False]]).tolist() == [[1.0, 0.0]]
    for rows in (["a", "b"], [[1], [2, 3]], [{"a": 1}], [[1, None]], [[2**70]], [[2**53 + 1, 0.5]], [[2**64 - 1, -1]]):
        assert untyped_rows(rows) is rows
