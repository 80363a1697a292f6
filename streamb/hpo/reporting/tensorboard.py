"""Writes a study for TensorBoard: score and best over trials, and every trial in its HPARAMS table.

    tensorboard --logdir FOLDER

The files are written by tensorboardX, which comes with `ray[tune]`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from streamb.errors import ConfigError
from streamb.hpo.study.study import OptimizationResult, StudyView, TrialResult, best_of, plain_parameters


class TensorBoardLog:
    """Watches a study and writes event files: `study` with the curves, and a folder per trial with its parameters.

    Args:
        folder: where to write; use a new one for each study, as TensorBoard draws everything in it.

    Raises:
        ConfigError: tensorboardX is not installed; the message says how to install it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer = _writer(folder / "study")
        self._objective = "score"

    def began(self, study: StudyView) -> None:
        self._objective = study.objective
        for result in study.finished:
            self._write(result)

    def trial(self, result: TrialResult, best: TrialResult | None, left_s: float | None) -> None:  # noqa: ARG002 - the protocol
        self._write(result)
        if best is not None and best.score is not None:
            self._writer.add_scalar(f"{self._objective}/best", best.score, result.number)

    def ended(self, result: OptimizationResult) -> None:  # noqa: ARG002 - the protocol
        self.close()

    def close(self) -> None:
        """Flush and close the curves."""
        self._writer.close()

    def _write(self, result: TrialResult) -> None:
        self._writer.add_scalar("seconds", result.seconds, result.number)
        if result.score is None:
            return
        self._writer.add_scalar(f"{self._objective}/trial", result.score, result.number)
        for fold, score in enumerate(result.fold_scores):
            self._writer.add_scalar(f"{self._objective}/fold {fold}", score, result.number)
        self._writer.flush()
        one = _writer(self._folder / f"trial-{result.number:04d}")
        parts = _hyperparameters(result.parameters, self._objective)
        for part in parts:
            one.file_writer.add_summary(part)
        one.add_scalar(self._objective, result.score, 0)
        one.close()


def write_tensorboard(result: OptimizationResult, folder: Path) -> None:
    """Write a study that has ended.

    Raises:
        ConfigError: tensorboardX is not installed.
    """
    log = TensorBoardLog(folder)
    log.began(_view(result))
    for place, trial in enumerate(result.trials):
        log.trial(trial, best_of(result.trials[: place + 1], result.direction), None)
    log.close()


def _view(result: OptimizationResult) -> StudyView:
    names = tuple(dict.fromkeys(name for trial in result.trials for name in trial.parameters))
    return StudyView(
        name="", objective=result.objective, direction=result.direction, parameters=names, n_trials=len(result.trials),
        folds=1, deadline_s=None, workers=1, executor="", seed=result.seed,
    )  # fmt: skip


def _hyperparameters(parameters: Mapping[str, Any], objective: str) -> tuple[Any, ...]:
    from tensorboardX.summary import hparams

    plain = {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in plain_parameters(parameters).items()
    }
    return tuple(hparams(plain, {objective: 0.0}))


def _writer(folder: Path) -> Any:
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise ConfigError(
            "tensorboardX writes TensorBoard's files and is not installed: pip install tensorboardX"
        ) from error
    return SummaryWriter(str(folder))
