"""Feedback: gives each answered request an id by which feedback finds it again, and counts the feedback.

A request without its own id is named by a token that carries its record (`serving.tokens`): any gateway of the
platform can join its feedback, whenever it arrives. A request that brings its own id, as X-Request-Id or as the "id" of
the Open Inference Protocol, keeps it, and this gateway remembers it for an hour: with both, either finds the same
prediction, and what was said under one was said under the other. Feedback that cannot be joined is counted as such,
never guessed.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import MutableMapping
from itertools import count
from typing import Any, Final, NamedTuple

from streamb.clock import Clock
from streamb.metrics import VersionRecorder
from streamb.models.outputs import Answer
from streamb.serving import labels
from streamb.serving.http.access import as_own_id
from streamb.serving.labels import Feedback
from streamb.serving.targets import ServedVersion
from streamb.serving.tokens import Record, TokenSigner, known, pack, unpack

REMEMBERED: Final = 100_000
"""How many requests with ids of their own, and how many ids with feedback, one gateway remembers."""

REMEMBERED_S: Final = 3600.0
LATE_S: Final = 30 * 86_400.0
"""Feedback later than this after the prediction (seconds) is counted only as late."""

MAX_BODY_BYTES: Final = 65_536

_COUNTED_AS: Final = {"duplicate": "duplicates", "late": "late", "orphan": "orphans", "unjoinable": "unjoinable"}
_JOINED: Final = "joined"

Key = tuple[str, str]
"""Model and request id."""


class Known(NamedTuple):
    """A prediction that feedback may be about.

    Attributes:
        record: what is known of it.
        name: its unique name, whatever ids it has: what was already said of it is kept under this.
    """

    record: Record
    name: tuple[str, str, int]


class OwnIds:
    """The predictions of requests that brought their own ids: the newest 100,000 ids of the last hour."""

    def __init__(self, limit: int = REMEMBERED, lifetime_s: float = REMEMBERED_S) -> None:
        self._limit = limit
        self._lifetime_s = lifetime_s
        self._records: OrderedDict[Key, tuple[float, Known]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def put(self, key: Key, found: Known, now: float) -> None:
        """Remember a prediction; an id that is used again stands for its newest request."""
        records = self._records
        records.pop(key, None)
        records[key] = now, found
        while len(records) > self._limit or next(iter(records.values()))[0] < now - self._lifetime_s:
            records.popitem(last=False)

    def get(self, key: Key, now: float) -> Known | None:
        """Return the prediction of an id; None if it is not remembered."""
        at, found = self._records.get(key, (0.0, None))
        return found if found is not None and now - at <= self._lifetime_s else None


class FeedbackDesk:
    """Handles the feedback of one gateway. Belongs to its event loop.

    Args:
        recorders: the gateway's recorders by model and version; one is added for a version it never served.
        unrouted: counts feedback that belongs to no version.
    """

    def __init__(
        self, recorders: MutableMapping[Key, VersionRecorder], unrouted: VersionRecorder, clock: Clock
    ) -> None:
        self._recorders = recorders
        self._unrouted = unrouted
        self._clock = clock
        self._signer: TokenSigner | None = None
        self._own_ids = OwnIds()
        self._told: OrderedDict[tuple[str, str, int], frozenset[str]] = OrderedDict()
        self._numbers = count(1)

    def use(self, key: bytes) -> None:
        """Sign request ids with this key from now on; b"" means no signing."""
        if key != (b"" if self._signer is None else self._signer.key):
            self._signer = TokenSigner(key) if key else None

    def sign(self, plain_id: str, served: ServedVersion, unit: str, answer: Answer) -> str:
        """Return the token of an answered request; its plain id if there is no key.

        Args:
            served: the version that answered.
            unit: the user or other sticky unit; "" if none was named.
        """
        signer, target = self._signer, served.target
        if signer is None:
            return plain_id
        packed = pack(known(answer))
        return signer.sign(served.model_id, target.version, target.task, unit, self._clock.now(), packed)

    def remember(self, own_id: str, body_id: str, request_id: str, served: ServedVersion, answer: Answer) -> None:
        """Keep the record of an answered request whose client brought an id.

        Args:
            own_id: the client's X-Request-Id; "" if it sent none.
            body_id: the "id" in the body; "" if there is none. One that could not be an X-Request-Id is not remembered.
            request_id: the id of the answer: `own_id`, or a token.
            served: the version that answered.
        """
        ids = {one for one in (own_id, as_own_id(body_id)) if one}
        if not ids:
            return
        target = served.target
        record = Record(target.version, target.task, int(self._clock.now()), 0, pack(known(answer)))
        found = Known(record, (served.model_id, request_id, next(self._numbers) if own_id else 0))
        for one in ids:
            self._own_ids.put((served.model_id, one), found, self._clock.monotonic())

    def take(self, model_id: str, feedback: Feedback) -> dict[str, Any]:
        """Count feedback under the version that answered.

        Returns:
            The answer to the client: `{"model", "version", "joined": […], "not_joined": {field: why}}`.

        Raises:
            InvalidInput: the label does not fit the predictions of that request; nothing was counted.
        """
        record, name = self._find(model_id, feedback.request_id)
        predictions = None if record is None else unpack(record.packed)
        fates = {field: self._fate(field, name, record, predictions) for field in feedback.fields}
        joined = [field for field, fate in fates.items() if fate == _JOINED]
        counts = _counts(feedback, joined, record, predictions)
        counts.update(_COUNTED_AS[fate] for fate in fates.values() if fate != _JOINED)
        recorder = self._unrouted if record is None else self._recorder(model_id, record.version)
        for counted, by in counts.items():
            if by:
                recorder.learned(counted, by)
        if joined:
            self._tell(name, joined)
        return {
            "model": model_id,
            "version": None if record is None else record.version,
            "joined": joined,
            "not_joined": {field: fate for field, fate in fates.items() if fate != _JOINED},
        }

    def _find(self, model_id: str, request_id: str) -> tuple[Record | None, tuple[str, str, int]]:
        found = self._own_ids.get((model_id, request_id), self._clock.monotonic())
        if found is not None:
            return found
        record = self._signer.read(model_id, request_id) if self._signer is not None else None
        return record, (model_id, request_id, 0)

    def _fate(
        self, field: str, name: tuple[str, str, int], record: Record | None, predictions: list[Any] | None
    ) -> str:
        if record is None:
            return "orphan"
        if self._clock.now() - record.at > LATE_S:
            return "late"
        if field in self._told.get(name, ()):
            return "duplicate"
        return "unjoinable" if field == "label" and predictions is None else _JOINED

    def _tell(self, name: tuple[str, str, int], fields: list[str]) -> None:
        self._told[name] = self._told.pop(name, frozenset()).union(fields)
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

    def _recorder(self, model_id: str, version: str) -> VersionRecorder:
        found = self._recorders.get((model_id, version))
        if found is None:
            found = self._recorders[model_id, version] = VersionRecorder(model_id, version)
        return found


def _counts(
    feedback: Feedback, joined: list[str], record: Record | None, predictions: list[Any] | None
) -> Counter[str]:
    """Return what the joined fields add to the version's counts."""
    counts: Counter[str] = Counter()
    if "label" in joined and record is not None and predictions is not None:
        counts.update(labels.compare(record.task, predictions, feedback.label))
    if "success" in joined:
        counts["successes" if feedback.success else "failures"] += 1
    if "value" in joined and feedback.value is not None:
        counts["values"] += 1
        counts["value_micro"] += labels.micro(feedback.value)
    return counts
