"""torch, TorchScript and ONNX."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from tests.contracts.own_model_samples import Gated, NearestMean, SavesItself
from tests.zoo.entry import THREE, Entry, Refused, X, by_chances
from tests.zoo.samples import Attends, DictNet, LanguageNet, PairNet, TupleNet, weighed

_IDS = np.arange(24).reshape(6, 4) % 10
_IMAGES = np.random.default_rng(1).normal(size=(6, 1, 8, 8))


def _net(make: Any) -> Any:
    def seeded() -> Any:
        torch.manual_seed(0)
        return make().eval()

    return seeded


def _tensor(values: Any) -> torch.Tensor:
    array = np.asarray(values)
    return torch.from_numpy(array.astype(np.float32) if array.dtype.kind == "f" else array)


def _asked(module: Any, rows: Any) -> Any:
    """What torch itself answers; a single column as one value per row."""
    with torch.inference_mode():
        given = {name: _tensor(values) for name, values in rows.items()} if isinstance(rows, dict) else None
        found = module(**given) if given else module(_tensor(rows))
    if isinstance(found, dict):
        return {name: value.numpy() for name, value in found.items()}
    if isinstance(found, tuple):
        return tuple(value.numpy() for value in found)
    array = found.float().numpy() if found.dtype == torch.bfloat16 else found.numpy()
    return array[..., 0] if array.ndim > 1 and array.shape[-1] == 1 else array


def _low(module: Any, rows: Any) -> Any:
    with torch.inference_mode():
        return module(torch.from_numpy(rows).to(next(module.parameters()).dtype)).float().numpy()


def _scripted(make: Any, *, traced: Any = None) -> Any:
    def compiled() -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module = _net(make)()
            return torch.jit.script(module) if traced is None else torch.jit.trace(module, traced)

    return compiled


def _graph(nodes, inputs, outputs, weights=()):
    made = helper.make_graph(nodes, "g", inputs, outputs, initializer=list(weights))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(made, opset_imports=opsets, ir_version=8)


def _value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def _onnx_asked(proto: Any, rows: Any) -> Any:
    """What onnxruntime itself answers, asked row by row where the graph has a fixed number of rows."""
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    types = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int64)": np.int64}
    given = rows if isinstance(rows, dict) else {session.get_inputs()[0].name: rows}
    fed = {item.name: given[item.name].astype(types[item.type]) for item in session.get_inputs()}
    size = session.get_inputs()[0].shape[0]
    if isinstance(size, int):
        count = len(next(iter(fed.values())))
        parts = [
            session.run(names, {name: np.repeat(value[row : row + 1], size, 0) for name, value in fed.items()})
            for row in range(count)
        ]
        found = [np.stack([part[index][0] for part in parts]) for index in range(len(names))]
    else:
        found = session.run(names, fed)
    if names[0] == "label":
        return found[0]
    values = [value[..., 0] if value.shape[-1] == 1 else value for value in found] if len(found) == 1 else found
    return values[0] if len(values) == 1 else dict(zip(names, values, strict=True))


def _onnx_chances(proto: Any, rows: Any) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["chances"], {"x": rows.astype(np.float32)})[0]


_WEIGHTS = numpy_helper.from_array(np.arange(4, dtype=np.float32).reshape(4, 1), "w")
_LINEAR = [helper.make_node("MatMul", ["x", "w"], ["y"])]
_LABELS = helper.make_node(
    "LinearClassifier",
    ["x"],
    ["label", "chances"],
    domain="ai.onnx.ml",
    classlabels_ints=[10, 20, 30],
    coefficients=np.linspace(-1, 1, 12).tolist(),
    intercepts=[0.1, 0.2, 0.3],
    post_transform="SOFTMAX",
    multi_class=1,
)


def _quantized() -> Any:
    cast = helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)
    return _graph(
        [cast, helper.make_node("MatMul", ["f", "w"], ["y"])],
        [_value("x", [None, 4], TensorProto.UINT8)],
        [_value("y", [None, 1])],
        [_WEIGHTS],
    )


def _two_inputs() -> Any:
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["m"], axes=[1, 2], keepdims=0),
        helper.make_node("Add", ["m", "extra"], ["sum"]),
        helper.make_node("Mul", ["m", "extra"], ["product"]),
    ]
    return _graph(
        nodes,
        [_value("image", [None, 2, 2]), _value("extra", [None])],
        [_value("sum", [None]), _value("product", [None])],
    )


_TWO = {"image": np.arange(16.0).reshape(4, 2, 2), "extra": np.arange(4.0)}

ENTRIES = [
    Entry(
        "torch Sequential, regression",
        _net(lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))),
        X,
        _asked,
    ),
    Entry(
        "torch Sequential with BatchNorm and Dropout",
        _net(lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 2))),
        X,
        _asked,
    ),
    Entry(
        "torch convolution on images",
        _net(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3))),
        _IMAGES,
        _asked,
    ),
    Entry(
        "torch embedding of whole numbers",
        _net(lambda: nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(16, 1))),
        _IDS,
        _asked,
    ),
    Entry("torch class of one's own", _net(lambda: Gated(4, 6)), X, _asked),
    Entry("torch transformer of one's own", _net(Attends), np.random.default_rng(2).normal(size=(5, 3, 8)), _asked),
    Entry("torch several inputs", _net(PairNet), {"first": X[:, :2], "second": X[:, 2:]}, _asked),
    Entry("torch whole numbers and a mask", _net(LanguageNet), {"input_ids": _IDS, "mask": _IDS > 2}, _asked),
    Entry("torch dict output", _net(DictNet), X, _asked),
    Entry("torch tuple output", _net(TupleNet), X, _asked),
    Entry("torch bfloat16", _net(lambda: nn.Linear(4, 2).to(torch.bfloat16)), X, _low),
    Entry("torch float16", _net(lambda: nn.Linear(4, 2).to(torch.float16)), X, _low),
    Entry("TorchScript, scripted", _scripted(lambda: nn.Sequential(nn.Linear(4, 2), nn.Tanh())), X, _asked),
    Entry("TorchScript, traced class of one's own", _scripted(lambda: Gated(4, 6), traced=torch.ones(1, 4)), X, _asked),
    Entry("TorchScript, dict output", _scripted(DictNet), X, _asked),
    Entry(
        "ONNX regression",
        lambda: _graph(_LINEAR, [_value("x", [None, 4])], [_value("y", [None, 1])], [_WEIGHTS]),
        X,
        _onnx_asked,
    ),
    Entry(
        "ONNX classifier",
        lambda: _graph(
            [_LABELS],
            [_value("x", [None, 4])],
            [_value("label", [None], TensorProto.INT64), _value("chances", [None, 3])],
        ),
        X,
        _onnx_asked,
        _onnx_chances,
    ),
    Entry(
        "ONNX fixed batch of 3",
        lambda: _graph(_LINEAR, [_value("x", [3, 4])], [_value("y", [3, 1])], [_WEIGHTS]),
        X[:7],
        _onnx_asked,
    ),
    Entry("ONNX uint8 input", _quantized, np.arange(20).reshape(5, 4).astype(np.uint8), _onnx_asked),
    Entry("ONNX several inputs and outputs", _two_inputs, _TWO, _onnx_asked),
    Entry("own class, fitted", lambda: NearestMean().fit(X, THREE), X, chances=by_chances),
    Entry("own class that saves itself", lambda: SavesItself(2.5), X),
    Entry("own function", lambda: weighed, X, lambda made, rows: made(rows)),
]


def _hooked() -> Any:
    net = nn.Linear(4, 1)
    net.register_forward_hook(lambda *_: None)
    return net


REFUSED = [
    Refused("torch module with hooks", _hooked, "hooks, which no artifact can hold; remove them first"),
    Refused("torch module with lazy layers", lambda: nn.LazyLinear(2), "never fitted; train it, or call it once"),
    Refused(
        "torch module with a parametrization",
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 1)),
        "save the module as TorchScript or ONNX",
    ),
    Refused(
        "ONNX graph with one value for all rows",
        lambda: _graph([helper.make_node("Identity", ["x"], ["y"])], [_value("x", [])], [_value("y", [])]),
        "give it an axis for rows",
    ),
    Refused(
        "ONNX graph with a sequence as input",
        lambda: _graph(
            [helper.make_node("ConcatFromSequence", ["x"], ["y"], axis=0)],
            [helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [None, 2])],
            [_value("y", [None, 2])],
        ),
        "Export the model with such an input",
    ),
    Refused("a class instead of an object", lambda: NearestMean, "wrap an object of it"),
]
