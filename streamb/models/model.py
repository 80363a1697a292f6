"""`Model`: the interface of every kind of model, and the conversion of objects to it.

Adapters subclass it, each in one file; `Model.wrap` finds a subclass that declares what it `takes`. This includes an
adapter in your own package, once its module is imported.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from numpy.typing import NDArray

from streamb.crypto import PublicKey
from streamb.errors import (
    ArtifactCorrupt,
    ArtifactUnsupported,
    ArtifactUntrusted,
    InvalidInput,
    ModelFailed,
    StreambError,
    words_of,
)
from streamb.models import catalog
from streamb.models.artifact import is_trusted, seal, verify_artifact
from streamb.models.environment import capture, compare
from streamb.models.manifest import Manifest, is_outside
from streamb.models.schema import FeatureSchema, Rows
from streamb.models.signature import Output
from streamb.models.used_modules import used_modules
from streamb.store.files import new_folder

_log = logging.getLogger(__name__)

Task = Literal["classification", "regression", "other"]


class Model(ABC):
    """A model that streamb can fit, save, load and use for predictions.

    Attributes:
        class_id: the adapter's id in manifests (class attribute). For an adapter of another package it is always
            MODULE:CLASS. Its artifacts count as code: they load only if the platform signed them and the module can be
            imported.
        framework: the framework's name for people: "scikit-learn", "torch", … (class attribute).
        libraries: distributions that it needs beside those of the types in the model; their versions go into the
            manifest (class attribute).
        takes: full names of the classes that this adapter wraps, such as "torch.nn.Module"; they are names so that
            nothing is imported (class attribute).
        file_suffixes: suffixes of the files that it takes by path, such as ".onnx" (class attribute).
        says_classes: why `wrap` accepts no `classes` for it, if its objects know them (class attribute).
        name: the model's name for people.
        schema: the schema of its input; None if unknown, so that any rectangular rows are accepted.
        task: classification, regression or other: the meaning of its predictions.
    """

    class_id: ClassVar[str]
    framework: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ()
    file_suffixes: ClassVar[tuple[str, ...]] = ()
    says_classes: ClassVar[str] = ""

    name: str
    schema: FeatureSchema | None
    task: Task

    def __init_subclass__(cls, **rest: Any) -> None:
        super().__init_subclass__(**rest)
        if not cls.__module__.startswith(f"{__package__}."):
            cls.class_id = f"{cls.__module__}:{cls.__qualname__}"
        catalog.join(cls)

    @staticmethod
    def wrap(
        obj: Any,
        *,
        schema: FeatureSchema | None = None,
        name: str | None = None,
        task: Task | None = None,
        classes: Sequence[Any] | None = None,
    ) -> Model:
        """Make a `Model` of an estimator or pipeline, a torch module, an ONNX file, your own object or a function.

        Objects that another adapter takes (a subclass of `Model` whose module is imported) go to that one.

        Args:
            obj: a `Model` is returned as it is; a path is read as ONNX; anything else has `predict`, or is a function
                of the rows.
            schema: the schema of its input; by default learned from the object if possible, else at `fit`.
            name: the name for people; by default the class's or file's name.
            task: the meaning of predictions, if the object does not know it (torch, ONNX, own objects).
            classes: the labels of the columns of probabilities or scores (torch, ONNX).

        Raises:
            InvalidInput: there is no adapter for the object.
        """
        if isinstance(obj, Model):
            if (schema, name, task, classes) != (None, None, None, None):
                raise InvalidInput("this is a Model already; give schema, name, task and classes when you make it")
            return obj
        adapter = None if isinstance(obj, type) else catalog.adapter_for(obj)
        if adapter is None:
            raise InvalidInput(_not_a_model(obj))
        wrapped: Model = adapter.from_object(obj, schema=schema, name=name, task=task, classes=classes)
        return wrapped

    @classmethod
    def accepts(cls, obj: Any) -> bool:  # noqa: ARG003 - for adapters that look at it
        """Whether it can make a model of this object, which is of one of the classes that it `takes`."""
        return True

    @classmethod
    def from_object(
        cls,
        obj: Any,
        *,
        schema: FeatureSchema | None = None,
        name: str | None = None,
        task: Task | None = None,
        classes: Sequence[Any] | None = None,
    ) -> Self:
        """Make a model from one of the objects in `takes`, or from a path; the arguments are those of `wrap`.

        By default the constructor gets the object, and of the arguments those that are not None.

        Raises:
            InvalidInput: the object cannot become one, or an argument has no meaning for it.
        """
        if classes is not None and cls.says_classes:
            raise InvalidInput(cls.says_classes)
        named = {"schema": schema, "name": name, "task": task, "classes": classes}
        make: Callable[..., Self] = cls
        return make(obj, **{argument: value for argument, value in named.items() if value is not None})

    @abstractmethod
    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803 - the ecosystem's name
        """Train on `X` (rows) and `y` (one value per row); learns the schema unless one was given.

        Raises:
            InvalidInput: this kind of model comes trained.
        """

    @abstractmethod
    def predict(self, X: Any) -> Any:  # noqa: N803
        """Return one prediction per row, usually an array of shape (rows,) or (rows, outputs).

        Anything that `models.outputs.predictions_of` reads is allowed, such as a dict of arrays. Exceptions of the
        model are passed on.
        """

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803, ARG002 - for models that can
        """Return the probabilities of `classes`: shape (rows, classes), or a list of such arrays, one per output.

        Raises:
            ModelFailed: this model has none (`has_probabilities` is False).
        """
        raise ModelFailed(f"the model {self.name!r} has no probabilities; ask for predictions only")

    @property
    def has_probabilities(self) -> bool:
        """Whether `predict_proba` works."""
        return False

    @property
    def classes(self) -> list[Any] | None:
        """The labels in the order of the columns of `predict_proba`, as plain Python values; None if unknown."""
        return None

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The outputs that the model itself names, as far as it knows their types and shapes; empty if it names none.

        A single one is what `predict` answers; of several, it answers a dict by name.
        """
        return ()

    def check_fitted(self) -> None:  # noqa: B027 - most kinds of model come trained, and have nothing to check
        """Check that the model was trained. `save` and the trial of a version call it.

        Raises:
            InvalidInput: it was not, or a part of it was not; the message says which, and what to do.
        """

    def to_input(self, rows: Rows) -> Any:
        """Return checked rows in the container that `predict` takes."""
        return (self.schema or FeatureSchema.open()).to_input(rows)

    def save(self, folder: str | Path) -> Manifest:
        """Write the artifact into `folder`, which must not exist or be empty; all or nothing.

        Raises:
            ArtifactUnsupported: something in the model cannot be stored; the message names it.
            InvalidInput: the model was never fitted.
            StorageFailed: the folder is in use, or the disk cannot be written.
        """
        return save_artifact(self, Path(folder))

    @classmethod
    def load(cls, folder: str | Path, *, trusted: Sequence[PublicKey] = ()) -> Self:
        """Load a model that `save` wrote; see `load_artifact`.

        Raises:
            ArtifactUnsupported: the folder holds another kind of model than this class.
        """
        model = load_artifact(Path(folder), trusted=trusted)
        if not isinstance(model, cls):
            raise ArtifactUnsupported(f"{folder} holds a {type(model).__name__}, not a {cls.__name__}")
        return model

    @abstractmethod
    def write_payload(self, folder: Path) -> bool:
        """Write the model's files (not the manifest) into the empty `folder`; True when loading them needs trust."""

    @classmethod
    @abstractmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:
        """Build the model from verified files.

        Raises:
            ArtifactUntrusted: that would run code or build types beyond the safe list, and `may_run_code` is False.
        """


