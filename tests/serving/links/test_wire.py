import math
import struct

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from streamb.errors import InvalidFeatures, InvalidInput, ModelFailed, StreambError, Unavailable
from streamb.models.json_values import objects
from streamb.models.named_outputs import named_array
from streamb.serving.batch import Batch, BatchReply
from streamb.serving.links.frames import GREETING_BYTES, MAX_PAYLOAD, FrameReader, Kind, MalformedFrame
from streamb.serving.links.wire import (
    decode_batch,
    decode_error,
    decode_reply,
    encode_batch,
    encode_error,
    encode_reply,
)
from tests.models.test_json_values import JSON

HEADER = 13
VALUES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20)
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
NUMBERS = st.one_of(arrays.integer_dtypes(), arrays.unsigned_integer_dtypes(), arrays.floating_dtypes())
TYPES = st.one_of(NUMBERS, arrays.boolean_dtypes(), arrays.unicode_string_dtypes())
DETAILS = st.dictionaries(st.text(), VALUES | st.lists(VALUES, max_size=3), max_size=3)
DECODERS = (decode_batch, decode_reply, decode_error)


def payload(frame: bytes) -> bytearray:
    call, kind, length = struct.unpack_from("!QBI", frame)
    assert call == 7
    assert kind in set(Kind)
    assert length == len(frame) - HEADER
    return bytearray(frame[HEADER:])


def same(one, other) -> bool:
    """Equal in value and in type, where a NaN equals a NaN."""
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


def same_array(one, other) -> bool:
    if one.dtype.kind == "O":
        return one.shape == other.shape and same(one.ravel().tolist(), other.ravel().tolist())
    return one.shape == other.shape and one.dtype.kind == other.dtype.kind and one.tobytes() == other.tobytes()


class TestBatches:
    @given(arrays.arrays(np.float64, SHAPES), st.lists(st.tuples(st.integers(0, 9), st.booleans())), st.booleans())
    def test_an_array_arrives_bit_for_bit(self, rows, requests, some_asked):
        counts = [count for count, _ in requests]
        probabilities = tuple(asked for _, asked in requests) if some_asked else ()
        got = decode_batch(payload(encode_batch(7, Batch(rows, tuple(counts), probabilities))))
        assert same_array(rows, got.rows)
        assert (got.counts, got.probabilities) == (tuple(counts), probabilities)
        assert got.rows.flags.writeable or not got.rows.size
        assert got.rows.flags.aligned

    @given(st.lists(st.lists(VALUES | st.lists(VALUES), max_size=5), max_size=5))
    def test_a_list_of_rows_arrives_as_it_was(self, rows):
        assert same(decode_batch(payload(encode_batch(7, Batch(rows, (len(rows),))))).rows, rows)

    @pytest.mark.parametrize("value", [2**63, 2**64, -(2**63) - 1, -(2**64), "\ud800", float("inf")])
    def test_values_that_messagepack_does_not_know(self, value):
        assert decode_batch(payload(encode_batch(7, Batch([[value]], (1,))))).rows == [[value]]

    def test_an_integer_too_long_to_be_printed(self):
        assert decode_batch(payload(encode_batch(7, Batch([[10**5000]], (1,))))).rows == [[10**5000]]

    def test_numpy_scalars_become_plain(self):
        rows = [[np.float32(0.5), np.int64(3), np.bool_(True), np.longdouble(2)]]
        assert same(decode_batch(payload(encode_batch(7, Batch(rows, (1,))))).rows, [[0.5, 3, True, 2.0]])

    def test_an_array_that_does_not_lie_in_one_piece(self):
        rows = np.arange(24.0).reshape(4, 6)[::2, ::-1]
        assert np.array_equal(decode_batch(payload(encode_batch(7, Batch(rows, (2,))))).rows, rows)

    def test_rows_that_cannot_be_sent_are_refused(self):
        deep: list = []
        for _ in range(1100):
            deep = [deep]
        for rows in ([[object()]], [[{1, 2}]], [deep], np.zeros(2, dtype="M8[s]"), np.zeros(2, dtype="V4")):
            with pytest.raises(InvalidInput):
                encode_batch(7, Batch(rows, (1,)))


