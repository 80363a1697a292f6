"""A small customer table with every kind of column, and gaps in most of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

ROWS = 240


def customers() -> pd.DataFrame:
    random = np.random.default_rng(0)
    moods = random.choice(["good", "bad", "odd"], ROWS)
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 80, ROWS),
            "income": random.normal(50_000, 10_000, ROWS).round(2),
            "city": random.choice(["Rome", "Oslo", "Lima"], ROWS),
            "vip": random.choice([True, False], ROWS),
            "note": [f"call {index} was very {mood} indeed" for index, mood in enumerate(moods)],
            "spending": np.zeros(ROWS),
            "churn": np.where(moods == "bad", "yes", "no"),
            "empty": np.nan,
        }
    )
    frame["spending"] = frame["age"] * 10.0 + frame["vip"] * 100.0 + random.normal(0, 1, ROWS)
    frame.loc[::7, "income"] = np.nan
    frame.loc[::9, "city"] = None
    frame.loc[1::40, "note"] = None
    frame.loc[5, "churn"] = None
    return frame


@pytest.fixture(scope="session")
def customers_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "customers.csv"
    customers().to_csv(path, index=False)
    return path


@pytest.fixture(scope="session")
def plain_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Numbers alone: trained in milliseconds. `label` is a class, `amount` a quantity."""
    random = np.random.default_rng(0)
    a, b = random.random((2, 120)).round(4)
    path = tmp_path_factory.mktemp("data") / "plain.csv"
    amount = (3 * a - b + random.normal(0, 0.1, 120)).round(4)
    pd.DataFrame({"a": a, "b": b, "amount": amount, "label": np.where(amount > 1, "high", "low")}).to_csv(
        path, index=False
    )
    return path
