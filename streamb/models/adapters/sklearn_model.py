"""Any scikit-learn estimator or pipeline that predicts or transforms, stored as a skops file.

Types beyond skops's own safe list (trees, gradient boosting's tables, a user's transformers) make the artifact one that
needs trust; classes that are not installed come along as source.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from streamb.errors import ArtifactUnsupported, ArtifactUntrusted, InvalidInput
from streamb.models.adapters.sklearn_fitted import answers_by, check_estimator_fitted
from streamb.models.code.carried import install
from streamb.models.code.definitions import Definitions
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.schema import FeatureSchema
from streamb.models.skops_file import freeze, thaw, untrusted_types
from streamb.models.source import CODE_FOLDER, SourceBundle
from streamb.models.used_modules import parts

_FILE: Final = "model.skops"


class SklearnModel(Model):
    """A scikit-learn estimator behind the `Model` interface.

    An estimator without `predict` (a scaler, PCA, a vectorizer) answers with what it transforms each row to: shape
    (rows, columns), dense also where the estimator's own answer is sparse.

    Attributes:
        estimator: the estimator itself.
    """

    class_id: ClassVar[str] = "sklearn"
    framework: ClassVar[str] = "scikit-learn"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "scikit-learn", "scipy", "skops")
    says_classes: ClassVar[str] = "a scikit-learn estimator says its classes itself"
    takes: ClassVar[tuple[str, ...]] = ("sklearn.base.BaseEstimator",)

    def __init__(
        self, estimator: Any, *, schema: FeatureSchema | None = None, name: str | None = None, task: Task | None = None
    ) -> None:
        from streamb.models.adapters.sklearn_schema import fitted_schema

        _refuse_file_readers(estimator)
        self.estimator = estimator
        self._answers = answers_by(estimator)
        self._learns_schema = schema is None
        self.schema = schema if schema is not None else fitted_schema(estimator)
        self.name = name or type(estimator).__name__
        self.task = task or _task_of(estimator)
        self._parallel = _wants_workers(estimator)

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803
        self.estimator.fit(X, y)
        if self._learns_schema:
            self.schema = FeatureSchema.learn(X)
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803
        with self._quickly(X):
            return _dense(getattr(self.estimator, self._answers)(X))

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        """See `Model.predict_proba`; a classifier of several outputs answers a list with one array for each."""
        if not self.has_probabilities:
            return super().predict_proba(X)
        with self._quickly(X):
            found = self.estimator.predict_proba(X)
            return [np.asarray(output) for output in found] if isinstance(found, list) else np.asarray(found)

    @property
    def has_probabilities(self) -> bool:
        return callable(getattr(self.estimator, "predict_proba", None))

    @property
    def classes(self) -> list[Any] | None:
        """See `Model.classes`; a classifier of several outputs has a list of labels for each."""
        found = getattr(self.estimator, "classes_", None) if self._answers == "predict" else None
        if isinstance(found, np.ndarray):
            return list(found.tolist())
        several = isinstance(found, list) and found and all(isinstance(item, np.ndarray) for item in found)
        return [item.tolist() for item in found] if several else None  # type: ignore[union-attr]

    def check_fitted(self) -> None:
        check_estimator_fitted(self.estimator)

    def write_payload(self, folder: Path) -> bool:
        _refuse_networks(self.estimator)
        code = Definitions()
        content = freeze(self.estimator, place=code.place)
        (folder / _FILE).write_bytes(content)
        code.write(folder)
        return bool(untrusted_types(content))

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:
        if (folder / CODE_FOLDER).exists() and not may_run_code:
            raise ArtifactUntrusted("the artifact carries source code and needs a trusted signature")
        modules = install(SourceBundle.read(folder))
        estimator = thaw((folder / _FILE).read_bytes(), may_run_code=may_run_code, modules=modules)
        return cls(estimator, schema=FeatureSchema.from_json(manifest.schema))

    @contextmanager
    def _quickly(self, X: Any) -> Iterator[None]:  # noqa: N803
        """scikit-learn without what serving has already done or must not do.

        A float array that is finite as a whole need not be searched again by every step (a fifth of the time of a small
        pipeline), parameters were validated at fit, and no prediction may start worker processes.
        """
        from joblib import parallel_config
        from sklearn import config_context

        workers = parallel_config(backend="sequential") if self._parallel else nullcontext()
        finite = isinstance(X, np.ndarray) and X.dtype == np.float64 and bool(np.isfinite(X).all())
        with workers, config_context(skip_parameter_validation=True, assume_finite=finite or None):
            yield


def _dense(found: Any) -> NDArray[Any]:
    """Predictions or transformed rows as an array, also where the estimator answers a sparse matrix."""
    return np.asarray(found.toarray() if hasattr(found, "toarray") else found)


def _task_of(estimator: Any) -> Task:
    from sklearn.base import is_classifier, is_regressor

    if is_classifier(estimator):
        return "classification"
    return "regression" if is_regressor(estimator) else "other"


def _refuse_file_readers(estimator: Any) -> None:
    """A vectorizer with `input="filename"` takes texts for paths: whoever may ask the model could read our files.

    Looks at the objects, not at parameters: an artifact from outside may hide a part from `get_params`.
    """
    text = sys.modules.get("sklearn.feature_extraction.text")
    if text is None:  # then no such vectorizer exists in this process
        return
    for part in parts(estimator):
        if isinstance(part, text.CountVectorizer | text.HashingVectorizer) and part.input != "content":
            raise InvalidInput(
                f"{type(part).__name__} has input={part.input!r} and would read files where the model runs; "
                'make it with input="content" and fit it on the texts themselves'
            )


def _refuse_networks(estimator: Any) -> None:
    """An estimator that is made of a torch module has no skops form."""
    torch = sys.modules.get("torch")
    if torch is not None and any(isinstance(part, torch.nn.Module) for part in parts(estimator)):
        raise ArtifactUnsupported(
            f"{type(estimator).__name__} holds a torch module, which cannot be stored inside an estimator; make what "
            "comes before it (such as a scaler) the first layer of the module, and register the module or the skorch "
            "net alone"
        )


def _wants_workers(estimator: Any) -> bool:
    """Whether the estimator, or anything in it, asks for more than one worker."""
    parameters = estimator.get_params(deep=True)
    return any(
        value not in (None, 1) for key, value in parameters.items() if key == "n_jobs" or key.endswith("__n_jobs")
    )
