"""Models made by a user's own function, each in its own Ray actor; and the Ray connection of a process that uses them.

`ModelScaler` is built on this. No platform is involved: the function is the user's, and so is the process.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import Any, Final

from streamb.cluster.autoscaling import ReplicaStats
from streamb.cluster.session import open_session, prepare_ray
from streamb.config import load_settings, this_environment
from streamb.errors import InvalidInput, ModelFailed, StartFailed, StreambError, Unavailable, words_of
from streamb.models import Model
from streamb.models.named_outputs import row_values
from streamb.models.outputs import not_finite
from streamb.serving.batch import Batch
from streamb.serving.http.rows import RowsRequest
from streamb.serving.replica import BatchPredictor

_CONTROL: Final = "control"
_MESSAGE_LENGTH: Final = 500
_log = logging.getLogger(__name__)


class HostedModel:
    """One model inside an actor. Errors are returned rather than raised, so that they keep their type."""

    def __init__(self, cores: float) -> None:
        self._stats = ReplicaStats(cores=cores)
        self._model: Model | None = None

    def load(self, factory: Callable[[], Any]) -> StreambError | None:
        """Make the model with `factory`; return the error if that fails."""
        try:
            self._model = Model.wrap(factory())
        except BaseException as error:  # raised, even SystemExit would end the actor
            return StartFailed(f"the factory raised {words_of(error)}")
        self._predictor = BatchPredictor(self._model)
        return None

    def predict(self, rows: list[Any]) -> list[Any] | StreambError:
        """Return one prediction per row, or the error."""
        if self._model is None:
            return Unavailable("this instance has no model yet")
        try:
            checked = RowsRequest(rows).rows(self._model.schema)
        except StreambError as error:
            return error
        arrived = self._stats.arrived()
        try:
            reply = self._stats.timed(1, self._predictor.run, Batch(checked, (len(rows),)))
        except KeyboardInterrupt as error:  # this is the actor's main thread, so only the model itself can raise it
            return ModelFailed(f"the model raised {words_of(error)}")
        finally:
            self._stats.left(arrived)
        if reply.failed:
            return not_finite(reply.failed[0])
        return reply.errors.get(0, row_values(reply.predictions))

    def numbers(self) -> dict[str, float]:
        """Return how busy this process is (see `ReplicaStats.numbers`)."""
        return self._stats.numbers()


class RayInstance:
    """One actor with one model.

    Attributes:
        started: completes once the model can predict; fails with `StartFailed` if the factory failed.
    """

    def __init__(self, actor: Any, factory: Any) -> None:
        self._actor = actor
        self.started: Future[None] = _MESSENGER.future(actor.load.remote(factory))

    def predict(self, rows: list[Any]) -> Future[list[Any]]:
        """Ask for predictions; the future fails with `Unavailable` if the actor died, or with the model's error."""
        return _MESSENGER.future(self._actor.predict.remote(rows))

    def numbers(self) -> Future[dict[str, float]]:
        """Ask how busy the instance is; answered also while it predicts."""
        return _MESSENGER.future(self._actor.numbers.options(concurrency_group=_CONTROL).remote())

    def stop(self) -> None:
        """Kill the actor, even while it predicts. Idempotent."""
        import ray

        try:
            ray.kill(self._actor)
        except Exception as error:  # Ray itself may be gone
            _log.debug("an instance had already ended: %s", error)


class RayHost:
    """Starts instances on the Ray cluster of this process.

    If the process is not connected, it joins the cluster at `address` (or at ML_RAY_ADDRESS), or starts Ray on this
    machine; such a connection is closed with the last host that needs it.

    Args:
        cpus: number of CPUs that each instance reserves; may be a fraction.

    Raises:
        StartFailed: Ray did not start, or nothing answers at the address.
    """

    def __init__(self, address: str | None, cpus: float) -> None:
        _SHARED.enter(address)
        self._cpus = cpus
        self._open = True

    def launcher(self, factory: Callable[[], Any]) -> Callable[[], RayInstance]:
        """Return a function that starts an instance with a model from `factory`.

        Raises:
            InvalidInput: the factory cannot be sent to another process.
        """
        import ray

        try:
            sent = ray.put(factory)
        except Exception as error:  # pickling runs the user's own code
            raise InvalidInput(f"this factory cannot be sent to another process: {words_of(error)}") from error
        # A separate thread for `numbers`, which is called while the model predicts.
        options: dict[str, Any] = {"num_cpus": self._cpus, "max_restarts": 0, "concurrency_groups": {_CONTROL: 1}}
        actor = ray.remote(**options)(HostedModel)
        return lambda: RayInstance(actor.remote(self._cpus), sent)

    def close(self) -> None:
        """Release the Ray connection. Idempotent."""
        if self._open:
            self._open = False
            _SHARED.leave()


class _SharedRay:
    """The Ray connection of this process, closed by its last user, if streamb opened it."""

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
            opened.callback(open_session(settings, this_environment()).leave)
            self._opened = opened.pop_all()


_SHARED: Final = _SharedRay()


class _Messenger:
    """Delivers answers in a separate thread.

    Ray calls back while it holds its own locks, which any call into Ray waits for: taking a lock in the callback that
    is elsewhere held during such a call would be a deadlock.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[Future[Any], Future[Any]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def future(self, ref: Any) -> Future[Any]:
        """Return the answer of an actor as a future; a returned error is raised, and Ray's own mean a dead actor."""
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
            try:
                _deliver(done, answer)
            except Exception:  # the answers behind this one would never come
                _log.exception("an answer could not be delivered")


def _deliver(done: Future[Any], answer: Future[Any]) -> None:
    if not answer.set_running_or_notify_cancel():
        return  # nobody waits for it any more
    error = CancelledError() if done.cancelled() else done.exception()
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
