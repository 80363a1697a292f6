"""What the tables of models share: their columns, and the data that the models are trained on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 4))
POSITIVE = np.abs(X)
YES = (X[:, 0] + 0.3 * X[:, 1] > 0).astype(int)
THREE = np.array(["low", "middle", "high"])[np.digitize(X[:, 0], [-0.5, 0.5])]
NUMBER = X @ [1.0, -2.0, 0.5, 3.0] + 0.1 * rng.normal(size=60)
PAIR = np.column_stack([YES, (X[:, 2] > 0).astype(int)])
FLOATS = X.astype(np.float32)
TEXTS = ["shall report emissions", "must notify the agency", "may apply for a label", "can take part"] * 10
DUTIES = ["duty", "duty", "free", "free"] * 10
TABLE = pd.DataFrame(
    {
        "area": np.where(rng.random(60) < 0.1, np.nan, X[:, 0]),
        "rooms": rng.integers(1, 6, 60),
        "city": np.where(X[:, 1] > 0, "Bonn", "Kiel"),
        "garden": X[:, 2] > 0,
    }
)
CATEGORIES = pd.DataFrame({"size": X[:, 0], "city": pd.Categorical(TABLE["city"], ["Kiel", "Bonn", "Ulm"])})


@dataclass(frozen=True)
class Entry:
    """One model that must be supported.

    Attributes:
        name: what it is, for people.
        make: trains it.
        example: rows as the library takes them.
        answer: (object, rows) -> what the library answers; its `predict` by default.
        chances: (object, rows) -> its probabilities; None if it has none.
        needs: the library that it needs, beyond those of the development environment.
        exact: whether the answers must be the same bit for bit; else within 1e-6.
    """

    name: str
    make: Callable[[], Any]
    example: Any
    answer: Callable[[Any, Any], Any] = lambda made, rows: made.predict(rows)
    chances: Callable[[Any, Any], Any] | None = None
    needs: str = ""
    exact: bool = True


@dataclass(frozen=True)
class Refused:
    """One object that must be refused, with a part of the sentence that says what to do instead."""

    name: str
    make: Callable[[], Any]
    told: str
    needs: str = ""


def by_chances(made: Any, rows: Any) -> Any:
    """The usual way to ask for probabilities."""
    return made.predict_proba(rows)


def transformed(made: Any, rows: Any) -> Any:
    """What an estimator that only transforms answers, dense."""
    found = made.transform(rows)
    return found.toarray() if hasattr(found, "toarray") else found
