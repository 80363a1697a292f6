"""The answers to changes that had an `Idempotency-Key`, stored for 24 hours: each beside what it changed.

A verb that changes something passes its answer to `keep` in the transaction of the change. So if the process dies
before the answer has arrived anywhere, the repetition is told what was done, whichever Console asks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeVar, get_type_hints

from streamb.asking import Once, Told, verb
from streamb.clock import Clock
from streamb.errors import Conflict, StreambError
from streamb.store.records import RecordStore

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T")

KEPT_S: Final = 24 * 3600.0
"""How many seconds an answer can be repeated."""

_COLLECTION: Final = "idempotency"
_SWEEP: Final = 50
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is stored of one request.

    Attributes:
        fingerprint: digest of the request, to distinguish its repetition from another request with the same key.
        status: the HTTP status of the answer; 0 while only some of its changes are known to be done.
        body: the answer's JSON text.
        steps: the results of those changes, as JSON values, by the verb's qualified name.
    """

    fingerprint: str
    status: int = 0
    body: str = ""
    steps: dict[str, Any] = field(default_factory=dict)


class _Step:
    """The change that is being made in this thread, and where its answer is kept."""

    def __init__(self, answers: Idempotency, once: Once, method: Callable[..., Any]) -> None:
        self._answers, self._once, self._method = answers, once, method

    def keep(self, answer: Any) -> None:
        self._answers.keep(
            self._once, self._method.__qualname__, _adapter(self._method).dump_python(answer, mode="json")
        )


_step: ContextVar[_Step | None] = ContextVar("step", default=None)


def keep(answer: T) -> T:
    """Keep the answer of the change that is being made, and return it. Call it in the transaction of the change.

    It does nothing if nobody named the change with an `Idempotency-Key`. What is kept is told to a repetition of the
    request: leave out what may be shown only once.
    """
    step = _step.get()
    if step is not None:
        step.keep(answer)
    return answer


class Idempotency:
    """The stored answers by key. Each new answer also deletes a few old ones. Safe to use from many threads."""

    def __init__(self, records: RecordStore, clock: Clock) -> None:
        self._records = records
        self._clock = clock
        self._lock = threading.Lock()
        self._busy: set[str] = set()

    @verb
    def recall(self, key: str) -> Remembered | None:
        """Return what is stored under this key since at most 24 hours, or None."""
        record = self._records.get(_COLLECTION, key)
        if record is None or self._clock.now() - record.created_at > KEPT_S:
            return None
        return Remembered(**record.body)

    @verb
    def remember(self, key: str, fingerprint: str, status: int, body: str) -> None:
        """Store the whole answer to a request.

        Args:
            key: the idempotency key, unique to the caller.
            fingerprint: digest of the request.
            status: the HTTP status of the answer.
            body: the answer's JSON text.
        """
        self._sweep(key)
        with self._records.batch():
            self._put(key, Remembered(fingerprint, status, body))

    def _sweep(self, key: str) -> None:
        """Delete a few old answers."""
        oldest_kept = self._clock.now() - KEPT_S
        # Keys are digests, so those with the same first digits are a random sample: in time every old answer is found.
        # Three digits make 4,096 groups; with 50 per sweep they cope with 200,000 answers a day.
        for record in self._records.list(_COLLECTION, prefix=key[:3], limit=_SWEEP).items:
            if record.created_at < oldest_kept:
                self._records.delete(_COLLECTION, record.key)

    def do(self, once: Once, method: Callable[..., Any], act: Callable[[], Any]) -> Any:
        """Return what `act` returns, which calls `method`; if that was done before under `once`, `Told` its answer.

        Raises:
            Conflict: the key was used for another request, or this change is being made.
        """
        with self._alone(once.key):
            before = self.recall(once.key)
            if before is not None and before.fingerprint != once.fingerprint:
                raise Conflict(OTHER_REQUEST)
            if before is not None and method.__qualname__ in before.steps:
                return Told(_adapter(method).validate_python(before.steps[method.__qualname__]))
            token = _step.set(step := _Step(self, once, method))
            try:
                answer = act()
                self._keep_after(step, once, method, answer)
            finally:
                _step.reset(token)
            return answer

    def keep(self, once: Once, name: str, answer: Any) -> None:
        """Store the result of one change of a request; `name` is its verb's, and `answer` JSON values."""
        with self._records.batch():
            before = self.recall(once.key) or Remembered(once.fingerprint)
            self._put(once.key, replace(before, steps={**before.steps, name: answer}))

    def _keep_after(self, step: _Step, once: Once, method: Callable[..., Any], answer: Any) -> None:
        """Keep the answer of a change that did not do it itself: it changed nothing, or may be repeated."""
        try:
            self._sweep(once.key)
            known = self.recall(once.key)
            if known is None or method.__qualname__ not in known.steps:
                step.keep(answer)
        except StreambError as error:
            # The change is made: an error now would invite the repetition that the key is there to prevent.
            _log.warning("%s was done, but its answer cannot be kept: %s", method.__qualname__, error.message)

    def _put(self, key: str, remembered: Remembered) -> None:
        if self.recall(key) is None:  # an expired key is created again, with a new time of creation
            self._records.delete(_COLLECTION, key)
        self._records.put(_COLLECTION, key, asdict(remembered))

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        with self._lock:
            if key in self._busy:
                raise Conflict(IN_PROGRESS)
            self._busy.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._busy.discard(key)


IN_PROGRESS: Final = "a request with this Idempotency-Key is being worked on; wait for its answer"
OTHER_REQUEST: Final = "this Idempotency-Key was used for a different request; choose a new one"


def _adapter(method: Callable[..., Any]) -> TypeAdapter[Any]:
    return _adapter_of(getattr(method, "__func__", method))


@cache
def _adapter_of(function: Callable[..., Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter  # late, as in `plain`

    return TypeAdapter(get_type_hints(function)["return"])