class TestReplies:
    @given(arrays.arrays(TYPES, SHAPES), st.none() | arrays.arrays(np.float64, SHAPES))
    def test_predictions_arrive_bit_for_bit(self, predictions, probabilities):
        got = decode_reply(payload(encode_reply(7, BatchReply(predictions, probabilities))))
        assert same_array(predictions, got.predictions)
        assert (got.probabilities is None) == (probabilities is None)
        assert probabilities is None or same_array(probabilities, got.probabilities)

    @given(st.lists(VALUES | st.lists(VALUES, max_size=2), max_size=6))
    def test_objects_arrive_as_they_were(self, values):
        predictions = np.empty(len(values), dtype=object)
        for index, value in enumerate(values):
            predictions[index] = value
        got = decode_reply(payload(encode_reply(7, BatchReply(predictions)))).predictions
        assert got.dtype == object
        assert same_array(predictions, got)

    @given(st.lists(JSON, max_size=6))
    def test_structured_rows_and_probabilities_arrive_as_they_were(self, values):
        rows = objects(values)
        chances = objects([[[0.5, 0.5], [1.0]]] * len(values))
        got = decode_reply(payload(encode_reply(7, BatchReply(rows, chances))))
        assert same_array(rows, got.predictions)
        assert same_array(chances, got.probabilities)

    @given(st.data(), st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True), st.integers(0, 4))
    def test_named_outputs_and_failed_rows_arrive_as_they_were(self, data, names, rows):
        shapes = arrays.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3)
        parts = {name: data.draw(shapes.flatmap(lambda more: arrays.arrays(TYPES, (rows, *more)))) for name in names}
        parts |= {"objects": objects(data.draw(st.lists(JSON, min_size=rows, max_size=rows)))}
        sent = named_array(parts, rows)
        got = decode_reply(payload(encode_reply(7, BatchReply(sent, failed=list(range(rows))))))
        assert got.predictions.dtype.names == sent.dtype.names
        assert all(same_array(sent[name], got.predictions[name]) for name in parts)
        assert got.failed == list(range(rows))

    @pytest.mark.parametrize(
        "said",
        [
            ["V", [1], [["a", ["<f8", [2]]]]],
            ["V", [1], []],
            ["V", [1, 1], [["a", ["<f8", [1, 1]]]]],
            ["V", [1], [[1, ["<f8", [1]]]]],
            ["V", [1], [["a"]]],
            ["V", [1], 5],
        ],
    )
    def test_named_outputs_that_are_none(self, said):
        with pytest.raises(MalformedFrame):
            decode_reply(head([said, None, [], []], bytes(16)))

    @pytest.mark.parametrize("failed", [[None], ["a"], 5, None, [1.5]])
    def test_rows_that_are_none(self, failed):
        with pytest.raises(MalformedFrame):
            decode_reply(head([["<f8", [1]], None, [], failed], bytes(8)))

    def test_probabilities_are_no_texts(self):
        frame = encode_reply(7, BatchReply(np.zeros(1), np.array([["a"]])))
        with pytest.raises(MalformedFrame, match="probabilities"):
            decode_reply(payload(frame))

    def test_the_shape_of_objects(self):
        predictions = np.array([["a", 1], [None, 2.5]], dtype=object)
        assert decode_reply(payload(encode_reply(7, BatchReply(predictions)))).predictions.tolist() == [
            ["a", 1],
            [None, 2.5],
        ]

    @given(st.dictionaries(st.integers(0, 99), DETAILS, max_size=3))
    def test_errors_arrive_with_class_and_details(self, all_details):
        errors = {}
        for index, details in all_details.items():
            errors[index] = InvalidFeatures(f"wrong {index}")
            errors[index].details.update(details)
        got = decode_reply(payload(encode_reply(7, BatchReply(np.empty(0), None, errors)))).errors
        assert got.keys() == errors.keys()
        for index, error in got.items():
            assert type(error) is InvalidFeatures
            assert error.message == f"wrong {index}"
            assert same(error.details, all_details[index])

    @pytest.mark.parametrize("dtype", ["M8[s]", "c16", "V3"])
    def test_predictions_of_other_types_are_refused(self, dtype):
        with pytest.raises(ModelFailed):
            encode_reply(7, BatchReply(np.zeros(3, dtype=dtype)))


class Unprintable:
    def __str__(self):
        raise RuntimeError("no")


class TestErrors:
    def test_it_comes_back_as_its_class(self):
        error = decode_error(payload(encode_error(7, Unavailable("later", retry_after_s=3))))
        assert type(error) is Unavailable
        assert (error.message, error.details) == ("later", {"retry_after_s": 3})

    def test_a_class_that_only_the_other_side_knows(self):
        frame = encode_error(7, Unavailable("later")).replace(b"unavailable", b"unheard_off")
        assert type(decode_error(payload(frame))) is ModelFailed

    def test_details_that_cannot_be_sent_become_text(self):
        loop: list = []
        loop.append(loop)
        error = StreambError("no", a={1, 2}, b=Unprintable(), c={(1, 2): 3}, d=loop, e={1: 2})
        assert decode_error(payload(encode_error(7, error))).details == {
            "a": "{1, 2}",
            "b": "<Unprintable>",
            "c": "{(1, 2): 3}",
            "d": "[[...]]",
            "e": {1: 2},
        }


def head(value, tail=b"") -> bytearray:
    packed = msgpack.packb(value)
    return bytearray(struct.pack("!I", len(packed)) + packed + bytes(-(4 + len(packed)) % 8) + tail)


