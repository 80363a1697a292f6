"""Runs the trials of a study on a cluster, through Ray Tune."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import cloudpickle
import ray
from ray import tune
from ray.tune.search import Searcher

from streamb.clock import Clock
from streamb.cluster.session import RaySession, join_ray, start_ray
from streamb.cluster.tune.gp_searcher import Ahead, GPSearcher, Waiting
from streamb.config import temporary_environment, this_environment
from streamb.errors import InvalidInput
from streamb.hpo.study.evaluation import Answer, Evaluator, Task, packed_task
from streamb.hpo.study.executing import Source, is_over, too_long
from streamb.hpo.study.running import cpus
from streamb.hpo.study.study import Outcome

__all__ = ["GPSearcher", "TuneExecutor"]

_METRIC: Final = "score"
_ENDLESS: Final = 10**9
_MOST_WAITING: Final = 4
_GRACE_S: Final = 1.0
"""Seconds before the deadline at which trials are ended, as Tune itself takes a while to end."""
_TUNE: Final = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # three files a trial, that nobody reads: the study keeps its own
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


class TuneExecutor:
    """Evaluates the tasks of a source as trials of Ray Tune.

    The model and the data go into the object store once; actors are reused; each trial has one CPU.

    Attributes:
        workers: the largest number of trials at the same time; by default one per CPU of the cluster.

    Args:
        evaluator: evaluates a task in an actor.
        clock: measures deadlines.
        workers: number of trials at the same time; None: as many as the cluster has CPUs.
        address: address of the cluster; None: the one this process is connected to, or else Ray is started on this
            machine and stopped by `close`.

    Raises:
        StartFailed: nothing answers at the address, or Ray does not start.
    """

    name = "ray"

    def __init__(
        self, evaluator: Evaluator, clock: Clock, *, workers: int | None = None, address: str | None = None
    ) -> None:
        self._evaluator, self._clock = evaluator, clock
        self._session = None if ray.is_initialized() else _connect(address)
        self.workers = workers or max(1, _cluster_cpus())
        self._folder = Path(tempfile.mkdtemp(prefix="streamb-tune-"))

    def run(self, source: Source) -> None:
        searcher = _TaskSearcher(source, self._clock)
        watch = _Watch(searcher)
        tuner = tune.Tuner(
            tune.with_resources(self._trainable(), {"cpu": 1}),
            tune_config=tune.TuneConfig(
                metric=_METRIC,
                mode="max",
                search_alg=searcher,
                num_samples=_ENDLESS,
                max_concurrent_trials=self.workers + self._waiting(),
                reuse_actors=True,
                trial_dirname_creator=lambda trial: trial.trial_id,
            ),
            run_config=tune.RunConfig(
                name=uuid.uuid4().hex[:8],
                storage_path=str(self._folder),
                stop=_Deadline(source, watch),
                callbacks=[watch],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        try:
            with temporary_environment(**_TUNE), warnings.catch_warnings(action="ignore"), _silent("ray.tune"):
                tuner.fit()
            if searcher.is_unfinished and not is_over(source, _GRACE_S):
                # Tune handles Ctrl-C itself, to release its resources on the cluster; then the study handles it
                raise KeyboardInterrupt
        finally:
            watch.close()
            searcher.close()

    def _trainable(self) -> Any:
        try:
            return tune.with_parameters(_Trial, evaluator=self._evaluator)
        except TypeError as error:
            said = str(error).splitlines()[0]
            raise InvalidInput(f"this cannot be sent to another process ({said}); use executor='sequential'") from error

    def _waiting(self) -> int:
        """Number of trials that wait for a CPU: Tune gives an actor another trial only if one waits, and else ends it.

        With more CPUs than workers, waiting trials would run; Tune then keeps one actor.
        """
        return min(self.workers, _MOST_WAITING) if self.workers >= _cluster_cpus() else 0

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._session is not None:
            self._session.leave()


@contextmanager
def _silent(name: str) -> Iterator[None]:
    """Silence a logger in this context: the study reports the trials itself, and Tune's files are not needed."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _connect(address: str | None) -> RaySession:
    return start_ray(cpus()) if address is None else join_ray(address, this_environment())


def _cluster_cpus() -> int:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1))


