"""An `xgboost.Booster`, stored in XGBoost's own format (UBJSON), which holds trees and no code.

XGBoost's scikit-learn classes (`XGBClassifier`, …) are estimators and belong to the `sklearn` adapter.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.schema import Feature, FeatureKind, FeatureSchema

_FILE: Final = "model.ubj"
_KINDS: Final = {"i": FeatureKind.BOOLEAN, "c": FeatureKind.ANY}


class XGBoostModel(Model):
    """A booster; it answers what `predict` answers for a DMatrix of the rows, such as probabilities of a class.

    Attributes:
        booster: the booster itself.
    """

    class_id: ClassVar[str] = "xgboost"
    framework: ClassVar[str] = "xgboost"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "xgboost")
    says_classes: ClassVar[str] = "a Booster knows numbers only; for labels, train an XGBClassifier and wrap that"
    takes: ClassVar[tuple[str, ...]] = ("xgboost.core.Booster",)

    def __init__(
        self, booster: Any, *, schema: FeatureSchema | None = None, name: str | None = None, task: Task | None = None
    ) -> None:
        self.booster = booster
        self.schema = schema or _schema_of(booster)
        self.name = name or "xgboost"
        objective: str = json.loads(booster.save_config())["learner"]["objective"]["name"]
        self.task = task or ("regression" if objective.startswith(("reg:", "count:", "survival:")) else "other")

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002 - always refuses
        raise InvalidInput("a Booster comes trained; train it with xgboost.train and wrap the result")

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        import xgboost

        is_frame = hasattr(X, "columns")
        names = None if is_frame else self.booster.feature_names
        table = xgboost.DMatrix(X, feature_names=names, enable_categorical=is_frame)
        return np.asarray(self.booster.predict(table))

    def write_payload(self, folder: Path) -> bool:
        (folder / _FILE).write_bytes(self.booster.save_raw("ubj"))
        return False

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:  # noqa: ARG003
        import xgboost

        return cls(xgboost.Booster(model_file=str(folder / _FILE)))


def _schema_of(booster: Any) -> FeatureSchema:
    """The columns that the booster was trained on; any of them may be missing (NaN)."""
    names, kinds = booster.feature_names, booster.feature_types
    count = booster.num_features()
    columns = names or [f"x{index}" for index in range(count)]
    features = [
        Feature(name, _KINDS.get(kind, FeatureKind.NUMBER), nullable=True, takes_booleans=True)
        for name, kind in zip(columns, kinds or [""] * count, strict=True)
    ]
    return FeatureSchema(tuple(features), "frame" if names else "array")
