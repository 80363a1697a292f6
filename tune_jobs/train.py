"""The training job: a CSV file in, a scored and registered version of a scikit-learn model out.

    python -m tune_jobs.train --csv data.csv --target label --model-id churn --version 1.0.0 --deploy immediate
    streamb jobs submit -- python -m tune_jobs.train --csv …
    ray job submit --working-dir . -- python -m tune_jobs.train --csv …

It registers the model with the platform at `--url` or `ML_URL` (with `ML_API_KEY`), else with the one of the state
directory; with `--output DIR` it writes the artifact there instead and needs no platform, with `--dry-run` it only
trains and scores. Exit code 0: done; 1: it failed; 2: an argument is wrong.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FilePath, model_validator

from streamb.clock import Clock
from streamb.errors import StreambError
from streamb.models import Model
from streamb.sdk.job_options import JobOptions, ModelId, Version
from tune_jobs import pipelines
from tune_jobs.arguments import WrongArgument, run_job
from tune_jobs.platform import EXAMPLE_ROWS, deliver, provenance, write_artifact
from tune_jobs.progress import Progress
from tune_jobs.scoring import row_counts, score
from tune_jobs.table import Table, Task, table_of

MODULE: Final = "tune_jobs.train"


class Args(JobOptions):
    """The job's arguments."""

    csv: FilePath = Field(description="the data; its first line names the columns")
    target: str = Field(description="the column to predict")
    model_id: ModelId
    version: Version
    estimator: str = Field("auto", description="auto is logistic for classes, ridge for quantities; or forest, svm, …")
    param: tuple[str, ...] = Field((), description="NAME=VALUE of the estimator, as C=0.5; may be repeated")
    test_share: float = Field(0.2, ge=0.05, le=0.9, description="share of the rows kept for scoring, 0.05 to 0.9")
    dry_run: bool = Field(default=False, description="train and score, then forget the model")

    @model_validator(mode="after")
    def _one_destination(self) -> Args:
        places = ("url", "state-dir", "output", "dry-run")
        chosen = [f"--{name}" for name in places if getattr(self, name.replace("-", "_"))]
        if len(chosen) > 1:
            raise ValueError(f"{' and '.join(chosen)} exclude each other: choose where the model goes")
        if self.deploy and (self.output or self.dry_run):
            raise ValueError("--deploy needs a platform: leave out --output and --dry-run")
        return self


def main(argv: Sequence[str] | None = None, clock: Clock | None = None) -> int:
    """Run the job; return the exit code."""
    about = "Train a model on a CSV file and register it."
    return run_job(run, Args, argv, clock, program=f"python -m {MODULE}", description=about)


def run(args: Args, progress: Progress) -> int:
    """Read the data, train, score, and register or write the model; return the exit code.

    Raises:
        WrongArgument: an argument does not fit the data.
        StreambError: anything else that went wrong.
    """
    table = table_of(args, progress)
    model, report = train(args, table, progress)
    if args.dry_run:
        progress.say("done; nothing is registered, as requested")
    elif args.output is not None:
        about = {"model_id": args.model_id, "version": args.version}
        write_artifact(args.output, model, {**about, **report}, progress)
    else:
        deliver(args, model, table.frame.head(EXAMPLE_ROWS), report, progress)
    return 0


def train(args: Args, table: Table, progress: Progress) -> tuple[Model, dict[str, Any]]:
    """Return a model fitted on one share of the rows and scored on the other, and the record for its version."""
    estimator = pipelines.choose(args.estimator, table.task)
    params = pipelines.parse_params(args.param)
    pipeline = pipelines.build_pipeline(table, estimator, params, args.seed)
    training, testing = split(table.target, table.task, args.test_share, args.seed)
    progress.say(f"training {estimator} for {table.task} on {len(training)} rows")
    with warnings.catch_warnings(record=True, action="always") as caught:
        _fit(pipeline, table, training, args)
        scores = score(pipeline, table, testing, progress)
    for line in dict.fromkeys(str(warning.message).splitlines()[0] for warning in caught):
        progress.say(f"warning: {line}")
    report = provenance(
        args,
        table,
        by=MODULE,
        metrics={**scores, **row_counts(training, testing)},
        hyperparameters=pipelines.effective_params(pipeline),
        estimator=estimator,
    )
    return Model.wrap(pipeline, schema=table.schema, name=args.name or args.model_id), report


def _fit(pipeline: Any, table: Table, rows: NDArray[np.intp], args: Args) -> None:
    try:
        pipeline.fit(table.frame.iloc[rows], table.target[rows])
    except (ValueError, TypeError) as error:
        if args.param and "parameter of" in str(error):  # scikit-learn's words for a value that is not allowed
            raise WrongArgument(f"--param {' '.join(args.param)}: {error}") from error
        raise StreambError(f"the {args.estimator} model cannot be trained on this data: {error}") from error


def split(target: NDArray[Any], task: Task, test_share: float, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the row numbers for training and testing; classes keep their shares where each has enough rows."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(target))
    shares = None
    if task == "classification":
        counts = np.unique(target, return_counts=True)[1]
        smaller_side = min(test_share, 1 - test_share) * len(target)
        shares = target if counts.min() > 1 and smaller_side >= len(counts) else None
    training, testing = train_test_split(rows, test_size=test_share, random_state=seed, stratify=shares)
    return training, testing


if __name__ == "__main__":
    sys.exit(main())
