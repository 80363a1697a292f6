"""`manager.monitoring(…)`: baselines from whatever people have, over real HTTP, with the real Monitor behind it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from streamb.errors import InvalidFeatures, InvalidInput, NotFound
from tests.api.artifacts import sklearn_archive
from tests.api.monitored import MODEL, NAMES, Traffic, answers, rows


@pytest.fixture
def monitoring(manager, tmp_path):
    manager.create_model(MODEL)
    manager.upload_version(MODEL, "1.0.0", sklearn_archive(tmp_path))
    return manager.monitoring(MODEL)


def test_from_a_baseline_to_drift(monitoring, live):
    features = rows(1000, seed=9)
    frame = pd.DataFrame(features, columns=list(NAMES))
    made = monitoring.set_baseline(frame, answers(features), labels=answers(features), confidence=np.full(1000, 0.9))
    assert (made["number"], made["columns"]) == (1, [*NAMES, "prediction"])
    traffic = Traffic(live.backend)
    traffic.push(2000, shift=1.0)
    assert monitoring.drift(minutes=60)["features"]["x1"]["drifted"]
    health = monitoring.health("1.0.0")
    assert health["status"] == "degraded"
    assert health["estimated_accuracy"] is not None
    assert {one["labels"]["model"] for one in monitoring.alerts()} == {MODEL}
    assert monitoring.set_thresholds(max_drift_score=0.99)["thresholds"]["max_drift_score"] == 0.99
    assert monitoring.update_baseline(30)["origin"] == "live"
    assert len(monitoring.baselines()) == 2


@pytest.mark.parametrize(
    "table",
    [
        rows(300),
        rows(300).tolist(),
        dict(zip(NAMES, rows(300).T, strict=True)),
        [dict(zip(NAMES, row, strict=True)) for row in rows(300).tolist()],
    ],
    ids=["array", "lists", "mapping", "dicts"],
)
def test_any_table_will_do(monitoring, table):
    made = monitoring.set_baseline(table, probabilities=np.full((300, 2), 0.5))
    assert (made["rows"], made["columns"]) == (300, list(NAMES))


def test_several_outputs_are_several_columns(monitoring):
    made = monitoring.set_baseline(rows(300), predictions=rows(300)[:, :2])
    assert made["columns"][-2:] == ["prediction.0", "prediction.1"]


def test_what_does_not_fit_is_named(monitoring, manager):
    with pytest.raises(InvalidFeatures, match="age"):
        monitoring.set_baseline(pd.DataFrame({"age": [1.0]}))
    with pytest.raises(InvalidInput, match="3 features; these rows have 2"):
        monitoring.set_baseline(rows(10)[:, :2])
    with pytest.raises(InvalidInput, match="do not form a table"):
        monitoring.set_baseline({"x0": [1, 2], "x1": [1, 2], "x2": ["a", 2]})
    with pytest.raises(NotFound):
        manager.monitoring("nobody").health()
