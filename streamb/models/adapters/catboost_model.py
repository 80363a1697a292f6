"""CatBoost models (`CatBoostClassifier`, `CatBoostRegressor`, …) in CatBoost's own format (cbm), without code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from streamb.errors import ArtifactCorrupt, ArtifactUnsupported, InvalidInput
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.schema import Feature, FeatureKind, FeatureSchema

_FILE: Final = "model.cbm"
_DESCRIPTION: Final = "catboost.json"
_TASKS: Final[dict[str, Task]] = {
    "CatBoost": "other",
    "CatBoostClassifier": "classification",
    "CatBoostRanker": "other",
    "CatBoostRegressor": "regression",
}


class CatBoostModel(Model):
    """A CatBoost model.

    Attributes:
        estimator: the model itself.
    """

    class_id: ClassVar[str] = "catboost"
    framework: ClassVar[str] = "catboost"
    libraries: ClassVar[tuple[str, ...]] = ("catboost", "numpy")
    says_classes: ClassVar[str] = "a CatBoostClassifier says its classes itself"
    takes: ClassVar[tuple[str, ...]] = ("catboost.core.CatBoost",)

    def __init__(
        self, estimator: Any, *, schema: FeatureSchema | None = None, name: str | None = None, task: Task | None = None
    ) -> None:
        self.estimator = estimator
        self._stored: bytes | None = None  # CatBoost writes a model that it has read with other bytes each time
        self._learns_schema = schema is None
        self.schema = schema or _schema_of(estimator)
        self.name = name or type(estimator).__name__
        self.task = task or _TASKS.get(type(estimator).__name__, "other")

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        self.estimator.fit(X, y)
        self._stored = None
        if self._learns_schema:
            self.schema = _schema_of(self.estimator)
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        found = np.asarray(self.estimator.predict(X, thread_count=1))
        return found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        if not self.has_probabilities:
            return super().predict_proba(X)
        return np.asarray(self.estimator.predict_proba(X, thread_count=1))

    @property
    def has_probabilities(self) -> bool:
        return hasattr(self.estimator, "predict_proba")

    @property
    def classes(self) -> list[Any] | None:
        return np.asarray(self.estimator.classes_).tolist() if self.has_probabilities else None

    def check_fitted(self) -> None:
        if not self.estimator.is_fitted():
            raise InvalidInput(
                f"{type(self.estimator).__name__} was never fitted; call fit(X, y) with your training data before you "
                "save or register it"
            )

    def write_payload(self, folder: Path) -> bool:
        kind = type(self.estimator).__name__
        if kind not in _TASKS:
            raise ArtifactUnsupported(f"{kind} is a class of your own; register an object of {', '.join(_TASKS)}")
        if self._stored is None:
            self.estimator.save_model(str(folder / _FILE), format="cbm")
        else:
            (folder / _FILE).write_bytes(self._stored)
        (folder / _DESCRIPTION).write_text(json.dumps({"class": kind}), "utf-8")
        return False

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:  # noqa: ARG003
        import catboost

        kind = json.loads((folder / _DESCRIPTION).read_text("utf-8"))["class"]
        if kind not in _TASKS:
            raise ArtifactCorrupt(f"the artifact names an unknown CatBoost class {str(kind)[:100]!r}")
        estimator = getattr(catboost, kind)()
        content = (folder / _FILE).read_bytes()
        estimator.load_model(blob=content)
        model = cls(estimator)
        model._stored = content
        return model


def _schema_of(estimator: Any) -> FeatureSchema | None:
    """The columns that a fitted model takes: a number may be missing (NaN), a category is a string or an integer."""
    if not estimator.is_fitted():
        return None
    names: list[str] = estimator.feature_names_
    categories = set(estimator.get_cat_feature_indices())
    texts = set(estimator.get_text_feature_indices())
    vectors = set(estimator.get_embedding_feature_indices())

    def feature(index: int, name: str) -> Feature:
        if index in texts:
            return Feature(name, FeatureKind.TEXT)
        if index in categories or index in vectors:
            return Feature(name, FeatureKind.ANY)
        return Feature(name, nullable=True, takes_booleans=True)

    unnamed = names == [str(index) for index in range(len(names))]
    columns = [f"x{index}" for index in range(len(names))] if unnamed else names
    return FeatureSchema(
        tuple(feature(index, name) for index, name in enumerate(columns)), "array" if unnamed else "frame"
    )
