"""The Open Inference Protocol V2: typed tensors in, typed tensors out, in JSON or with binary data behind it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from streamb.errors import BadRequest
from streamb.models.outputs import Answer
from streamb.models.schema import FeatureSchema
from streamb.serving.answer import JSON_HEADERS, Encoded, Origin, Rows, jsonable
from streamb.serving.http.oip_binary import BinarySection, tensor_bytes
from streamb.serving.http.oip_extensions import refuse_extensions
from streamb.serving.http.rows import parse_object, read_user_id, row_errors, too_many_rows
from streamb.serving.http.tensor_data import tensor_from_json
from streamb.serving.http.tensor_rows import count_rows, rows_from_tensors
from streamb.serving.http.tensors import DTYPES, Tensor, output_tensor
from streamb.serving.outputs import PROBABILITIES, VersionOutputs

_MOST_AXES: Final = 32  # of NumPy 1; NumPy 2 has 64
_WHERE_JSON_ENDS: Final = "where binary tensors follow, Inference-Header-Content-Length is the length of the JSON part"


@dataclass(frozen=True, slots=True)
class TensorRequest:
    """An inference request: `{"id"?, "parameters"?, "inputs": […], "outputs"?: […]}`.

    Attributes:
        outputs: the requested outputs in order, and for each name whether as binary data; empty for those that the
            version sends if none is requested.
        all_binary: whether these are sent as binary data.
        client_id: the request's own "id", repeated in the reply; "" when it has none.
    """

    tensors: tuple[Tensor, ...]
    outputs: Mapping[str, bool]
    all_binary: bool
    user_id: str
    client_id: str
    row_count: int

    @classmethod
    def decode(cls, body: bytes, json_length: int | None = None, max_rows: int = sys.maxsize) -> TensorRequest:
        """Read a body.

        Args:
            body: the whole body.
            json_length: how many bytes of it are JSON (`Inference-Header-Content-Length`); None: all, no binary data.
            max_rows: the most rows; a tensor with more is refused before its data are read.

        Raises:
            BadRequest: it does not have this form; the message says where.
            InvalidInput: it has too many rows.
        """
        if json_length is not None and not 0 < json_length <= len(body):
            raise BadRequest(f"Inference-Header-Content-Length is {json_length}, but the body has {len(body)} bytes")
        view = memoryview(body)
        try:
            document = parse_object(view if json_length is None else view[:json_length])
        except BadRequest as error:
            if json_length is None and b"binary_data_size" in body:
                raise BadRequest(f"{error.message}; {_WHERE_JSON_ENDS}") from None
            raise
        binary = BinarySection(view[len(body) if json_length is None else json_length :])
        inputs = document.get("inputs")
        if type(inputs) is not list or not inputs:
            raise BadRequest('"inputs" must be a non-empty list of tensors')
        tensors = tuple(_input(entry, position, binary, max_rows) for position, entry in enumerate(inputs))
        binary.finish()
        if len({tensor.name for tensor in tensors}) != len(tensors):
            raise BadRequest(f"two inputs have the same name: {[tensor.name for tensor in tensors]}")
        parameters = _parameters(document, "the request")
        client_id = document.get("id")
        if type(client_id) is not str and client_id is not None:
            raise BadRequest('"id" must be a string')
        all_binary = _flag(parameters, "binary_data_output", default=False)
        outputs = _outputs(document.get("outputs"), all_binary=all_binary)
        user_id = read_user_id(parameters)
        return cls(tensors, outputs, all_binary, user_id, client_id or "", count_rows(tensors))

    @property
    def takes_not_finite(self) -> bool:
        """Whether all outputs are sent as binary data."""
        return all(self.outputs.values()) if self.outputs else self.all_binary

    def asks_probabilities(self, outputs: VersionOutputs) -> bool:
        """See `InferenceRequest.asks_probabilities`."""
        if not self.outputs:
            return False
        outputs.check(self.outputs)
        return PROBABILITIES in self.outputs and not outputs.owns_probabilities

    def rows(self, schema: FeatureSchema | None) -> Rows:
        """The rows, checked against the schema."""
        return rows_from_tensors(self.tensors, schema)

    def encode(self, answer: Answer, origin: Origin) -> Encoded:
        """Return `{"model_name", "model_version", "id", "outputs": […]}`, then the outputs' bytes if requested."""
        outputs = origin.outputs
        wanted = self.outputs or dict.fromkeys(outputs.of(answer.predictions), self.all_binary)
        described: list[dict[str, Any]] = []
        chunks: list[bytes] = []
        for name, as_binary in wanted.items():
            values = outputs.find(name, answer)
            tensor = output_tensor(name, values, outputs.form(name))
            entry: dict[str, Any] = {"name": name, "datatype": tensor.datatype, "shape": tensor.values.shape}
            parameters: dict[str, Any] = {}
            if values is answer.probabilities and outputs.classes is not None:
                parameters["classes"] = outputs.classes
            if as_binary:
                chunks.append(tensor_bytes(tensor))
                parameters["binary_data_size"] = len(chunks[-1])
            else:
                entry["data"] = jsonable(tensor.values.ravel())
            if parameters:
                entry["parameters"] = parameters
            described.append(entry)
        document: dict[str, Any] = {
            "model_name": origin.model_id,
            "model_version": origin.version,
            "id": self.client_id or origin.request_id,
            "outputs": described,
        }
        if answer.failed:
            document["parameters"] = {"errors": orjson.dumps(row_errors(answer)).decode()}
        head = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        if not chunks:
            return Encoded(head, JSON_HEADERS)
        length = (b"inference-header-content-length", b"%d" % len(head))
        return Encoded(b"".join((head, *chunks)), [(b"content-type", b"application/octet-stream"), length])