class _TaskSearcher(Searcher):
    """Gives Tune the tasks of a source."""

    def __init__(self, source: Source, clock: Clock) -> None:
        super().__init__(metric=_METRIC, mode="max")
        self._source, self._clock = source, clock
        self._ahead: Ahead[Task | None] = Ahead(source.next)
        self._running: dict[str, tuple[Task, float | None]] = {}
        self._exhausted = False

    @property
    def is_unfinished(self) -> bool:
        """Return whether tasks remain to be started or finished."""
        return bool(self._running) or not self._exhausted

    def suggest(self, trial_id: str) -> Any:
        task = self._ahead.take()
        if isinstance(task, Waiting):
            return None
        if task is None:
            self._exhausted = True
            return Searcher.FINISHED
        self._running[trial_id] = (task, None)
        return {"task": packed_task(task)}

    def started(self, trial_id: str) -> None:
        """Record that a trial has an actor now, so that its time starts."""
        if trial_id in self._running:
            self._running[trial_id] = (self._running[trial_id][0], self._clock.monotonic())

    def is_late(self, trial_id: str) -> bool:
        """Return whether a trial has exceeded its time limit."""
        limit = self._source.limit_s
        return limit is not None and trial_id in self._running and self._seconds(self._running[trial_id][1]) >= limit

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: FBT001, FBT002 - Tune's signature
        if trial_id not in self._running:
            return
        late, limit = self.is_late(trial_id), self._source.limit_s
        task, began = self._running.pop(trial_id)
        seconds = self._seconds(began)
        answer: Answer | None = (result or {}).get("answer")
        if answer is not None:
            self._source.finished(task, answer)
        elif not error or is_over(self._source, _GRACE_S):
            self._source.cut(task, seconds)
        elif late and limit is not None:
            self._source.finished(task, too_long(limit, seconds))
        else:
            self._source.finished(task, Answer(Outcome.FAILED, (), seconds, "the worker process died"))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: a task has one result, at its end."""

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        """Do nothing: the study has its own search space."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a study resumes from its own files."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: nothing was saved."""

    def close(self) -> None:
        """Report running tasks as cut off, and discard tasks prepared ahead."""
        self._ahead.close()
        for task, began in self._running.values():
            self._source.cut(task, self._seconds(began))
        self._running.clear()

    def _seconds(self, began: float | None) -> float:
        return 0.0 if began is None else self._clock.monotonic() - began

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its configuration before it begins; it is never restored
        return {"_metric": self._metric, "_mode": self._mode}


class _Watch(tune.Callback):
    """Kills actors whose time is over: Python cannot interrupt them, and Tune waits long for one that hangs.

    Only an error makes Tune start another actor for the next trial: one that refuses to be used again costs that trial.
    """

    def __init__(self, searcher: _TaskSearcher) -> None:
        self._searcher = searcher
        self._actors: dict[str, Any] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002 - Tune's
        self._searcher.started(trial.trial_id)
        self._actors[trial.trial_id] = trial.temporary_state.ray_actor

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
        self._actors.pop(trial.trial_id, None)

    on_trial_error = on_trial_complete

    def on_step_begin(self, iteration: int, trials: list[Any], **_: Any) -> None:  # noqa: ARG002
        self._kill([trial_id for trial_id in self._actors if self._searcher.is_late(trial_id)])

    def close(self) -> None:
        """Kill all working actors."""
        self._kill(list(self._actors))

    def _kill(self, trial_ids: Iterable[str]) -> None:
        for trial_id in trial_ids:
            actor = self._actors.pop(trial_id)
            if actor is not None:
                ray.kill(actor)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class _Deadline(tune.Stopper):
    """Ends the experiment when the source's time is over."""

    def __init__(self, source: Source, watch: _Watch) -> None:
        self._held: tuple[Source, _Watch] | None = (source, watch)

    def __call__(self, *_: Any) -> bool:
        """Return False: no single trial is stopped."""
        return False

    def stop_all(self) -> bool:
        """Return True to end; Tune then asks actors to stop and waits, so working ones are killed first."""
        if self._held is None or not is_over(self._held[0], _GRACE_S):
            return False
        self._held[1].close()
        return True

    def __getstate__(self) -> dict[str, Any]:
        return {"_held": None}


class _Trial(tune.Trainable):
    """An actor that evaluates one task after another; it is killed when one takes too long."""

    def setup(self, config: dict[str, Any], evaluator: Any = None) -> None:
        self._evaluator, self._config = evaluator, config

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Reuse this actor for the next task."""
        self._config = new_config
        return True

    def step(self) -> dict[str, Any]:
        with warnings.catch_warnings(action="ignore"):
            answer: Answer = self._evaluator(cloudpickle.loads(self._config["task"]))
        return {_METRIC: math.nan if answer.score is None else answer.score, "answer": answer, "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Do nothing: a task is short enough to be repeated."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Do nothing, as `save_checkpoint` saves nothing."""
