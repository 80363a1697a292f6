"""A process that has made no model: loads artifacts, and writes down what they answer.

`python -m tests.zoo.loading FOLDER`: FOLDER has a folder for each model, with its artifact `stored` and `rows.pickle`.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

from streamb.models import Model, load_artifact
from streamb.models.outputs import Answer, answer_of


def answer(model: Model, rows: Any) -> Answer:
    """What the platform answers for rows in the form that the library takes."""
    first = next(iter(rows.values())) if isinstance(rows, dict) else rows
    return answer_of(model, rows, len(first), probabilities=True)


def main(folder: Path) -> None:
    """Answer for each model with its answers, or the error."""
    key = pickle.loads((folder / "key.pickle").read_bytes())
    for place in sorted(folder.iterdir()):
        if (place / "stored").is_dir():
            rows = pickle.loads((place / "rows.pickle").read_bytes())  # written by this test itself
            try:
                found: Any = answer(load_artifact(place / "stored", trusted=[key]), rows)
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            (place / "answer.pickle").write_bytes(pickle.dumps(found if isinstance(found, str) else tuple(found)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
