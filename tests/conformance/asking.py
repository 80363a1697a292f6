"""What the conformance tests share: tensors in, tensors out, and refusals."""

from __future__ import annotations

import struct
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

ROWS = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]])


def given(array: Any, name: str = "input", *, datatype: str = "", binary: bool = True) -> triton.InferInput:
    """An input of a request."""
    array = np.asarray(array)
    tensor = triton.InferInput(name, list(array.shape), datatype or np_to_triton_dtype(array.dtype))
    return tensor.set_data_from_numpy(array, binary_data=binary)


def wanted(*names: str, binary: bool = True) -> list[triton.InferRequestedOutput]:
    """The outputs that a request names."""
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def refused(status: int, call: Any, *arguments: Any, **named: Any) -> str:
    """Call something that the server must refuse with this status; returns what it says."""
    with pytest.raises(InferenceServerException) as caught:
        call(*arguments, **named)
    assert caught.value.status() in (str(status), f"[{status}]"), caught.value
    message = caught.value.message()
    assert len(message) > 10, message
    return message


def told(response: httpx.Response, status: int) -> str:
    """The sentence of an error over plain HTTP, which has the usual form."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    document = response.json()
    assert {"error", "code", "request_id"} <= document.keys(), document
    assert len(document["error"]) > 10
    return str(document["error"])


def same(found: Any, expected: Any) -> None:
    """Compare arrays: type, shape, and each value; NaN equals NaN, and -0.0 is not 0.0."""
    expected = np.asarray(expected)
    assert isinstance(found, np.ndarray)
    if expected.dtype.kind == "f":
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        nan = np.isnan(expected)
        np.testing.assert_array_equal(np.isnan(found), nan)
        assert found[~nan].tobytes() == expected[~nan].tobytes()
    else:
        np.testing.assert_array_equal(found, expected, strict=True)


def texts(*values: str) -> np.ndarray:
    """An array of texts, as tritonclient takes them."""
    return np.array([value.encode() for value in values], dtype=object)


def body(*inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A request's document."""
    return {"inputs": list(inputs), **more}


def tensor(array: Any, name: str = "input", datatype: str = "FP64", **more: Any) -> dict[str, Any]:
    """An input in JSON."""
    shape = list(np.shape(np.asarray(array, dtype=object)))
    return {"name": name, "datatype": datatype, "shape": shape, "data": array, **more}


def binary_text(*values: bytes) -> bytes:
    """The elements of a BYTES tensor in the binary extension."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)
