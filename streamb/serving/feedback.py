"""Feedback: gives each answered request an id by which feedback finds it again, and counts the feedback.

A request without its own id is named by a token that carries its record (`serving.tokens`): any gateway of the
platform can join its feedback, whenever it arrives. A request that brings its own id, as X-Request-Id or as the "id" of
the Open Inference Protocol, keeps it, and this gateway remembers it for an hour: with both, either finds the same
prediction, and what was said under one was said under the other. Feedback that cannot be joined is counted as such,
never guessed.

Feedback is evidence, so it is believed once for each answer, from whoever asked for the prediction or may tell of all
(the permission "feedback"). An own id that names two predictions names none. What is told of an answer to a request
that named its version is counted aside.
"""

from __future__ import annotations

import hashlib
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

_COUNTED_AS: Final = {
    "duplicate": "duplicates",
    "late": "late",
    "orphan": "orphans",
    "unjoinable": "unjoinable",
    "ambiguous": "ambiguous",
    "foreign": "foreign",
    "pinned": "pinned",
}
_JOINED: Final = "joined"
_EVIDENCE: Final = frozenset(
    {"labels", "correct", "successes", "failures", "values", "error_micro", "squared_error_micro"}
)

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


AMBIGUOUS: Final = Known(Record("", "", 0, 0, b""), ("", "", -1))
"""Stands for an id that names two predictions."""


class OwnIds:
    """The predictions of requests that brought their own ids: the newest 100,000 ids of the last hour."""

    def __init__(self, limit: int = REMEMBERED, lifetime_s: float = REMEMBERED_S) -> None:
        self._limit = limit
        self._lifetime_s = lifetime_s
        self._records: OrderedDict[Key, tuple[float, Known]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._records)

    def put(self, key: Key, found: Known, now: float) -> None:
        """Remember a prediction; an id that is used again within an hour is ambiguous from then on."""
        records = self._records
        at, before = records.pop(key, (now, found))
        if before is not found and now - at <= self._lifetime_s:
            found = AMBIGUOUS
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
        self._all_ids = OwnIds()
        self._told: OrderedDict[tuple[str, str, int], frozenset[str]] = OrderedDict()
        self._numbers = count(1)

    def use(self, key: bytes) -> None:
        """Sign request ids with this key from now on; b"" means no signing."""
        if key != (b"" if self._signer is None else self._signer.key):
            self._signer = TokenSigner(key) if key else None

    def sign(
        self, plain_id: str, served: ServedVersion, unit: str, answer: Answer, caller: str = "", *, aside: bool = False
    ) -> str:
        """Return the token of an answered request; its plain id if there is no key.

        Args:
            plain_id: the id that it has now.
            served: the version that answered.
            unit: the user or other sticky unit; "" if none was named.
            answer: the answer.
            caller: the principal that asked; "" without a key.
            aside: whether the answer is no evidence.
        """
        signer, target = self._signer, served.target
        if signer is None:
            return plain_id
        packed = pack(known(answer))
        model_id, now = served.model_id, self._clock.now()
        return signer.sign(model_id, target.version, target.task, unit, now, packed, caller=caller, aside=aside)

    def remember(
        self,
        own_id: str,
        body_id: str,
        request_id: str,
        served: ServedVersion,
        answer: Answer,
        caller: str = "",
        *,
        aside: bool = False,
    ) -> None:
        """Keep the record of an answered request whose client brought an id.

        Args:
            own_id: the client's X-Request-Id; "" if it sent none.
            body_id: the "id" in the body; "" if there is none. One that could not be an X-Request-Id is not remembered.
            request_id: the id of the answer: `own_id`, or a token.
            served: the version that answered.
            answer: the answer.
            caller: the principal that asked; "" without a key.
            aside: whether the answer is no evidence.
        """
        ids = {one for one in (own_id, as_own_id(body_id)) if one}
        if not ids:
            return
        target = served.target
        asker = self._hashed(caller)
        record = Record(target.version, target.task, int(self._clock.now()), 0, pack(known(answer)), asker, aside)
        found = Known(record, (served.model_id, request_id, next(self._numbers) if own_id else 0))
        now = self._clock.monotonic()
        for one in ids:
            # Each caller has ids of its own, so that nobody can make those of others ambiguous.
            self._own_ids.put((served.model_id, f"{caller} {one}"), found, now)
            self._all_ids.put((served.model_id, one), found, now)

    def take(self, model_id: str, feedback: Feedback, caller: str = "", *, of_all: bool = False) -> dict[str, Any]:
        """Count feedback under the version that answered.

        Args:
            model_id: the model.
            feedback: what is told.
            caller: the principal that tells it; "" without a key.
            of_all: whether it may tell of the predictions that others asked for.

        Returns:
            The answer to the client: `{"model", "version", "joined": […], "not_joined": {field: why}}`.

        Raises:
            InvalidInput: the label does not fit the predictions of that request; nothing was counted.
        """
        record, name = self._find(model_id, feedback.request_id, caller, of_all=of_all)
        is_foreign = record is not None and not of_all and record.caller != self._hashed(caller)
        if record is AMBIGUOUS.record or is_foreign:
            fates = dict.fromkeys(feedback.fields, "foreign" if is_foreign else "ambiguous")
            record, predictions = None, None
        else:
            predictions = None if record is None else unpack(record.packed)
            fates = {field: self._fate(field, name, record, predictions) for field in feedback.fields}
        joined = [field for field, fate in fates.items() if fate == _JOINED]
        counts = _counts(feedback, joined, record, predictions)
        counts.update(_COUNTED_AS[fate] for fate in fates.values() if fate != _JOINED)
        recorder = self._unrouted if record is None else self._recorder(model_id, record.version)
        for counted, by in counts.items():
            if by:
                recorder.learned(counted, by, caller if counted in _EVIDENCE else None)
        if joined:
            self._tell(name, joined)
        if joined and record is not None and not name[2]:  # any gateway may be told of it, too
            for field in joined:
                alone = _counts(feedback, [field], record, predictions)
                recorder.tell(_number_of(name[1], field), caller, {key: by for key, by in alone.items() if by})
        return {
            "model": model_id,
            "version": None if record is None else record.version,
            "joined": joined,
            "not_joined": {field: fate for field, fate in fates.items() if fate != _JOINED},
        }

    def _hashed(self, caller: str) -> int:
        if not caller:
            return 0
        return self._signer.caller(caller) if self._signer is not None else hash(caller) & 0xFFFF_FFFF_FFFF_FFFF or 1

    def _find(
        self, model_id: str, request_id: str, caller: str, *, of_all: bool
    ) -> tuple[Record | None, tuple[str, str, int]]:
        now = self._clock.monotonic()
        found = self._own_ids.get((model_id, f"{caller} {request_id}"), now)
        if found is None or (of_all and found is AMBIGUOUS):
            found = self._all_ids.get((model_id, request_id), now) if of_all else found
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
        if record.aside:
            return "pinned"
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


def _number_of(request_id: str, field: str) -> int:
    """A number that stands for the feedback on an answer, the same at every gateway."""
    return int.from_bytes(hashlib.blake2b(f"{field} {request_id}".encode(), digest_size=8).digest()) >> 1


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
