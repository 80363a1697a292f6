"""`GPSearcher`: streamb's Gaussian-process optimizer as a search algorithm for any Ray Tune experiment."""

from __future__ import annotations

import pickle
import shutil
import tempfile
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from ray.tune.search import Searcher

from streamb.cluster.tune.space import plain_space
from streamb.errors import InvalidInput
from streamb.hpo.nesting import flat, nested
from streamb.hpo.optimizer import Optimizer
from streamb.hpo.space import Space, SpaceExhausted
from streamb.hpo.trial import Status, Trial

_WAIT_S: Final = 0.05
_JOURNAL: Final = "journal.jsonl"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Waiting:
    """Returned by `Ahead.take` while nothing is ready yet."""


class Ahead(Generic[T]):
    """Computes the next value in a thread while the last one is used.

    Args:
        make: computes one value; never called twice at the same time.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="suggestions")
        self._coming: Future[T] | None = None

    def take(self) -> T | Waiting:
        """Return the computed value, or `Waiting` if it takes longer than a moment; raises what `make` raised."""
        if self._coming is None:
            self._coming = self._thread.submit(self._make)
        coming = self._coming
        if not wait([coming], _WAIT_S).done:
            return Waiting()
        if coming.exception() is not None:
            self._coming = None
            return coming.result()
        self._coming = self._thread.submit(self._make)
        return coming.result()

    def close(self) -> None:
        """Wait for the value that is being computed, and discard it."""
        self._thread.shutdown(wait=True, cancel_futures=True)


@dataclass(slots=True)
class _Open:
    """The resources of a searcher: a file, a thread, and perhaps a folder to remove."""

    optimizer: Optimizer
    ahead: Ahead[Trial]
    folder: Path | None

    def close(self) -> None:
        self.ahead.close()
        self.optimizer.close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


class GPSearcher(Searcher):
    """Suggests trials to Ray Tune by a Gaussian process.

    The next suggestion is computed in a thread while trials run: Tune's loop, which asks for one at a time, waits at
    most a moment. Set `TuneConfig(max_concurrent_trials=…)`: without it Tune keeps a single trial ready.

    Args:
        space: parameters by name, as plain data; None: the `param_space` of the Tuner.
        metric: the name of the result to optimize; None: the Tuner's.
        mode: "min" or "max"; None: the Tuner's.
        seed: the same seed, with the same results in the same order, gives the same suggestions.
        acquisition: how trials are chosen, as in `Optimizer`.
        points_to_evaluate: points to try first, such as the defaults.
        deterministic: whether the same parameters always give the same result.
        journal: a file to keep asks and results in and to resume from; None: kept only while the experiment runs.

    Raises:
        InvalidInput: the space or an option is invalid.
    """

    def __init__(
        self,
        space: Space | Mapping[str, Any] | None = None,
        metric: str | None = None,
        mode: str | None = None,
        *,
        seed: int = 0,
        acquisition: str = "auto",
        points_to_evaluate: Sequence[Mapping[str, Any]] = (),
        deterministic: bool = False,
        journal: Path | str | None = None,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._space = None if space is None else Space.of(space if isinstance(space, Space) else plain_space(space))
        self._options: dict[str, Any] = {
            "seed": seed,
            "acquisition": acquisition,
            "initial": [flat(point) for point in points_to_evaluate],
            "deterministic": deterministic,
        }
        self._journal = None if journal is None else Path(journal)
        self._numbers: dict[str, int] = {}
        self._evaluated: list[tuple[dict[str, Any], float]] = []
        self._history = b""
        self._open: _Open | None = None

    def close(self) -> None:
        """Release the journal and the thread; this also happens when the searcher is garbage-collected."""
        if self._open is not None:
            self._open.close()
            self._open = None

    # --- what Tune calls ------------------------------------------------------------------------------------------

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:  # noqa: ARG002 - Tune's signature
        """Use the Tuner's metric, mode and space; return False if there is a space already."""
        if self._space is not None and config:
            return False
        if config:
            self._space = Space.of(plain_space(config))
        self._metric, self._mode = metric or self._metric, mode or self._mode
        return True

    def suggest(self, trial_id: str) -> Any:
        """Return the next parameters; None while they are being computed; FINISHED when a finite space is used up."""
        try:
            trial = self._opened().ahead.take()
        except SpaceExhausted:
            return Searcher.FINISHED
        if isinstance(trial, Waiting):
            return None
        self._numbers[trial_id] = trial.id
        return nested(trial.parameters)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:  # noqa: FBT001, FBT002 - Tune's signature
        """Learn from a trial; it counts as failed on an error, or if the metric is missing or not a number."""
        number = self._numbers.pop(trial_id, None)
        if number is None:
            return
        optimizer = self._opened().optimizer
        if optimizer.trials[number].status is not Status.RUNNING:
            return  # Tune's state is older than the journal: it repeated a trial whose result is known
        value = None if error or not result else flat(result).get(str(self._metric))
        optimizer.tell(number, value, failed=error)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Do nothing: only final results are used."""

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,  # noqa: FBT001, FBT002 - Tune's signature
        pruned: bool = False,  # noqa: FBT001, FBT002
        intermediate_values: list[float] | None = None,  # noqa: ARG002
    ) -> None:
        """Learn from a trial that ran elsewhere; a failed or stopped one is ignored."""
        if not error and not pruned:
            self._evaluated.append((flat(parameters), value))
            if self._open is not None:
                self._take_over(self._open.optimizer)

    def set_max_concurrency(self, max_concurrent: int) -> bool:  # noqa: ARG002
        """Leave the limit to Tune, which then also keeps this many trials ready."""
        return False

    def save(self, checkpoint_path: str) -> None:
        Path(checkpoint_path).write_bytes(pickle.dumps(self.__getstate__()))

    def restore(self, checkpoint_path: str) -> None:
        # written by `save` into the experiment's own folder, which Tune itself unpickles too
        self.__setstate__(pickle.loads(Path(checkpoint_path).read_bytes()))  # noqa: S301

    # --- inside ---------------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        history = self._history if self._open is None else self._journal_of(self._open.folder).read_bytes()
        return {**self.__dict__, "_open": None, "_history": history}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "_open" in self.__dict__:
            self.close()
        self.__dict__.update(state)

    def _journal_of(self, folder: Path | None) -> Path:
        return self._journal if folder is None and self._journal is not None else (folder or Path()) / _JOURNAL

    def _opened(self) -> _Open:
        if self._open is not None:
            return self._open
        if self._space is None:
            raise InvalidInput("there is nothing to search: give GPSearcher a space, or the Tuner a param_space")
        if self._mode not in ("min", "max") or not self._metric:
            raise InvalidInput('metric and mode ("min" or "max") must be given, to GPSearcher or in the TuneConfig')
        folder = None if self._journal is not None else Path(tempfile.mkdtemp(prefix="streamb-search-"))
        path = self._journal_of(folder)
        if self._history and not path.exists():
            # the last line may be of an ask in progress when the state was saved
            path.write_bytes(self._history[: self._history.rfind(b"\n") + 1])
        direction: Any = "minimize" if self._mode == "min" else "maximize"
        optimizer = Optimizer(self._space, direction=direction, journal=path, **self._options)
        self._take_over(optimizer)
        # not a method: the thread must not keep an unused searcher alive
        self._open = _Open(optimizer, Ahead(partial(_next, optimizer, self._numbers)), folder)
        weakref.finalize(self, self._open.close)
        return self._open

    def _take_over(self, optimizer: Optimizer) -> None:
        while self._evaluated:
            optimizer.record(*self._evaluated.pop(0))


def _next(optimizer: Optimizer, running: Mapping[str, int]) -> Trial:
    """Return the next trial; after a restore, trials that Tune still runs are not handed out again."""
    while True:
        trial = optimizer.ask()
        if trial.id not in running.values() and optimizer.trials[trial.id].status is Status.RUNNING:
            return trial
