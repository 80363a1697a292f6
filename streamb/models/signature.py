"""The signature of a version: what it takes and what it answers, with names, types and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from streamb.errors import InvalidInput
from streamb.models.schema import FeatureSchema
from streamb.store.plain import from_plain, to_plain


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a model.

    Attributes:
        name: "predictions", "probabilities", or the name that the model gives it.
        kind: a kind of feature ("number", "integer", "boolean", "text", "tensor", "list", "any"), or "object" for
            values by name.
        dtype: the NumPy type of its values, such as "float32"; empty if it has none.
        shape: the shape of one row's value; `()` for a single value, None for an axis of any length.
    """

    name: str
    kind: str
    dtype: str = ""
    shape: tuple[int | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a version.

    Attributes:
        inputs: the schema of its rows.
        outputs: its outputs in order; empty if unknown.
        classes: the labels in the order of the columns of the probabilities; None if there are none or they are
            unknown. A model with several outputs of labels has one tuple for each.
    """

    inputs: FeatureSchema
    outputs: tuple[Output, ...] = ()
    classes: tuple[Any, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        body: dict[str, Any] = {
            "inputs": self.inputs.to_json(),
            "outputs": [to_plain(output) for output in self.outputs],
        }
        if self.classes is not None:
            body["classes"] = [list(item) if isinstance(item, tuple) else item for item in self.classes]
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Signature:
        """Read the JSON form.

        Raises:
            InvalidInput: it is not a signature.
        """
        outputs, classes = body.get("outputs", []), body.get("classes")
        if not isinstance(outputs, list) or not isinstance(classes, list | None):
            raise InvalidInput("a signature has 'inputs', a list of 'outputs' and perhaps a list of 'classes'")
        try:
            read = tuple(from_plain(Output, output) for output in outputs)
        except ValueError as error:
            raise InvalidInput(f"the signature's outputs are not valid: {error}") from error
        labels = None if classes is None else tuple(tuple(c) if isinstance(c, list) else c for c in classes)
        return cls(FeatureSchema.from_json(body.get("inputs", {})), read, labels)
