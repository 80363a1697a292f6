"""A text pipeline of Hugging Face transformers, stored as `save_pretrained` writes it: safetensors and JSON, no code.

It is loaded from the artifact's files only; nothing is downloaded. Needs the extra `transformers`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from streamb.errors import ArtifactCorrupt, ArtifactUnsupported, InvalidInput
from streamb.models.manifest import Manifest
from streamb.models.model import Model, Task
from streamb.models.schema import FeatureSchema

_FOLDER: Final = "pipeline"
_DESCRIPTION: Final = "pipeline.json"
_TASKS: Final = (
    "feature-extraction", "fill-mask", "text-classification", "text-generation", "token-classification",
)  # fmt: skip
_PLAIN_FILES: Final = frozenset({".json", ".safetensors", ".txt", ".jinja", ".model"})
_OF_THE_PLACE: Final = ("is_local", "local_files_only", "name_or_path")
"""What a tokenizer notes about where it was loaded from."""
_PARAMETERS: Final = ("_preprocess_params", "_forward_params", "_postprocess_params")


class TransformersModel(Model):
    """A text pipeline; a row is a text.

    A classifier answers the label of the highest score, and the scores of all labels as probabilities. Any other
    pipeline answers what it answers for each text.

    Attributes:
        pipeline: the pipeline itself.
    """

    class_id: ClassVar[str] = "transformers"
    framework: ClassVar[str] = "transformers"
    libraries: ClassVar[tuple[str, ...]] = ("numpy", "safetensors", "tokenizers", "torch", "transformers")
    says_classes: ClassVar[str] = "a pipeline says its classes itself, in its model's config.id2label"
    takes: ClassVar[tuple[str, ...]] = ("transformers.pipelines.base.Pipeline",)

    def __init__(
        self, pipeline: Any, *, schema: FeatureSchema | None = None, name: str | None = None, task: Task | None = None
    ) -> None:
        _check_storable(pipeline)
        self.pipeline = pipeline
        self.schema = schema or FeatureSchema.texts()
        self.name = name or type(pipeline.model).__name__
        self.task = task or ("classification" if _has_one_label(pipeline) else "other")

    def fit(self, X: Any, y: Any = None) -> Self:  # noqa: N803, ARG002 - always refuses
        raise InvalidInput("a pipeline comes trained; train its model with transformers and wrap the new pipeline")

    def predict(self, X: Any) -> Any:  # noqa: N803
        """See `Model.predict`; a pipeline that is no classifier answers a list with one entry for each text."""
        texts = _texts(X)
        found = list(self.pipeline(texts))
        if self.pipeline.task == "fill-mask" and len(texts) == 1:
            found = [found]  # only this pipeline answers a list of one text without a list around it
        return np.array([answer["label"] for answer in found]) if self.has_probabilities else found

    def predict_proba(self, X: Any) -> NDArray[Any]:  # noqa: N803
        if not self.has_probabilities:
            return super().predict_proba(X)
        scored = [{one["label"]: one["score"] for one in row} for row in self.pipeline(_texts(X), top_k=None)]
        return np.array([[row[label] for label in self.classes or ()] for row in scored], np.float64)

    @property
    def has_probabilities(self) -> bool:
        return self.task == "classification" and _has_one_label(self.pipeline)

    @property
    def classes(self) -> list[Any] | None:
        if not self.has_probabilities:
            return None
        labels = self.pipeline.model.config.id2label
        return [labels[index] for index in sorted(labels)]

    def write_payload(self, folder: Path) -> bool:
        self.pipeline.save_pretrained(str(folder / _FOLDER))
        notes = folder / _FOLDER / "tokenizer_config.json"
        kept = {
            name: value for name, value in json.loads(notes.read_text("utf-8")).items() if name not in _OF_THE_PLACE
        }
        notes.write_text(json.dumps(kept, sort_keys=True), "utf-8")
        parameters = {name: getattr(self.pipeline, name) for name in _PARAMETERS}
        body = {"task": self.pipeline.task, "parameters": parameters}
        (folder / _DESCRIPTION).write_text(json.dumps(body, sort_keys=True, default=_refused), "utf-8")
        return False

    @classmethod
    def read_payload(cls, folder: Path, manifest: Manifest, *, may_run_code: bool) -> Self:  # noqa: ARG003
        import transformers

        body = json.loads((folder / _DESCRIPTION).read_text("utf-8"))
        odd = [path.name for path in (folder / _FOLDER).rglob("*") if path.suffix not in _PLAIN_FILES]
        if odd or body["task"] not in _TASKS:
            raise ArtifactCorrupt(f"no text pipeline holds {', '.join(odd) or body['task']!r}")
        place = str(folder / _FOLDER)
        pipeline = transformers.pipeline(
            body["task"], model=place, tokenizer=place, device="cpu", trust_remote_code=False
        )
        for name in _PARAMETERS:
            setattr(pipeline, name, body["parameters"][name])
        return cls(pipeline)


def _check_storable(pipeline: Any) -> None:
    if pipeline.task not in _TASKS or pipeline.tokenizer is None:
        raise InvalidInput(
            f"pipelines of the task {pipeline.task!r} are not supported, only {', '.join(_TASKS)}; register an object "
            "of a class of your own whose predict calls the pipeline, or the model as a torch module"
        )
    own = [type(part) for part in (pipeline.model, pipeline.tokenizer, pipeline) if not _is_librarys(type(part))]
    if own:
        raise InvalidInput(
            f"{own[0].__name__} is not a class of transformers (trust_remote_code); code from a hub is never loaded. "
            "Register the model as a torch module"
        )


def _is_librarys(cls: type) -> bool:
    return cls.__module__.startswith("transformers.") and not cls.__module__.startswith("transformers_modules.")


def _has_one_label(pipeline: Any) -> bool:
    """Whether it answers exactly one of several labels for each text, as it does unless it is told otherwise."""
    config = pipeline.model.config
    plain = not any(getattr(pipeline, "_postprocess_params", {}).values())
    single = config.num_labels > 1 and config.problem_type != "multi_label_classification"
    return bool(pipeline.task == "text-classification" and single and plain)


def _texts(rows: Any) -> list[str]:
    return [str(row) for row in (rows.tolist() if hasattr(rows, "tolist") else rows)]


def _refused(value: Any) -> Any:
    raise ArtifactUnsupported(
        f"a parameter of the pipeline is a {type(value).__name__}, which no artifact can hold; give it to the pipeline "
        "as a number or a string"
    )
