"""Drives a server with kserve's own client; runs in an environment that has kserve and nothing of streamb.

python kserve_client.py URL ECHO NAMED: the address, and the names of two models of the zoo. Exits with 1 and says
what was wrong; else prints how many answers it has compared.
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

TYPES = {
    "BOOL": np.bool_,
    **{f"INT{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}
ROWS = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, 6.0]])
SCORES = ROWS.sum(axis=1).astype(np.float32)


def values_of(dtype) -> np.ndarray:
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return np.array([[True, False], [False, True]])
    limits = np.iinfo(dtype) if dtype.kind in "iu" else np.finfo(dtype)
    return np.array([[limits.max, limits.min], [1, 0]], dtype)


def given(array: np.ndarray, datatype: str, *, binary: bool, name: str = "input") -> InferInput:
    tensor = InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


async def compare(url: str, echo: str, named: str) -> int:
    compared = 0
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0, timeout=60))
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, named)
    assert not await client.is_model_ready(url, "no-such-model")

    async def ask(model: str, *inputs: InferInput, outputs=None, **more):
        nonlocal compared
        compared += 1
        request = InferRequest(model, list(inputs), request_outputs=outputs, **more)
        return await client.infer(url, request, model_name=model)

    def same(response, name: str, expected: np.ndarray) -> None:
        found = response.get_output_by_name(name).as_numpy()
        assert found.dtype == expected.dtype, (name, found.dtype, expected.dtype)
        assert np.array_equal(found, expected), (name, found, expected)

    for binary in (True, False):
        for datatype, dtype in TYPES.items():
            if datatype == "FP16" and not binary:
                continue  # kserve's client refuses it
            values = values_of(dtype)
            more = {"parameters": {"binary_data_output": binary}}
            same(await ask(echo, given(values, datatype, binary=binary), **more), "predictions", values)
        response = await ask(named, given(ROWS, "FP64", binary=binary), request_id="mine")
        same(response, "score", SCORES)
        same(response, "count", np.array([4, -1]))
        assert (response.id, response.model_name) == ("mine", named)
        texts = np.array([["é", ""], ["a", "東京"]], dtype=object)
        same(await ask(echo, given(texts, "BYTES", binary=binary)), "predictions", texts)
    columns = [given(ROWS[:, index], "FP64", binary=False, name=f"x{index}") for index in range(3)]
    same(await ask(named, *columns), "score", SCORES)
    wanted = [RequestedOutput("count", parameters={"binary_data": True}), RequestedOutput("label")]
    response = await ask(named, given(ROWS, "FP64", binary=True), outputs=wanted)
    assert [output.name for output in response.outputs] == ["count", "label"]
    same(response, "count", np.array([4, -1]))
    narrow = await asyncio.gather(ask(named, given(ROWS[:, :2], "FP64", binary=True)), return_exceptions=True)
    assert "422" in str(narrow[0]), narrow
    assert "x0" in str(narrow[0]), narrow
    await client.close()
    return compared


if __name__ == "__main__":
    print(asyncio.run(compare(*sys.argv[1:4])))
