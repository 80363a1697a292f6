"""What a client builds from a model's metadata alone is accepted, whatever the schema."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from streamb.models import FeatureSchema
from streamb.models.schema import Feature, FeatureKind
from streamb.serving.http.inputs import describe_inputs
from streamb.serving.http.oip import TensorRequest
from tests.serving.tensor_attack import NUMPY, tensors_of

K = FeatureKind
WHOLE = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["float16", "bfloat16", "float32", "float64"]
MASKED = ["Int8", "Int64", "UInt64", "Float32", "boolean", "int64[pyarrow]", "double[pyarrow]"]
MOMENTS = [f"datetime64[{unit}]" for unit in ("s", "ms", "us", "ns")]
LEVELS = st.one_of(
    st.lists(st.text(max_size=3), min_size=1, max_size=4, unique=True),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4, unique=True),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=4, unique=True),
    st.just([False, True]),
    st.just([2, False, "x", "2", 2.5]),
)
NULLS = {"nullable": st.booleans(), "optional": st.booleans()}


def features(container: str) -> st.SearchStrategy[Feature]:
    masked = MASKED if container == "frame" else []
    texts = ["str", "object"] if container in ("array", "tensors") else ["str", "string", "object"]
    numbers = [
        st.builds(
            Feature, st.just("x"), st.just(K.NUMBER), dtype=st.sampled_from(["", *WHOLE, *FLOATS, *masked[:4]]), **NULLS
        ),
        st.builds(
            Feature,
            st.just("x"),
            st.just(K.INTEGER),
            dtype=st.sampled_from(["", *WHOLE, "float32", *masked[:3]]),
            **NULLS,
        ),
        st.builds(Feature, st.just("x"), st.just(K.NUMBER), minimum=st.just(-3), maximum=st.just(5.5)),
        st.builds(Feature, st.just("x"), st.just(K.INTEGER), dtype=st.just("int8"), minimum=st.just(2)),
        st.builds(
            Feature, st.just("x"), st.just(K.BOOLEAN), dtype=st.sampled_from(["", "bool", "int8", "float64"]), **NULLS
        ),
    ]
    others = [
        st.builds(Feature, st.just("x"), st.just(K.TEXT), dtype=st.sampled_from(texts), **NULLS),
        st.builds(
            Feature, st.just("x"), st.just(K.CATEGORY), categories=st.just(()), dtype=st.sampled_from(texts), **NULLS
        ),
        st.builds(
            Feature, st.just("x"), st.just(K.CATEGORY), categories=LEVELS.map(tuple), dtype=st.just("object"), **NULLS
        ),
        st.builds(
            Feature, st.just("x"), st.just(K.DATETIME), dtype=st.sampled_from([*MOMENTS, "date", "object"]), **NULLS
        ),
        st.builds(
            Feature, st.just("x"), st.just(K.DATETIME), dtype=st.sampled_from(MOMENTS), zone=st.just("Europe/Oslo")
        ),
        st.builds(Feature, st.just("x"), st.just(K.ANY), dtype=st.just("object"), **NULLS),
    ]
    if container in ("frame", "records", "list"):
        others.append(st.builds(Feature, st.just("x"), st.just(K.LIST), **NULLS))
    return st.one_of(*numbers, *others)


TENSORS = st.builds(
    Feature,
    st.just("x"),
    st.just(K.TENSOR),
    dtype=st.sampled_from([*WHOLE, *FLOATS, "bool", "str"]),
    shape=st.lists(st.sampled_from([None, 1, 3]), max_size=2).map(tuple),
)


@st.composite
def schemas(draw: Any) -> FeatureSchema:
    container = draw(st.sampled_from(["array", "frame", "records", "tensors", "tensor", "list", "texts"]))
    if container == "texts":
        return FeatureSchema.texts()
    if container == "tensor":
        return FeatureSchema((draw(TENSORS),), "tensor")
    one = st.one_of(features(container), TENSORS) if container == "tensors" else features(container)
    found = draw(st.lists(one, min_size=1, max_size=1 if container == "list" else 4))
    named = [
        Feature(**{**{n: getattr(f, n) for n in f.__dataclass_fields__}, "name": f"x{i}"}) for i, f in enumerate(found)
    ]
    return FeatureSchema(tuple(named), container)


def value_of(draw: Any, datatype: str, about: dict[str, Any], *, binary: bool) -> Any:
    """One value, as the metadata allows it."""
    if about.get("nullable") and not binary and draw(st.booleans()):
        return None
    if "categories" in about:
        level = draw(st.sampled_from(about["categories"]))
        return level if datatype != "BYTES" or isinstance(level, str) else orjson.dumps(level).decode()
    if datatype == "BYTES":
        if about.get("kind") == "datetime":
            text = "2024-02-29" if about["unit"] == "D" else "2024-02-29T12:34:56"
            return text + ("+01:00" if "time_zone" in about else "")
        return '[1, "a"]' if about.get("kind") == "list" else draw(st.text(max_size=3).filter(lambda x: x[-1:] != "\0"))
    if datatype == "BOOL":
        return draw(st.booleans())
    dtype = NUMPY[datatype]
    low, high = about.get("minimum"), about.get("maximum")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return draw(st.integers(limits.min if low is None else int(low), limits.max if high is None else int(high)))
    width = dtype.itemsize * 8
    return draw(st.floats(low, high, width=width if low is None else 16, allow_nan=False, allow_infinity=False))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_request_made_from_the_metadata_is_accepted(data):
    schema = data.draw(schemas())
    binary = data.draw(st.booleans())
    described = orjson.loads(orjson.dumps(describe_inputs(schema)))
    rows = data.draw(st.integers(1, 3))
    parts = []
    kept = [one for one in described if not one.get("parameters", {}).get("optional") or data.draw(st.booleans())]
    for one in kept or described[:1]:
        about = one.get("parameters", {})
        shape = [rows, *(2 if length == -1 else length for length in one["shape"][1:])]
        datatype = one["datatype"]
        per_row = int(np.prod(shape[1:]))
        flat = []
        for index in range(rows * per_row):
            column = about
            if "columns" in about:
                name = about["columns"][index % per_row]
                column = {flag: about[flag][name] for flag in ("minimum", "maximum") if name in about.get(flag, {})}
                column["nullable"] = name in about.get("nullable", [])
            flat.append(value_of(data.draw, datatype, column, binary=binary))
        if datatype == "BF16":
            flat = [
                None if v is None else struct.unpack("<f", b"\0\0" + struct.pack("<f", np.clip(v, -3e38, 3e38))[2:])[0]
                for v in flat
            ]
        parts.append((one["name"], datatype, shape, flat))
    inputs, content = tensors_of(parts, binary=binary)
    head = orjson.dumps({"inputs": inputs})
    request = TensorRequest.decode(head + content, len(head) if binary else None)
    found = request.rows(schema)
    assert len(found) == rows
    taken = schema.to_input(found)
    assert len(next(iter(taken.values())) if isinstance(taken, dict) else taken) == rows