def save_artifact(model: Model, folder: Path) -> Manifest:
    """Write `model` as an artifact into `folder`, which must not exist or be empty; all or nothing."""
    if "__main__" in model.class_id or "<locals>" in model.class_id:
        raise ArtifactUnsupported(
            f"the adapter {type(model).__name__} is defined in a script or a function; move it to the top level of a "
            "module that can be imported where the model is loaded"
        )
    model.check_fitted()
    with new_folder(folder) as draft:
        carries_code = model.write_payload(draft) or is_outside(model.class_id)
        return seal(
            draft,
            framework=model.framework,
            class_id=model.class_id,
            task=model.task,
            name=model.name,
            schema=model.schema.to_json() if model.schema else {},
            carries_code=carries_code,
            environment=capture(model.libraries, used_modules(model, draft)),
        )


def load_artifact(folder: Path, *, trusted: Sequence[PublicKey]) -> Model:
    """Verify the artifact in `folder`, then build the model. Nothing in it runs before it is verified.

    Args:
        trusted: keys whose signature allows an artifact to bring code.

    Raises:
        ArtifactCorrupt: bytes are missing, extra or changed.
        ArtifactUntrusted: it carries code and no trusted key signed it.
        ArtifactUnsupported: a format version, kind of model or type that this build cannot load.
        EnvironmentMismatch: a distribution that it needs is missing, or has another major version.
    """
    manifest = verify_artifact(folder)
    may_run_code = is_trusted(folder, trusted)
    if manifest.carries_code and not may_run_code:
        raise ArtifactUntrusted(
            f"the model {manifest.name!r} ({manifest.framework}) carries code and is not signed by a key this platform "
            "trusts; register it with a key that may bring code, so that the platform signs it"
        )
    for difference in compare(manifest.environment, manifest.name):
        _log.warning("the model %r may answer otherwise than where it was saved: %s", manifest.name, difference)
    try:
        model: Model = catalog.adapter_of(manifest.class_id).read_payload(folder, manifest, may_run_code=may_run_code)
    except StreambError:
        raise
    except ImportError as error:
        raise ArtifactUnsupported(
            f"the model {manifest.name!r} needs something that is not installed here: {error}"
        ) from error
    except KeyboardInterrupt:  # Ctrl-C
        raise
    except BaseException as error:  # readers of damaged or foreign files raise almost anything, and own code all
        raise ArtifactCorrupt(
            f"the files of the model {manifest.name!r} cannot be loaded: {words_of(error)}"
        ) from error
    model.name, model.task = manifest.name, manifest.task  # type: ignore[assignment]  # the manifest checked it
    inputs = manifest.signature.get("inputs") or manifest.schema
    model.schema = FeatureSchema.from_json(inputs) if inputs else None
    return model


def _not_a_model(obj: Any) -> str:
    if isinstance(obj, type):
        return f"{obj.__name__} is a class; wrap an object of it: Model.wrap({obj.__name__}(…))"
    if isinstance(obj, str | Path):
        suffixes = [suffix for adapter in catalog.adapters() for suffix in adapter.file_suffixes]
        return f"a path must end in {' or '.join(suffixes)}, got {str(obj)!r}"
    return (
        f"a {type(obj).__name__} cannot become a Model: give a scikit-learn estimator or pipeline that predicts or "
        "transforms, a torch.nn.Module, the path of an .onnx file, a model of another library that docs/models.md "
        "lists, an object with a predict method, or a function of the rows alone"
    )
