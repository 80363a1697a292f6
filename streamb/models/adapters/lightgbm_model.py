"""A `lightgbm.Booster`, stored as LightGBM's own text, which holds trees and no code.

LightGBM's scikit-learn classes (`LGBMClassifier`, …) are estimators and belong to the `sklearn` adapter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from streamb.errors import InvalidInput
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.schema import Feature, FeatureKind, FeatureSchema

_FILE: Final = "model.txt"
_REGRESSIONS: Final = (
    "regression", "huber", "fair", "poisson", "quantile", "mape", "gamma", "tweedie",
)  # fmt: skip


class LightGBMModel(Model):
    """A booster; it answers what `predict` answers, such as probabilities of a class.

    Attributes:
        booster: the booster itself.
    """

    class_id: ClassVar[str] = "lightgbm"
    framework: ClassVar[str] = "lightgbm"
    libraries: ClassVar[tuple[str, ...]] = ("lightgbm", "numpy")
    says_classes: ClassVar[str] = "a Booster knows numbers only; for labels, train an LGBMClassifier and wrap that"
    takes: ClassVar[tuple[str, ...]] = ("lightgbm.basic.Booster",)

    def __init__(
        self, booster: Any, *, schema: FeatureSchema | None = None, name: str | None = None, task: Task | None = None
    ) -> None:
        self.booster = booster
        text = booster.model_to_string()
        self.schema = schema or _schema_of(booster, text)
        self.name = name or "lightgbm"
        self.task = task or ("regression" if _header(text, "objective").startswith(_REGRESSIONS) else "other")

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002 - always refuses
        raise InvalidInput("a Booster comes trained; train it with lightgbm.train and wrap the result")

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        return np.asarray(self.booster.predict(X))

    def write_payload(self, folder: Path) -> bool:
        (folder / _FILE).write_text(self.booster.model_to_string(), "utf-8")
        return False

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:  # noqa: ARG003
        import lightgbm

        return cls(lightgbm.Booster(model_str=(folder / _FILE).read_text("utf-8")))


def _schema_of(booster: Any, text: str) -> FeatureSchema:
    """The columns that the booster was trained on; any of them may be missing (NaN).

    LightGBM keeps the levels of a frame's categories in the order of its columns, but not which columns these are; they
    are known where as many columns were used as categories. Else no column's kind is known.
    """
    names: list[str] = booster.feature_name()
    levels: list[list[Any]] = booster.pandas_categorical or []
    as_codes = [":" in info and not info.startswith("[") for info in _header(text, "feature_infos").split()]
    known = len(levels) == sum(as_codes)
    number = FeatureKind.NUMBER if known or not levels else FeatureKind.ANY
    left = iter(levels)
    features = [
        Feature(name, FeatureKind.CATEGORY, categories=tuple(next(left)), nullable=True)
        if levels and known and coded
        else Feature(name, number, nullable=True, takes_booleans=True)
        for name, coded in zip(names, as_codes, strict=True)
    ]
    unnamed = names == [f"Column_{index}" for index in range(len(names))]
    return FeatureSchema(tuple(features), "array" if unnamed else "frame")


def _header(text: str, key: str) -> str:
    """The value of one line at the head of a model's text."""
    head = text.partition("\n\n")[0].splitlines()
    return next((line.partition("=")[2] for line in head if line.startswith(f"{key}=")), "")
