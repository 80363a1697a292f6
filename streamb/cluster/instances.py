"""Models made by a user's own function, each in a Ray actor of its own; and the Ray of a process that needs some.

This is what `ModelScaler` stands on. No platform takes part: the function is the user's, and so is the process.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any, Final

from streamb.cluster.autoscaling import ReplicaStats
from streamb.cluster.session import open_session, prepare_ray
from streamb.config import load_settings
from streamb.errors import InvalidInput, StartFailed, StreambError, Unavailable
from streamb.models import Model
from streamb.serving.batch import Batch
from streamb.serving.http.rows import RowsRequest
from streamb.serving.replica import BatchPredictor

_CONTROL: Final = "control"
_MESSAGE_LENGTH: Final = 500
_log = logging.getLogger(__name__)


class HostedModel:
    """The inside of an actor: one model. Errors are answers, so that they arrive as what they are."""

    def __init__(self, cores: float) -> None:
        self._stats = ReplicaStats(cores=cores)
        self._model: Model | None = None

    def load(self, factory: Callable[[], Any]) -> StreambError | None:
        """Make the model."""
        try:
            self._model = Model.wrap(factory())
        except Exception as error:
            return StartFailed(f"the factory raised {type(error).__name__}: {error}"[:_MESSAGE_LENGTH])
        self._predictor = BatchPredictor(self._model)
        return None

    def predict(self, rows: list[Any]) -> list[Any] | StreambError:
        """One prediction per row."""
        if self._model is None:
            return Unavailable("this instance has no model yet")
        try:
            checked = RowsRequest(rows).rows(self._model.schema)
        except StreambError as error:
            return error
        reply = self._stats.timed(self._predictor.run, Batch(checked, (len(rows),)))
        predictions: list[Any] = reply.predictions.tolist()
        return reply.errors.get(0, predictions)

    def numbers(self) -> dict[str, float]:
        """How busy this process is (see `ReplicaStats`)."""
        return self._stats.numbers()


class RayInstance:
    """One actor with one model.

    Attributes:
        started: done once the model can be asked; fails with `StartFailed` when the factory did.
    """

    def __init__(self, actor: Any, factory: Any) -> None:
        self._actor = actor
        self.started: Future[None] = _MESSENGER.future(actor.load.remote(factory))

    def predict(self, rows: list[Any]) -> Future[list[Any]]:
        """Ask the model; fails with `Unavailable` when the actor died, or with what the model's side says."""
        return _MESSENGER.future(self._actor.predict.remote(rows))

    def numbers(self) -> Future[dict[str, float]]:
        """How busy it is; answered while it predicts, too."""
        return _MESSENGER.future(self._actor.numbers.options(concurrency_group=_CONTROL).remote())

    def stop(self) -> None:
        """End the actor, whatever it is doing. Idempotent."""
        import ray

        try:
            ray.kill(self._actor)
        except Exception as error:  # Ray itself may be gone
            _log.debug("an instance was gone already: %s", error)


class RayHost:
    """Starts instances on the Ray of this process.

    Where the process is connected to none, it joins the cluster at `address` (else at ML_RAY_ADDRESS), else it starts
    one on this machine; such a connection ends with the last host that needs it.

    Args:
        cpus: CPU share that each instance reserves.

    Raises:
        StartFailed: Ray did not start, or nothing answers at the address.
    """

    def __init__(self, address: str | None, cpus: float) -> None:
        _SHARED.enter(address)
        self._cpus = cpus
        self._open = True

    def launcher(self, factory: Callable[[], Any]) -> Callable[[], RayInstance]:
        """What starts an instance with a model that `factory` makes, each time it is called.

        Raises:
            InvalidInput: the factory cannot be sent to another process.
        """
        import ray

        try:
            sent = ray.put(factory)
        except Exception as error:  # pickling calls the user's own objects
            raise InvalidInput(f"this factory cannot be sent to another process: {error}"[:_MESSAGE_LENGTH]) from error
        # A thread of its own for `numbers`, which is asked while the model predicts.
        options: dict[str, Any] = {"num_cpus": self._cpus, "max_restarts": 0, "concurrency_groups": {_CONTROL: 1}}
        actor = ray.remote(**options)(HostedModel)
        return lambda: RayInstance(actor.remote(self._cpus), sent)

    def close(self) -> None:
        """Let go of Ray. Idempotent."""
        if self._open:
            self._open = False
            _SHARED.leave()


class _SharedRay:
    """The Ray of this process, which ends with the last one who needed it, if it was the first who brought it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._opened: ExitStack | None = None

    def enter(self, address: str | None) -> None:
        with self._lock:
            prepare_ray()
            import ray

            if self._opened is None and not ray.is_initialized():
                self._open(address)
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._opened is not None:
                self._opened.close()
                self._opened = None

    def _open(self, address: str | None) -> None:
        with ExitStack() as opened:
            folder = TemporaryDirectory(prefix="streamb-scaler-", ignore_cleanup_errors=True)
            settings = load_settings(
                environment="development", state_dir=opened.enter_context(folder), ray_address=address
            )
            opened.callback(open_session(settings).leave)
            self._opened = opened.pop_all()


_SHARED: Final = _SharedRay()


class _Messenger:
    """Hands answers on in a thread of its own.

    Ray calls back while it holds locks of its own, which any call of ours into Ray waits for: whoever took a lock there
    that is elsewhere held during such a call would stop both for good.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Future[Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def future(self, ref: Any) -> Future[Any]:
        """The answer of an actor, with errors as ours: one that is an answer is raised, Ray's own mean a dead actor."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ray-answers", daemon=True)
                self._thread.start()
        answer: Future[Any] = Future()
        ref.future().add_done_callback(lambda done: self._waiting.put((done, answer)))
        return answer

    def _run(self) -> None:
        while True:
            done, answer = self._waiting.get()
            error = done.exception()
            result = None if error else done.result()
            if error is not None:
                answer.set_exception(Unavailable(f"an instance died: {_first_line(error)}", retry_after_s=1))
            elif isinstance(result, StreambError):
                answer.set_exception(result)
            else:
                answer.set_result(result)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:_MESSAGE_LENGTH]


_MESSENGER: Final = _Messenger()
