"""Results of statsmodels (OLS, GLM, Logit, …), stored as numbers and names: the parameters, and the model's class.

statsmodels' own `save` is a pickle that contains the training data. Here the model is made again from its class with
rows that mean nothing, as `predict` for new rows reads parameters only.
"""

from __future__ import annotations

import json
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from streamb.errors import ArtifactCorrupt, InvalidInput
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.schema import Feature, FeatureSchema

_FILE: Final = "results.json"
_LINEAR: Final = frozenset({"OLS", "WLS", "GLS", "GLSAR", "RLM", "QuantReg"})
_CLASSES: Final = {
    **dict.fromkeys(("OLS", "WLS", "GLS", "GLSAR"), "statsmodels.regression.linear_model"),
    "QuantReg": "statsmodels.regression.quantile_regression",
    "RLM": "statsmodels.robust.robust_linear_model",
    "GLM": "statsmodels.genmod.generalized_linear_model",
    **dict.fromkeys(
        ("Logit", "Probit", "MNLogit", "Poisson", "NegativeBinomial"), "statsmodels.discrete.discrete_model"
    ),
}
_FAMILIES: Final = {"Binomial": (), "Gamma": (), "Gaussian": (), "InverseGaussian": (), "Poisson": (),
                    "NegativeBinomial": ("alpha",), "Tweedie": ("var_power",)}  # fmt: skip
_LINKS: Final = {"CLogLog": (), "Cauchy": (), "Identity": (), "InversePower": (), "InverseSquared": (), "LogLog": (),
                 "Log": (), "Logit": (), "Probit": (), "Sqrt": (), "NegativeBinomial": ("alpha",),
                 "Power": ("power",)}  # fmt: skip
_WAY_OUT: Final = (
    "register an object of a class of your own that keeps what it needs, such as results.params, and has a predict "
    "method (docs/models.md shows one)"
)


class StatsmodelsModel(Model):
    """Results of a fitted model; it answers what their `predict` answers for new rows of the exogenous columns.

    Attributes:
        description: the class of the model, its settings, parameters and columns, as JSON holds them.
    """

    class_id: ClassVar[str] = "statsmodels"
    framework: ClassVar[str] = "statsmodels"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scipy", "statsmodels")
    says_classes: ClassVar[str] = "statsmodels answers numbers and probabilities, not labels"
    takes: ClassVar[tuple[str, ...]] = ("statsmodels.base.wrapper.ResultsWrapper", "statsmodels.base.model.Results")

    def __init__(
        self,
        description: dict[str, Any],
        *,
        schema: FeatureSchema | None = None,
        name: str | None = None,
        task: Task | None = None,
    ) -> None:
        self.description = description
        columns, kind = description["columns"], description["class"]
        names = columns or [f"x{index}" for index in range(description["count"])]
        self.schema = schema or FeatureSchema(tuple(map(Feature, names)), "frame" if columns else "array")
        self.name = name or kind
        self.task = task or ("regression" if kind in _LINEAR or kind == "GLM" else "other")
        self._model = _made_again(description)
        self._parameters = np.array(description["parameters"], np.float64)

    @classmethod
    def from_object(cls, obj: Any, *, classes: Any = None, **rest: Any) -> Self:
        """See `Model.from_object`; `obj` are results."""
        if classes is not None:
            raise InvalidInput(cls.says_classes)
        return cls(_described(obj), **rest)

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002 - always refuses
        raise InvalidInput("results come trained; fit the model with statsmodels and wrap its results")

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        return np.asarray(self._model.predict(self._parameters, np.asarray(X, np.float64)))

    def write_payload(self, folder: Path) -> bool:
        (folder / _FILE).write_text(json.dumps(self.description, allow_nan=False), "utf-8")
        return False

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:  # noqa: ARG003
        return cls(json.loads((folder / _FILE).read_text("utf-8")))


def _described(results: Any) -> dict[str, Any]:
    model = results.model
    kind = type(model).__name__
    if _CLASSES.get(kind) != type(model).__module__:
        raise InvalidInput(f"streamb cannot store results of {kind} of statsmodels; {_WAY_OUT}")
    if getattr(model, "formula", None) is not None:
        raise InvalidInput(
            f"this {kind} was fitted with a formula, which is code that no artifact can hold; build the columns "
            f"yourself and fit sm.{kind}(y, X), or {_WAY_OUT}"
        )
    settings = {name: value for name, value in model._get_init_kwds().items() if isinstance(value, str)}  # noqa: SLF001
    columns = getattr(model.data.orig_exog, "columns", None)
    return {
        "class": kind,
        "settings": settings,
        "family": _described_family(model.family) if kind == "GLM" else None,
        "parameters": np.asarray(results.params, np.float64).tolist(),
        "count": int(model.exog.shape[1]),
        "columns": None if columns is None else [str(name) for name in columns],
    }


def _described_family(family: Any) -> dict[str, Any]:
    kinds = (_FAMILIES, type(family)), (_LINKS, type(family.link))
    for known, cls in kinds:
        if cls.__name__ not in known or not cls.__module__.startswith("statsmodels.genmod.families"):
            raise InvalidInput(f"streamb cannot store a GLM with {cls.__name__}; {_WAY_OUT}")
    return {
        "class": type(family).__name__,
        "arguments": {name: float(getattr(family, name)) for name in _FAMILIES[type(family).__name__]},
        "link": type(family.link).__name__,
        "link_arguments": {name: float(getattr(family.link, name)) for name in _LINKS[type(family.link).__name__]},
    }


def _made_again(description: dict[str, Any]) -> Any:
    """A model of the class and settings, for rows that mean nothing: its `predict` reads parameters only."""
    kind, settings = description["class"], dict(description["settings"])
    if kind not in _CLASSES:
        raise ArtifactCorrupt(f"{_FILE} names an unknown model {str(kind)[:100]!r}")
    parameters = np.array(description["parameters"])
    labels = parameters.shape[1] + 1 if kind == "MNLogit" else 2
    rows = max(description["count"], labels) + 1
    cls = getattr(import_module(_CLASSES[kind]), kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a link that suits its family badly; statsmodels said it at the fit
        if kind == "GLM":
            settings["family"] = _family(description["family"])
        return cls(np.arange(rows) % labels, np.eye(rows, description["count"]), **settings)


def _family(description: dict[str, Any]) -> Any:
    families = import_module("statsmodels.genmod.families.family")
    links = import_module("statsmodels.genmod.families.links")
    if description["class"] not in _FAMILIES or description["link"] not in _LINKS:
        raise ArtifactCorrupt(f"{_FILE} names an unknown family or link")
    link = getattr(links, description["link"])(**description["link_arguments"])
    return getattr(families, description["class"])(link=link, check_link=False, **description["arguments"])
