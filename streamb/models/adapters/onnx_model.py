"""An ONNX file behind the `Model` interface, run by onnxruntime on one CPU thread.

Classifiers as converters write them are understood: an output of labels and one of probabilities, as a tensor or as a
list of {label: probability} (ZipMap). Any other graph answers its output as it is, several outputs as a dict by name.
The outputs keep the names that the graph gives them, but for the probabilities of a classifier.

A graph with a fixed number of rows is asked in batches of that size, the last one filled up with copies of its last
row, whose answers are dropped. So such a graph must treat each row by itself.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from streamb.errors import ArtifactUnsupported, InvalidInput, ModelFailed
from streamb.models.adapters.onnx_inputs import TYPES, Inputs
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.schema import FeatureSchema
from streamb.models.signature import Output

_FILE: Final = "model.onnx"
_DESCRIPTION: Final = "onnx.json"
_LABELS: Final = frozenset({"tensor(int64)", "tensor(string)", "tensor(int32)"})
_SCORES: Final = frozenset({"tensor(float)", "tensor(double)"})


class OnnxModel(Model):
    """An ONNX graph.

    Attributes:
        content: the bytes of the file.
    """

    class_id: ClassVar[str] = "onnx"
    framework: ClassVar[str] = "onnx"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "onnxruntime")
    takes: ClassVar[tuple[str, ...]] = ("onnx.ModelProto",)
    file_suffixes: ClassVar[tuple[str, ...]] = (".onnx",)

    def __init__(
        self,
        content: bytes,
        *,
        schema: FeatureSchema | None = None,
        name: str | None = None,
        task: Task | None = None,
        classes: Sequence[Any] | None = None,
    ) -> None:
        self.content = content
        self._session = _open_session(content)
        self._inputs = Inputs.of(self._session.get_inputs())
        self._outputs = _Outputs.of(self._session)
        self.schema = schema or self._inputs.schema()
        self.name = name or "onnx"
        self._classes = list(classes) if classes is not None else None
        self.task = task or ("classification" if self._outputs.probabilities else "other")

    @classmethod
    def from_object(
        cls, obj: Any, *, name: str | None = None, classes: Sequence[Any] | None = None, **rest: Any
    ) -> Self:
        """See `Model.from_object`; `obj` is a path or an `onnx.ModelProto`."""
        import onnx

        try:  # weights beside the file come along inside of it
            proto = obj if isinstance(obj, onnx.ModelProto) else onnx.load(str(obj))
            content = proto.SerializeToString(deterministic=True)
        except OSError as error:
            raise InvalidInput(f"cannot read the ONNX file {obj}: {error}") from error
        except Exception as error:  # protobuf and onnx raise types of their own
            raise InvalidInput(f"{obj} is not an ONNX model: {error}") from error
        if name is None and not isinstance(obj, onnx.ModelProto):
            name = Path(obj).stem
        return cls(content, name=name, classes=classes if classes is not None else _labels(proto), **rest)

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002 - always refuses
        raise InvalidInput("an ONNX model comes trained; train it where it was made and export it again")

    def predict(self, X: Any) -> Any:  # noqa: N803
        """See `Model.predict`; a graph with several outputs answers a dict name -> one value per row."""
        found = self._run(self._outputs.answered, X)
        if len(found) > 1:
            return dict(zip(self._outputs.answered, found, strict=True))
        only = np.asarray(found[0])
        return only.reshape(only.shape[:-1]) if only.ndim > 1 and only.shape[-1] == 1 else only

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        if self._outputs.probabilities is None:
            return super().predict_proba(X)
        (found,) = self._run((self._outputs.probabilities,), X)
        if isinstance(found, list):  # ZipMap: one {label: probability} per row
            if self._classes is None:
                self._classes = list(found[0])
            return np.array([[row[label] for label in self._classes] for row in found], np.float64)
        return np.asarray(found, np.float64)

    @property
    def has_probabilities(self) -> bool:
        return self._outputs.probabilities is not None

    @property
    def classes(self) -> list[Any] | None:
        return self._classes

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The outputs that `predict` answers, as the graph describes them."""
        return self._outputs.described

    def write_payload(self, folder: Path) -> bool:
        (folder / _FILE).write_bytes(self.content)
        (folder / _DESCRIPTION).write_text(json.dumps({"classes": self._classes}), "utf-8")
        return False

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:  # noqa: ARG003
        content = (folder / _FILE).read_bytes()
        refuse_outside_data(content)
        classes = json.loads((folder / _DESCRIPTION).read_text("utf-8"))["classes"]
        return cls(content, classes=classes)

    def _run(self, outputs: tuple[str, ...], X: Any) -> list[Any]:  # noqa: N803
        """Return the values of some outputs, one per row of `X`."""
        batch, parts = self._inputs.batch, list[list[Any]]()
        for feed, count in self._inputs.batches(self._inputs.feed(X)):
            found = self._session.run(list(outputs), feed)
            if batch is not None and any(np.ndim(value) == 0 or len(value) != batch for value in found):
                raise ModelFailed(
                    f"the ONNX model takes {batch} rows at once, but does not answer one value for each of them; it "
                    "must treat each row by itself"
                )
            parts.append([value[:count] for value in found] if batch is not None else found)
        return parts[0] if len(parts) == 1 else [_joined(values) for values in zip(*parts, strict=True)]


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Which output of a graph is what.

    Attributes:
        answered: the outputs that `predict` answers.
        probabilities: the output with one number per class, if the graph is a classifier.
        described: name, type and shape of those that `predict` answers.
    """

    answered: tuple[str, ...]
    probabilities: str | None
    described: tuple[Output, ...]

    @classmethod
    def of(cls, session: Any) -> _Outputs:
        """Read the outputs of a session's graph."""
        first, *others = outputs = session.get_outputs()
        scores = [item.name for item in others if _is_scores(item)]
        if scores and _is_label(first):
            return cls((first.name,), scores[0], (_described(first),))
        return cls(tuple(item.name for item in outputs), None, tuple(map(_described, outputs)))


