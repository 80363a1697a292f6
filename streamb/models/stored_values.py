"""Values that skops cannot store, as calls of a function here with arguments that it can: frames and tensors.

The names of these functions are part of the artifact format.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import torch

Parts = Callable[[Any], tuple[Callable[..., Any], tuple[Any, ...]]]
"""Takes an object apart: the function that makes it again, and its arguments."""


def stored_kinds() -> Iterator[tuple[type, Parts]]:
    """Yield the types with how to take them apart, except those of libraries that this process has not imported."""
    yield deque, lambda items: (deque_of, (list(items), items.maxlen))
    pandas, torch = sys.modules.get("pandas"), sys.modules.get("torch")
    if pandas is not None and hasattr(pandas, "DataFrame"):
        yield pandas.DataFrame, lambda frame: (frame_of, (_arrow(frame),))
        yield pandas.Series, lambda column: (series_of, (_arrow(column.to_frame("values")), column.name))
        yield pandas.Index, lambda index: (index_of, (_arrow(index.to_frame(index=False)), index.names))
        yield pandas.Timestamp, lambda time: (timestamp_of, (time.isoformat(), str(time.tz or ""), time.unit))
        yield pandas.Timedelta, lambda span: (timedelta_of, (int(span.value), span.unit))
    if torch is not None and hasattr(torch, "Tensor"):
        yield torch.Tensor, _tensor_parts


def deque_of(items: list[Any], maxlen: int | None) -> deque[Any]:
    """Return a deque."""
    return deque(items, maxlen)


def frame_of(content: bytes) -> pd.DataFrame:
    """Return the frame of an Arrow stream."""
    import pyarrow as pa

    frame: pd.DataFrame = pa.ipc.open_stream(content).read_all().to_pandas()
    return frame


def series_of(content: bytes, name: Any) -> pd.Series[Any]:
    """Return the one column of an Arrow stream."""
    return frame_of(content)["values"].rename(name)


def index_of(content: bytes, names: list[Any]) -> pd.Index[Any]:
    """Return the columns of an Arrow stream as an index."""
    import pandas as pd

    frame = frame_of(content)
    return (
        pd.Index(frame.iloc[:, 0], name=names[0]) if len(names) == 1 else pd.MultiIndex.from_frame(frame, names=names)
    )


def timestamp_of(text: str, zone: str, unit: str) -> pd.Timestamp:
    """Return a time by its ISO text, time zone (or nothing) and unit."""
    import pandas as pd

    time = pd.Timestamp(text)
    return (time.tz_convert(zone) if zone else time).as_unit(unit)  # type: ignore[arg-type]


def timedelta_of(nanoseconds: int, unit: str) -> pd.Timedelta:
    """Return a span of time."""
    import pandas as pd

    return pd.Timedelta(nanoseconds, "ns").as_unit(unit)  # type: ignore[arg-type]


def tensor_of(values: np.ndarray[Any, Any], dtype: str, needs_gradient: bool, is_parameter: bool) -> torch.Tensor:  # noqa: FBT001 - stored by position
    """Return a tensor or parameter of the type `torch.<dtype>`; the values of types that NumPy lacks are raw bytes."""
    import torch

    kind: torch.dtype = getattr(torch, dtype)
    tensor = torch.from_numpy(values)
    tensor = tensor.view(kind) if tensor.dtype == torch.uint8 != kind else tensor
    if is_parameter:
        return torch.nn.Parameter(tensor, requires_grad=needs_gradient)
    return tensor.requires_grad_(needs_gradient)


def _tensor_parts(tensor: torch.Tensor) -> tuple[Callable[..., Any], tuple[Any, ...]]:
    import torch

    plain = tensor.detach().cpu().contiguous()
    try:
        values = plain.numpy()
    except TypeError:  # bfloat16 and the like
        values = plain.view(torch.uint8).numpy()
    name = str(tensor.dtype).removeprefix("torch.")
    leaf = bool(tensor.requires_grad and tensor.is_leaf)
    return tensor_of, (values, name, leaf, isinstance(tensor, torch.nn.Parameter))


def _arrow(frame: pd.DataFrame) -> bytes:
    import pyarrow as pa

    table = pa.Table.from_pandas(frame)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content
