"""An example of a version: rows as a prediction request takes them, and the answers that are expected.

The part `example` of an upload and the file `golden.json` of an artifact have this form.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streamb.errors import ArtifactCorrupt, InvalidInput
from streamb.models.manifest import GOLDEN_NAME

MOST_TRIED: Final = 100
"""The most rows of an example that are predicted; the others only help to learn the schema."""

MOST_GOLDEN: Final = 20
"""The most rows that are kept with a version."""

MAX_BYTES: Final = 16 << 20
"""The largest example, in bytes of JSON."""

_MAX_GOLDEN_BYTES: Final = 4 << 20
_FIELDS: Final = {"instances", "predictions", "probabilities", "keep", "deterministic"}


@dataclass(frozen=True, slots=True)
class Example:
    """Rows, and the answers to them as JSON values.

    Attributes:
        instances: the rows, at least one; each a list in column order, an object by column name, a text, or a tensor
            as nested lists.
        predictions: one for each of the first rows; None if nobody has asked the model.
        probabilities: the class probabilities of the same rows; None if they are unknown or there are none.
        keep: whether some rows may be kept with the version, so that every replica can check itself.
        deterministic: False if the model gave different answers to the same rows where it was made; None if unknown.
    """

    instances: list[Any]
    predictions: list[Any] | None = None
    probabilities: list[Any] | None = None
    keep: bool = True
    deterministic: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        body: dict[str, Any] = {"instances": self.instances}
        for name in ("predictions", "probabilities", "deterministic"):
            if getattr(self, name) is not None:
                body[name] = getattr(self, name)
        return body if self.keep else {**body, "keep": False}

    @classmethod
    def from_json(cls, body: Any) -> Example:
        """Read the JSON form.

        Raises:
            InvalidInput: it is not an example.
        """
        if not isinstance(body, Mapping) or not isinstance(body.get("instances"), list) or not body["instances"]:
            raise InvalidInput('an example is an object with "instances", a list of at least one row')
        if not body.keys() <= _FIELDS:
            raise InvalidInput(
                f"an example has no field {min(body.keys() - _FIELDS)[:50]!r}; it takes {', '.join(sorted(_FIELDS))}"
            )
        for name in ("keep", "deterministic"):
            if not isinstance(body.get(name), bool | None):
                raise InvalidInput(f'"{name}" of an example is true or false')
        answers = body.get("predictions")
        if answers is not None and (not isinstance(answers, list) or not 0 < len(answers) <= len(body["instances"])):
            raise InvalidInput('"predictions" of an example is a list with one prediction for each of the first rows')
        if not isinstance(body.get("probabilities"), list | None):
            raise InvalidInput('"probabilities" of an example is a list')
        named = {name: body[name] for name in _FIELDS & body.keys() if body[name] is not None}
        return cls(**named)


def write_golden(folder: Path, golden: Example | None) -> None:
    """Write the rows that a version keeps into its unsealed artifact; without any, remove those of before.

    Rows beyond the size limit are left out.
    """
    path = folder / GOLDEN_NAME
    content = None
    rows = len(golden.instances) if golden is not None else 0
    while golden is not None and rows:
        kept = Example(
            golden.instances[:rows],
            (golden.predictions or [])[:rows],
            golden.probabilities and golden.probabilities[:rows],
        )
        content = json.dumps(kept.to_json(), allow_nan=False).encode()
        if len(content) <= _MAX_GOLDEN_BYTES:
            break
        content, rows = None, rows // 2
    if content is None:
        path.unlink(missing_ok=True)
    else:
        path.write_bytes(content)


def read_golden(folder: Path) -> Example | None:
    """Return the rows that are kept in a verified artifact; None if there are none.

    Raises:
        ArtifactCorrupt: the file is no example.
    """
    path = folder / GOLDEN_NAME
    if not path.exists():
        return None
    try:
        return Example.from_json(json.loads(path.read_bytes()))
    except (ValueError, InvalidInput, RecursionError) as error:
        raise ArtifactCorrupt(f"{GOLDEN_NAME} is not an example: {error}") from error
