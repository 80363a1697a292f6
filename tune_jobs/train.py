"""The training job: a CSV file in, a scored and registered version of a scikit-learn model out.

    python -m tune_jobs.train --csv data.csv --target label --model-id churn --version 1.0.0 --deploy immediate
    streamb jobs submit -- python -m tune_jobs.train --csv …
    ray job submit --working-dir . -- python -m tune_jobs.train --csv …

It delivers to the platform at `--url` or `ML_URL` (with `ML_API_KEY`), else to the one on the state directory; with
`--output DIR` it writes the artifact there instead and needs no platform, with `--dry-run` it only trains and
scores. Exit code 0: done; 1: it failed; 2: an argument is wrong.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FilePath, model_validator

from streamb.clock import Clock
from streamb.errors import StreambError
from streamb.models import Model
from tune_jobs import pipelines
from tune_jobs.arguments import JobArgs, ModelId, Version, WrongArgument, run_job
from tune_jobs.platform import Delivery, JobSurroundings, deliver, write_artifact
from tune_jobs.progress import Progress
from tune_jobs.scoring import score
from tune_jobs.table import Table, Task, read_table

PROGRAM: Final = "python -m tune_jobs.train"


class Args(JobArgs):
    """What the job may be told, besides what every job may."""

    csv: FilePath = Field(description="the data; its first line names the columns")
    target: str = Field(description="the column to predict")
    model_id: ModelId = Field(description="register the model under this id")
    version: Version = Field(description="semantic version, as 1.0.0")
    estimator: Literal["auto", "logistic", "ridge", "forest", "gradient_boosting", "neighbors"] = Field(
        "auto", description="auto is logistic for classes, ridge for quantities"
    )
    param: tuple[str, ...] = Field((), description="NAME=VALUE of the estimator, as C=0.5; may be repeated")
    test_share: float = Field(0.2, ge=0.05, le=0.9, description="share of the rows kept for scoring, 0.05 to 0.9")
    seed: int = Field(0, ge=0, le=2**32 - 1, description="of the split and the estimator")
    dry_run: bool = Field(default=False, description="train and score, then forget the model")

    @model_validator(mode="after")
    def _one_destination(self) -> Args:
        places = ("url", "state-dir", "output", "dry-run")
        chosen = [f"--{name}" for name in places if getattr(self, name.replace("-", "_"))]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} exclude each other: choose where the model goes")
        if self.deploy and (self.output or self.dry_run):
            raise ValueError("--deploy needs a platform: leave out --output and --dry-run")
        self.check_output()
        return self


@dataclass(frozen=True, slots=True)
class Trained:
    """A fitted pipeline and what is known of it."""

    model: Model
    estimator: str
    params: dict[str, Any]
    scores: dict[str, float]


def main(argv: Sequence[str] | None = None, clock: Clock | None = None) -> int:
    """Run the job; returns the exit code."""
    about = "Train a model on a CSV file and register it."
    return run_job(run, Args, argv, clock, program=PROGRAM, description=about)


def run(args: Args, progress: Progress) -> int:
    """Read, train, score, deliver; returns the exit code.

    Raises:
        WrongArgument: an argument does not fit the data.
        StreambError: anything else that went wrong.
    """
    task = None if args.task == "auto" else args.task
    table = read_table(args.csv, args.target, task=task, drop=args.drop, category=args.category, text=args.text)
    kinds = ", ".join(f"{f.name} ({f.kind}{', with gaps' if f.optional else ''})" for f in table.schema.features)
    progress.say(f"read {len(table.frame)} rows, {len(table.schema.features)} columns from {args.csv}: {kinds}")
    for note in table.notes:
        progress.say(note)
    trained = train(args, table, progress)
    if args.dry_run:
        progress.say("done; nothing is registered, as asked")
    elif args.output is not None:
        write(args, args.output, table, trained, progress)
    else:
        register(args, table, trained, progress)
    return 0


def train(args: Args, table: Table, progress: Progress) -> Trained:
    """Fit on one share of the rows and score on the other."""
    estimator = pipelines.choose(args.estimator, table.task)
    params = pipelines.parse_params(args.param)
    pipeline = pipelines.build_pipeline(table, estimator, params, args.seed)
    training, testing = split(table.target, table.task, args.test_share, args.seed)
    progress.say(f"training {estimator} for {table.task} on {len(training)} rows")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _fit(pipeline, table, training, args)
        scores = score(pipeline, table.frame.iloc[testing], table.target[testing], table.task)
    for line in dict.fromkeys(str(warning.message).splitlines()[0] for warning in caught):
        progress.say(f"warning: {line}")
    shown = ", ".join(f"{name} {value:g}" for name, value in scores.items())
    progress.say(f"on {len(testing)} rows kept apart: {shown}")
    counts = {"training_rows": float(len(training)), "test_rows": float(len(testing))}
    model = Model.wrap(pipeline, schema=table.schema, name=args.name or args.model_id)
    return Trained(model, estimator, pipelines.effective_params(pipeline), {**scores, **counts})


def _fit(pipeline: Any, table: Table, rows: NDArray[np.intp], args: Args) -> None:
    try:
        pipeline.fit(table.frame.iloc[rows], table.target[rows])
    except (ValueError, TypeError) as error:
        if args.param and "parameter of" in str(error):  # scikit-learn's words for a value that is not allowed
            raise WrongArgument(f"--param {' '.join(args.param)}: {error}") from error
        raise StreambError(f"the {args.estimator} model cannot be trained on this data: {error}") from error


def split(target: NDArray[Any], task: Task, test_share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Row numbers for training and for testing; classes keep their shares where each has rows enough."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(target))
    shares = None
    if task == "classification":
        counts = np.unique(target, return_counts=True)[1]
        smaller_side = min(test_share, 1 - test_share) * len(target)
        shares = target if counts.min() > 1 and smaller_side >= len(counts) else None
    training, testing = train_test_split(rows, test_size=test_share, random_state=seed, stratify=shares)
    return training, testing


def report(args: Args, table: Table, trained: Trained) -> dict[str, Any]:
    """What is recorded with the version: scores, parameters, and where it comes from."""
    return {
        "metadata": {
            "metrics": trained.scores,
            "hyperparameters": trained.params,
            "trained_by": "tune_jobs.train",
            "task": table.task,
            "estimator": trained.estimator,
            "target": args.target,
            "data_file": args.csv.name,
        },
        "lineage": {"job_id": JobSurroundings().any_job_id, "data_digest": table.digest},
    }


def write(args: Args, folder: Path, table: Table, trained: Trained, progress: Progress) -> None:
    """Write `model/`, the artifact, and `report.json` into a new folder."""
    about = {"model_id": args.model_id, "version": args.version}
    write_artifact(folder, trained.model, {**about, **report(args, table, trained)}, progress)


def register(args: Args, table: Table, trained: Trained, progress: Progress) -> None:
    """Register the version, and deploy it when asked to."""
    told = args.model_dump(include={field.name for field in fields(Delivery)})
    deliver(Delivery(**told), trained.model, report(args, table, trained), progress)


if __name__ == "__main__":
    sys.exit(main())
