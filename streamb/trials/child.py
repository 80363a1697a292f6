"""The process of a trial: `python -m streamb.trials.child FOLDER` loads one artifact and asks it.

FOLDER holds `job.json`; the answer is `result.json` in the same folder. It ends at once when that is written, whatever
threads the model has started.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from streamb.clock import SystemClock
from streamb.crypto import PublicKey
from streamb.errors import InvalidInput, ModelFailed, StreambError, TrialFailed, words_of
from streamb.models.example import MOST_GOLDEN, MOST_TRIED, Example
from streamb.models.model import Model, load_artifact
from streamb.models.schema import FeatureSchema
from streamb.models.shown_outputs import outputs_of
from streamb.models.signature import Output, Signature
from streamb.store.files import replace_file
from streamb.trials.asking import Answers, ask
from streamb.trials.probing import is_row_wise, with_optional_columns

JOB_FILE: Final = "job.json"
RESULT_FILE: Final = "result.json"

_PROBING_S: Final = 0.5
_MESSAGE_LENGTH: Final = 1_000


def main(folder: Path) -> None:
    """Do the job in `folder`."""
    try:
        found = _tried(json.loads((folder / JOB_FILE).read_bytes()))
    except StreambError as error:
        found = {"refused": {"code": error.code, "message": error.message, "details": dict(error.details)}}
    except BaseException as error:  # a model may raise anything, even SystemExit
        message = f"it raised {words_of(error, _MESSAGE_LENGTH)}"
        found = {"refused": {"code": TrialFailed.code, "message": message, "details": {}}}
    replace_file(folder / RESULT_FILE, json.dumps(found, default=str).encode())


def _tried(job: Mapping[str, Any]) -> dict[str, Any]:
    began = time.perf_counter()
    trusted = [PublicKey(bytes.fromhex(key)) for key in job["trusted"]]
    model = load_artifact(Path(job["artifact"]), trusted=trusted)
    load_s = time.perf_counter() - began
    model.check_fitted()
    example = None if job["example"] is None else Example.from_json(job["example"])
    learned = {"signature": _signature(model).to_json()} if example is None else _asked(model, example, load_s)
    return {
        "load_s": load_s,
        "python": platform.python_version(),
        "modules": sorted({name.partition(".")[0] for name in sys.modules}),
        "memory_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "has_probabilities": model.has_probabilities,
        **learned,
    }


def _asked(model: Model, example: Example, load_s: float) -> dict[str, Any]:
    instances = example.instances[:MOST_TRIED]
    if model.schema is None or model.schema.is_open:
        model.schema = _learned_schema(example.instances)
    try:
        whole = ask(model, instances)
        again = ask(model, instances)
    except InvalidInput as error:
        raise TrialFailed(f"the example does not fit the model: {error.message}", **error.details) from error
    except ModelFailed as error:
        raise TrialFailed(f"it cannot answer its example: {error.message}", **error.details) from error
    deterministic = example.deterministic is not False and again.differs_from(whole) is None
    row_wise = golden = None
    if deterministic:
        _compare(example, whole)
        row_wise = is_row_wise(model, instances, whole)
        if model.schema is not None and not model.schema.is_open:
            limit_s = max(_PROBING_S, load_s / 2)
            model.schema = with_optional_columns(model, model.schema, instances, SystemClock(), limit_s)
        golden = _golden(model, instances) if example.keep else None
    return {
        "rows": len(instances),
        "deterministic": deterministic,
        "row_wise": row_wise,
        "golden": golden,
        "signature": _signature(model, whole).to_json(),
    }


def _compare(example: Example, whole: Answers) -> None:
    """Compare the answers with those that the model gave where it was made."""
    if example.predictions is None:
        return
    known = min(len(example.predictions), MOST_TRIED)
    found = whole.taken(range(known)).differs(
        example.predictions[:known], example.probabilities and example.probabilities[:known]
    )
    if found is not None:
        what, difference = found
        raise TrialFailed(
            f"it answers otherwise than where it was made ({what} of {difference}); it depends on something that is "
            "not saved with it, or on the type of its input: give the example as the model gets its rows",
            **difference._asdict(),
        )


def _golden(model: Model, instances: list[Any]) -> dict[str, Any]:
    kept = instances[:MOST_GOLDEN]
    answers = ask(model, kept)  # alone, as every replica will ask
    return Example(kept, answers.predictions, answers.probabilities).to_json()


def _learned_schema(instances: list[Any]) -> FeatureSchema | None:
    try:
        return FeatureSchema.learn(instances)
    except InvalidInput:
        return None


def _signature(model: Model, answers: Answers | None = None) -> Signature:
    labels = model.classes
    if answers is not None:
        outputs = outputs_of(answers.answer.predictions, answers.answer.probabilities, model.outputs)
    else:
        chances = Output("probabilities", "tensor", "float64", (None if labels is None else len(labels),))
        outputs = (*model.outputs, chances) if model.outputs and model.has_probabilities else model.outputs
    classes = None if labels is None else tuple(tuple(one) if isinstance(one, list) else one for one in labels)
    return Signature(model.schema or FeatureSchema.open(), outputs, classes)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    sys.stderr.flush()
    os._exit(0)
