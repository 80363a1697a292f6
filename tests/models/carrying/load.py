"""Loads every model of a folder and prints what each answers: `python load.py OUT KEY`."""

import json
import sys
from pathlib import Path

import numpy as np

from streamb.crypto import SigningKey
from streamb.models import load_artifact

ROWS = np.array([[1.0, 2.0], [3.0, 4.0], [-5.0, 6.0]])
folder, key = Path(sys.argv[1]), SigningKey.load_or_create(Path(sys.argv[2]))
answers = {}
for path in sorted(folder.iterdir()):
    if path.is_dir():
        model = load_artifact(path, trusted=[key.public])
        answers[path.name] = np.asarray(
            model.predict(ROWS.astype(np.float32) if path.name == "torch module" else ROWS)
        ).tolist()
        answers[f"{path.name}: saved again"] = model.save(folder.parent / "again" / path.name).digest
print(json.dumps(answers))