def _described(item: Any) -> Output:
    """Describe an output of a session."""
    dtype = np.dtype(TYPES.get(item.type.removeprefix("tensor(").removesuffix(")"), object))
    shape = tuple(size if isinstance(size, int) else None for size in item.shape[1:])
    if item.type == "tensor(string)":
        return Output(item.name, "text", "", shape)
    if dtype.kind == "O":  # a sequence, a map, or a type that NumPy does not have
        return Output(item.name, "any")
    kind = {"b": "boolean", "f": "number"}.get(dtype.kind, "integer")
    return Output(item.name, "tensor" if shape else kind, dtype.name, shape)


def _joined(values: Sequence[Any]) -> Any:
    return list(chain(*values)) if isinstance(values[0], list) else np.concatenate(values)


def _is_label(output: Any) -> bool:
    return output.type in _LABELS and (len(output.shape) < 2 or output.shape[1:] == [1])


def _is_scores(output: Any) -> bool:
    return output.type.startswith("seq(map(") or (output.type in _SCORES and len(output.shape) in (0, 2))


def _open_session(content: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a class of its own per status code
        raise ArtifactUnsupported(f"onnxruntime cannot run this ONNX model: {error}") from error


def _labels(proto: Any) -> list[Any] | None:
    """The class labels that a classifier node, or a ZipMap, names in its attributes."""
    for node in proto.graph.node:
        for attribute in node.attribute:
            if attribute.name.startswith("classlabels_"):
                if attribute.strings:
                    return [item.decode("utf-8") for item in attribute.strings]
                if attribute.ints:
                    return list(attribute.ints)
    return None


def refuse_outside_data(content: bytes) -> None:
    """Raise ArtifactUnsupported if a graph keeps weights in other files, whose paths could lead out of the artifact."""
    import onnx

    model = onnx.load_from_string(content)
    functions = (tensor for function in model.functions for tensor in _tensors_of(function.node))
    for tensor in (*_tensors(model.graph), *functions):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ArtifactUnsupported(f"the ONNX model keeps the weight {tensor.name!r} outside of its file")


def _tensors(graph: Any) -> Any:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_of(graph.node)


def _tensors_of(nodes: Any) -> Any:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                if inner.node or inner.initializer or inner.sparse_initializer:
                    yield from _tensors(inner)
