"""An ONNX file behind the `Model` interface, run by onnxruntime on one CPU thread.

Classifiers as converters write them are understood: an output of labels and one of probabilities, as a tensor or as a
list of {label: probability} (ZipMap). Everything else predicts the graph's first output as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from streamb.errors import ArtifactUnsupported, InvalidInput
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.schema import Feature, FeatureKind, FeatureSchema

_FILE: Final = "model.onnx"
_DESCRIPTION: Final = "onnx.json"
_NUMPY_TYPES: Final = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(bool)": np.bool_,
    "tensor(string)": np.object_,
}
_KINDS: Final = {"tensor(string)": FeatureKind.TEXT, "tensor(bool)": FeatureKind.BOOLEAN}
_WHOLE: Final = {"tensor(int64)", "tensor(int32)"}


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
        self._inputs = self._session.get_inputs()
        self._outputs = _Outputs.of(self._session)
        self.schema = schema or _graph_schema(self._inputs)
        self.name = name or "onnx"
        self._classes = list(classes) if classes is not None else None
        self.task = task or ("classification" if self._outputs.labels and self._outputs.probabilities else "other")

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

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        found = np.asarray(self._run(self._outputs.first, X))
        return found.reshape(found.shape[:-1]) if found.ndim > 1 and found.shape[-1] == 1 else found

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        if self._outputs.probabilities is None:
            return super().predict_proba(X)
        found = self._run(self._outputs.probabilities, X)
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

    def _run(self, output: str, X: Any) -> Any:  # noqa: N803
        if len(self._inputs) == 1:
            values = X.to_numpy() if hasattr(X, "to_numpy") else np.asarray(X)
            shape = self._inputs[0].shape
            if len(shape) == 1 and values.ndim == 2 and values.shape[1] == 1:
                values = values[:, 0]
            elif len(shape) == 2 and values.ndim == 1:
                values = values.reshape(-1, 1)
            feed = {self._inputs[0].name: _typed(values, self._inputs[0].type)}
        else:
            feed = {
                item.name: _typed(np.asarray(X[item.name]).reshape((-1, 1) if len(item.shape) > 1 else -1), item.type)
                for item in self._inputs
            }
        return self._session.run([output], feed)[0]


class _Outputs:
    """Which output of a graph is what.

    Attributes:
        first: the output that `predict` answers.
        labels: whether that is a class label.
        probabilities: the output with one number per class, if there is one.
    """

    def __init__(self, first: str, probabilities: str | None, *, labels: bool) -> None:
        self.first, self.probabilities, self.labels = first, probabilities, labels

    @classmethod
    def of(cls, session: Any) -> _Outputs:
        """Read the outputs of a session's graph."""
        outputs = session.get_outputs()
        labels = outputs[0].type in {"tensor(int64)", "tensor(string)", "tensor(int32)"}
        scores = [
            item.name
            for item in outputs[1:]
            if item.type in {"tensor(float)", "tensor(double)"} or item.type.startswith("seq(map(")
        ]
        return cls(outputs[0].name, scores[0] if labels and scores else None, labels=labels)


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


def _graph_schema(inputs: Sequence[Any]) -> FeatureSchema | None:
    """The columns that a graph's inputs require; None if their number is not fixed."""
    if len(inputs) > 1:
        return FeatureSchema(tuple(Feature(item.name, _kind(item.type)) for item in inputs), "frame")
    (only,) = inputs
    shape = only.shape
    if only.type == "tensor(string)" and (len(shape) == 1 or shape[1:] == [1]):
        return FeatureSchema.texts()
    if len(shape) == 1:
        return FeatureSchema((Feature(only.name, _kind(only.type)),))
    if len(shape) != 2 or not isinstance(shape[1], int):
        return None
    return FeatureSchema(tuple(Feature(f"x{index}", _kind(only.type)) for index in range(shape[1])))


def _kind(onnx_type: str) -> FeatureKind:
    if onnx_type in _WHOLE:
        return FeatureKind.INTEGER
    return _KINDS.get(onnx_type, FeatureKind.NUMBER)


def _typed(values: NDArray[Any], onnx_type: str) -> NDArray[Any]:
    return np.ascontiguousarray(values.astype(_NUMPY_TYPES.get(onnx_type, np.float32)))


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
