"""Runs the trials of a study on a cluster, through Ray Tune; and `GPSearcher` for experiments of your own."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import ray
from ray import tune
from ray.tune.search import Searcher

from streamb.clock import Clock, SystemClock
from streamb.cluster.gp_searcher import Ahead, GPSearcher, Waiting
from streamb.cluster.names import NAMESPACE
from streamb.config import temporary_environment
from streamb.errors import StartFailed
from streamb.hpo.evaluation import Answer, Evaluator, Task, quiet
from streamb.hpo.executing import Source, too_long
from streamb.hpo.running import cpus
from streamb.hpo.study import Outcome

__all__ = ["GPSearcher", "TuneExecutor"]

_METRIC: Final = "score"
_ENDLESS: Final = 10**9
_MOST_WAITING: Final = 4
_GRACE_S: Final = 1.0
"""Trials end so much before the deadline: Tune takes a while to end itself."""
_QUIET: Final = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # three files a trial, that nobody reads: the study keeps its own
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


class TuneExecutor:
    """Evaluates the tasks of a source as trials of Ray Tune.

    What is common to all tasks (model and data) goes into the object store once; actors are used again; each trial has
    one CPU.

    Attributes:
        workers: trials at the same time; by default one per CPU of the cluster.

    Args:
        evaluator: evaluates a task, in an actor.
        clock: for deadlines.
        workers: None: as many as the cluster has CPUs.
        address: of the cluster; None: the one this process is connected to, else Ray is started on this machine and
            stopped again by `close`.

    Raises:
        StartFailed: nothing answers at the address, or Ray does not start.
    """

    name = "ray"

    def __init__(
        self, evaluator: Evaluator, clock: Clock, *, workers: int | None = None, address: str | None = None
    ) -> None:
        self._evaluator, self._clock = evaluator, clock
        self._started = not ray.is_initialized()
        if self._started:
            _connect(address)
        self.workers = workers or max(1, _cluster_cpus())
        self._folder = Path(tempfile.mkdtemp(prefix="streamb-tune-"))

    def run(self, source: Source) -> None:
        searcher = _TaskSearcher(source, self._clock)
        trainable = tune.with_parameters(_Trial, evaluator=self._evaluator)
        tuner = tune.Tuner(
            tune.with_resources(trainable, {"cpu": 1}),
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
                stop=_Deadline(source),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=0),
            ),
        )
        try:
            with temporary_environment(**_QUIET), quiet(), _errors_only("ray.tune"):
                tuner.fit()
        finally:
            searcher.close()

    def _waiting(self) -> int:
        """Trials that wait for a CPU: Tune gives an actor another trial only if one waits, and else ends it.

        Where there are more CPUs than workers, trials that wait would run. Tune keeps one actor then.
        """
        return min(self.workers, _MOST_WAITING) if self.workers >= _cluster_cpus() else 0

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._started:
            ray.shutdown()


@contextmanager
def _errors_only(name: str) -> Iterator[None]:
    """A logger that says less: it would miss the files of each trial, which nobody writes."""
    log = logging.getLogger(name)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


def _connect(address: str | None) -> None:
    options: dict[str, Any] = {"namespace": NAMESPACE, "log_to_driver": False, "configure_logging": False}
    if address is None:
        options |= {"num_cpus": cpus(), "include_dashboard": False}
    try:
        with quiet():
            ray.init(address, **options)
    except Exception as error:
        where = "Ray does not start" if address is None else f"nothing answers at {address}"
        raise StartFailed(f"{where}: {error}") from error


def _cluster_cpus() -> int:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 1))


class _TaskSearcher(Searcher):
    """A source of tasks as Tune asks for them."""

    def __init__(self, source: Source, clock: Clock) -> None:
        super().__init__(metric=_METRIC, mode="max")
        self._source, self._clock = source, clock
        self._ahead: Ahead[Task | None] = Ahead(source.next)
        self._running: dict[str, tuple[Task, float]] = {}

    def suggest(self, trial_id: str) -> Any:
        task = self._ahead.take()
        if isinstance(task, Waiting):
            return None
        if task is None:
            return Searcher.FINISHED
        self._running[trial_id] = (task, self._clock.monotonic())
        left = self._source.left_s()
        ends_at = None if left is None else self._clock.now() + left - _GRACE_S
        return {"task": task, "limit_s": self._source.limit_s, "ends_at": ends_at}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: FBT001, FBT002 - Tune's signature
        if trial_id not in self._running:
            return
        task, began = self._running.pop(trial_id)
        seconds = self._clock.monotonic() - began
        answer: Answer | None = (result or {}).get("answer")
        left = self._source.left_s()
        if answer is not None:
            self._source.finished(task, answer)
        elif not error or (left is not None and left <= _GRACE_S):
            self._source.cut(task, seconds)
        else:
            self._source.finished(task, Answer(Outcome.FAILED, (), seconds, "the worker process died"))

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """A task answers once, at its end."""

    def set_search_properties(self, *_: Any, **__: Any) -> bool:
        """The study knows what it searches."""
        return True

    def save(self, checkpoint_path: str) -> None:
        """The study's own files are what it goes on from."""
        Path(checkpoint_path).touch()

    def restore(self, checkpoint_path: str) -> None:
        """Nothing was saved."""

    def close(self) -> None:
        """What still runs was cut off; what was made ahead is forgotten."""
        self._ahead.close()
        for task, began in self._running.values():
            self._source.cut(task, self._clock.monotonic() - began)
        self._running.clear()

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its configuration before it begins; nobody ever restores from that
        return {"_metric": self._metric, "_mode": self._mode}


class _Deadline(tune.Stopper):
    """Ends everything when the source's time is over."""

    def __init__(self, source: Source) -> None:
        self._source: Source | None = source

    def __call__(self, *_: Any) -> bool:
        """Trials end by themselves."""
        return False

    def stop_all(self) -> bool:
        left = None if self._source is None else self._source.left_s()
        return left is not None and left <= _GRACE_S

    def __getstate__(self) -> dict[str, Any]:
        return {"_source": None}


class _Trial(tune.Trainable):
    """An actor that evaluates one task after another."""

    def setup(self, config: dict[str, Any], evaluator: Any = None) -> None:
        self._evaluator, self._config = evaluator, config
        self._left_behind = False

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Whether this actor can go on: not when a thread of it still works on a task whose time was over."""
        self._config = new_config
        return not self._left_behind

    def step(self) -> dict[str, Any]:
        task, limit, ends_at = self._config["task"], self._config["limit_s"], self._config["ends_at"]
        left = None if ends_at is None else max(0.0, ends_at - SystemClock().now())
        limits = [one for one in (limit, left) if one is not None]
        answer = self._within(task, min(limits) if limits else None)
        if answer is None:
            self._left_behind = True
            answer = too_long(limit, limit) if limit is not None and (left is None or limit < left) else None
        score = math.nan if answer is None or answer.score is None else answer.score
        return {_METRIC: score, "answer": answer, "done": True}

    def _within(self, task: Task, limit_s: float | None) -> Answer | None:
        if limit_s is None:
            with quiet():
                return self._evaluate(task)
        found: list[Answer] = []
        thread = threading.Thread(target=lambda: found.append(self._evaluate(task)), name="trial", daemon=True)
        with quiet():
            thread.start()
            thread.join(limit_s)
        return found[0] if found else None

    def _evaluate(self, task: Task) -> Answer:
        answer: Answer = self._evaluator(task)
        return answer

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """A task is short enough to be done again."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """See `save_checkpoint`."""