def outcome(decode, data) -> type[StreambError] | None:
    try:
        decode(bytearray(data))
    except StreambError as error:
        return type(error)
    return None


class TestMalformed:
    @pytest.mark.parametrize("decode", DECODERS)
    @given(data=st.binary(max_size=200))
    def test_garbage(self, decode, data):
        assert outcome(decode, data) in (MalformedFrame, None)

    @pytest.mark.parametrize("asked", [[True], [True, 1], [1, 0], "ab", None, [None, True]])
    def test_who_asked_for_probabilities_is_told_for_each_request(self, asked):
        def batch_with(told):
            packed = msgpack.packb([[1, 1], told, None, [[1], [2]]])
            return bytearray(struct.pack("!I", len(packed)) + packed)

        assert decode_batch(batch_with([True, False])).probabilities == (True, False)
        with pytest.raises(MalformedFrame):
            decode_batch(batch_with(asked))

    @given(st.data())
    @settings(max_examples=300)
    def test_a_damaged_payload_raises_nothing_else(self, data):
        reply = BatchReply(np.array(["ab", "c"]), np.eye(2), {3: InvalidInput("x", a=[1, None])})
        frames = [encode_batch(7, Batch(np.eye(3), (1, 2))), encode_batch(7, Batch([[1, "a", None]], (1,)))]
        frames += [encode_reply(7, reply), encode_reply(7, BatchReply(np.array([1, "x"], dtype=object)))]
        named = named_array({"a": np.arange(2.0), "b": np.array(["ab", "c"])}, 2)
        frames += [encode_reply(7, BatchReply(named, failed=[1]))]
        frames += [encode_error(7, InvalidInput("x", a={"b": 2**70}))]
        found = payload(data.draw(st.sampled_from(frames)))
        for _ in range(data.draw(st.integers(1, 3))):
            found[data.draw(st.integers(0, len(found) - 1))] ^= 1 << data.draw(st.integers(0, 7))
        cut = found[: data.draw(st.integers(0, len(found)))] if data.draw(st.booleans()) else found
        for decode in DECODERS:
            assert outcome(decode, cut) in (MalformedFrame, None)

    @pytest.mark.parametrize(
        ("said", "tail"),
        [
            (["|O8", [1]], bytes(8)),
            (["|V8", [1]], bytes(8)),
            (["<M8[s]", [1]], bytes(8)),
            (["<f8,<f8", [1]], bytes(16)),
            (["<f8", [2]], bytes(8)),
            (["<f8", [1]], bytes(16)),
            (["<f8", [-1]], b""),
            (["<f8", [2**62, 2**62, 0]], b""),
            (["<f8", [1] * 70], bytes(8)),
            (["<f8", [True]], bytes(8)),
            (["<U1", [1]], b"\xff\xff\xff\xff"),
            (["O", [3], [1, 2]], b""),
            ([["<f8"], [1]], bytes(8)),
            (["<U0", [5]], b""),
        ],
    )
    def test_arrays_that_are_none(self, said, tail):
        with pytest.raises(MalformedFrame):
            decode_batch(head([[1], False, said, None], tail))


class TestFrameReader:
    def feed(self, data: bytes, sizes):
        reader, frames, at, turn = FrameReader(), [], 0, 0
        while at < len(data):
            room = reader.space()
            assert len(room)
            size = min(sizes[turn % len(sizes)], len(room), len(data) - at)
            room[:size] = data[at : at + size]
            frames += reader.received(size)
            at, turn = at + size, turn + 1
        return frames

    @given(
        st.lists(st.sampled_from([0, 1, 50, 3000, 65_522, 65_523, 65_524, 150_000]), max_size=6),
        st.lists(st.sampled_from([7, 13, 64, 4096, 65_536, 10**6]), min_size=1, max_size=4),
    )
    @settings(max_examples=60, deadline=None)
    def test_frames_come_out_however_the_stream_is_cut(self, lengths, sizes):
        sent = [(call, bytes([call + 1]) * length) for call, length in enumerate(lengths)]
        data = bytes(GREETING_BYTES)
        for call, body in sent:
            data += struct.pack("!QBI", call, Kind.CALL, len(body)) + body
        greeting, *frames = self.feed(data, sizes)
        assert (greeting.kind, len(greeting.payload)) == (Kind.GREETING, GREETING_BYTES)
        assert [(frame.call, bytes(frame.payload)) for frame in frames] == sent

    @pytest.mark.parametrize(("kind", "length"), [(0, 1), (99, 1), (Kind.CALL, MAX_PAYLOAD + 1)])
    def test_an_impossible_header(self, kind, length):
        with pytest.raises(MalformedFrame):
            self.feed(bytes(GREETING_BYTES) + struct.pack("!QBI", 1, kind, length), [4096])
