"""Reads rows for a model from a file: CSV, JSON, or one JSON row a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from streamb.errors import InvalidInput


def read_example(path: Path) -> dict[str, Any]:
    """Return the example of a version in its JSON form.

    Args:
        path: a CSV file whose first line names the columns; a JSON file with a list of rows, or with an object like
            `{"instances": […], "predictions": […]}`; or a JSON Lines file (`.jsonl`) with one row a line.

    Raises:
        InvalidInput: the file is none of these.
    """
    try:
        content = _read(path)
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read as rows ({error}); give CSV, JSON or JSON Lines") from error
    if isinstance(content, list):
        return {"instances": content}
    if isinstance(content, dict) and "instances" in content:
        return content
    raise InvalidInput(f'{path} holds neither a list of rows nor an object with "instances"')


def _read(path: Path) -> Any:
    if path.suffix.lower() == ".csv":
        import pandas as pd

        from streamb.sdk.rows import wire_rows

        return wire_rows(pd.read_csv(path))
    text = path.read_text("utf-8")
    if path.suffix.lower() in {".jsonl", ".ndjson"}:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    return json.loads(text)