def _input(entry: Any, position: int, binary: BinarySection, max_rows: int) -> Tensor:
    if type(entry) is not dict:
        raise BadRequest(f'"inputs"[{position}] must be an object with "name", "shape", "datatype" and "data"')
    name, datatype, shape = entry.get("name"), entry.get("datatype"), entry.get("shape")
    if type(name) is not str or not name:
        raise BadRequest(f'"inputs"[{position}] has no "name"')
    if type(datatype) is not str or datatype not in DTYPES:
        raise BadRequest(f'input {name!r}: "datatype" must be one of {", ".join(DTYPES)}, not {_as_sent(datatype)}')
    if type(shape) is not list or not shape or not all(type(length) is int and length >= 0 for length in shape):
        raise BadRequest(
            f'input {name!r}: "shape" must be a list of whole numbers, such as [2, 30], not {_as_sent(shape)}'
        )
    if len(shape) > _MOST_AXES:
        raise BadRequest(f"input {name!r} has {len(shape)} dimensions; a tensor has at most {_MOST_AXES}")
    if shape[0] > max_rows:
        raise too_many_rows(shape[0], max_rows)
    size = _parameters(entry, f"input {name!r}").get("binary_data_size")
    if size is not None:
        return binary.take(name, datatype, tuple(shape), size)
    if entry.get("data") is None:
        raise BadRequest(f'input {name!r} has neither "data" nor the parameter "binary_data_size"')
    return tensor_from_json(name, datatype, tuple(shape), entry["data"])


def _outputs(wanted: Any, *, all_binary: bool) -> dict[str, bool]:
    if wanted is None or wanted == []:
        return {}
    if type(wanted) is not list:
        raise BadRequest('"outputs" must be a list of objects with a "name"')
    outputs: dict[str, bool] = {}
    for entry in wanted:
        name = entry.get("name") if type(entry) is dict else None
        if type(name) is not str:
            raise BadRequest('every entry of "outputs" must be an object with a "name"')
        outputs[name] = _flag(_parameters(entry, f"output {name!r}"), "binary_data", default=all_binary)
    return outputs


def _flag(parameters: dict[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name)
    if value is None:
        return default
    if type(value) is not bool:
        raise BadRequest(f'"{name}" must be true or false, not {_as_sent(value)}')
    return value


def _as_sent(value: Any) -> str:
    """A value of the request as JSON has it, shortened."""
    return orjson.dumps(value).decode()[:100]


def _parameters(holder: dict[str, Any], whose: str) -> dict[str, Any]:
    parameters = holder.get("parameters")
    if parameters is None:
        return {}
    if type(parameters) is not dict:
        raise BadRequest(f'"parameters" of {whose} must be an object')
    if parameters:
        refuse_extensions(parameters)
    return parameters
