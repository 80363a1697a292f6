"""The ring of API keys: creates, checks, rotates and revokes them, and knows when they were last used."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from streamb.asking import change, verb
from streamb.clock import Clock
from streamb.errors import Conflict, InvalidInput, NotFound
from streamb.security.directory import API_KEYS, PRINCIPALS, Directory
from streamb.security.key_records import (
    DAY_S,
    MODEL_PATTERN,
    KeyRecord,
    Secret,
    check,
    digest,
    new_plaintext,
    parse,
    principal_of,
    read_key,
    read_scopes,
)
from streamb.security.key_uses import KEY_USES, KeyUses
from streamb.security.principals import EVERY_MODEL, Kind, Principal, PrincipalRecord
from streamb.store import Journal, Page, RecordStore, every_record, keep
from streamb.store.files import replace_file
from streamb.store.plain import to_plain

__all__ = [
    "API_KEYS",
    "KeyRecord",
    "KeyRing",
    "Secret",
    "check",
    "digest",
    "new_plaintext",
    "parse",
    "principal_of",
    "read_scopes",
]

KEY_EVENTS: Final = "keys"
"""The stream of the journal with the warnings about keys."""

MOST_KEYS: Final = 10_000
"""How many keys a platform may have: gateways hold all of them in memory."""

MOST_MODELS: Final = 32
"""How many patterns of models a key may have: a gateway may try all of them for a request."""

ROTATION_GRACE_S: Final = 7 * DAY_S
"""By default the old secret of a rotated key is valid for so many seconds."""

LONGEST_GRACE_S: Final = 90 * DAY_S

FORGET_S: Final = 30 * DAY_S
"""A key is listed for so many seconds after it has expired."""

_PATTERN: Final = re.compile(MODEL_PATTERN, re.ASCII)
_log = logging.getLogger(__name__)


def read_patterns(models: Sequence[str]) -> tuple[str, ...]:
    """Return patterns of model ids, checked; raises InvalidInput if one is not valid, or there are too many."""
    if not 1 <= len(models) <= MOST_MODELS or not all(_PATTERN.fullmatch(one) for one in models):
        raise InvalidInput(f"models must be 1 to {MOST_MODELS} model ids, or patterns such as energy-*")
    return tuple(models)


class KeyRing:
    """The API keys of one platform, stored in its record store.

    Args:
        records: the store.
        clock: the source of time.
        directory: the principals that keys belong to.
        changed: called after every change of what keys allow; must return at once.
        file: the file with the operator's key, which is written anew when that key is rotated; None if there is none.
    """

    def __init__(
        self,
        records: RecordStore,
        clock: Clock,
        directory: Directory,
        changed: Callable[[], None] = lambda: None,
        *,
        file: Path | None = None,
    ) -> None:
        self._records = records
        self._clock = clock
        self._directory = directory
        self._changed = changed
        self._file = file
        self._uses = KeyUses(records)

    @change
    def create(
        self,
        principal: str,
        scopes: Collection[str] | None = None,
        models: Sequence[str] = EVERY_MODEL,
        expires_at: float | None = None,
    ) -> tuple[str, KeyRecord]:
        """Create a key; return its plain text, which is not stored anywhere, and the stored record.

        Args:
            principal: the name of the person or service that it belongs to.
            scopes: names of the permissions that it allows at most; None: whatever its principal may do.
            models: patterns of the model ids that it is good for, as in a shell; at most `MOST_MODELS`.
            expires_at: seconds since the epoch from which it is refused; None: it does not expire.

        Raises:
            NotFound: there is no such principal.
            InvalidInput: a scope or a pattern is not valid, or it has expired already.
            Conflict: there are too many keys.
        """
        now = self._clock.now()
        if expires_at is not None and not now < expires_at < math.inf:
            raise InvalidInput("a key must expire in the future, or not at all")
        patterns = read_patterns(models)
        allowed = None if scopes is None else read_scopes(scopes)
        plaintext = new_plaintext()
        secret = Secret(digest(plaintext), now)
        record = KeyRecord(parse(plaintext), principal, (secret,), allowed, patterns, now, expires_at)
        with self._records.batch():
            self._directory.get(principal)
            if sum(1 for _ in every_record(self._records, API_KEYS)) >= MOST_KEYS:
                raise Conflict(f"there are {MOST_KEYS} keys, which is the limit; revoke those that nobody uses")
            self._put(record, 0)
            keep(("", record))
        self._changed()
        return plaintext, record

    def issue(self, owner: PrincipalRecord, scopes: Collection[str], models: Sequence[str], expires_at: float) -> str:
        """Create a principal that exists as long as its one key, such as a job; return the key's plain text.

        Args:
            owner: the principal.
            scopes, models, expires_at: as for `create`.

        Raises:
            InvalidInput: a scope or a pattern is not valid.
        """
        now, plaintext = self._clock.now(), new_plaintext()
        secret = Secret(digest(plaintext), now)
        patterns = read_patterns(models)
        record = KeyRecord(parse(plaintext), owner.name, (secret,), read_scopes(scopes), patterns, now, expires_at)
        with self._records.batch():
            # Not `ensure`: this is a part of another change, whose answer is kept, and not this one's.
            self._records.put(PRINCIPALS, owner.name, to_plain(owner))
            self._put(record, 0)
        self._changed()
        return plaintext

    def withdraw(self, name: str) -> None:
        """Remove a principal of `issue` and its key; nothing happens if there is none."""
        with self._records.batch():
            self._records.delete(PRINCIPALS, name)
            for record in self._all():
                if record.principal == name:
                    self._delete(record.key_id)
        self._changed()

    def adopt(self, plaintext: str, principal: str) -> KeyRecord:
        """Make the key in the state directory valid, and no other that was there before; the same one stays unchanged.

        Raises:
            Unauthorized: `plaintext` does not have the form of a key.
        """
        key_id, now = parse(plaintext), self._clock.now()
        with self._records.batch():
            for other in self._all():
                if other.from_file and other.key_id != key_id:
                    self._delete(other.key_id)
            known = self._find(key_id)
            if known is not None and check(plaintext, known, now):
                return known
            record = KeyRecord(key_id, principal, (Secret(digest(plaintext), now),), created_at=now, from_file=True)
            self._put(record, None)
        self._changed()
        return record

    @verb
    def check(self, key: str) -> Principal | None:
        """Return the principal that `key` belongs to, with what this key allows; None if it is not a valid key.

        Raises:
            Unauthorized: it is no key at all, or mistyped.
        """
        record, now = self._find(parse(key)), self._clock.now()
        if record is None or not check(key, record, now):
            return None
        owner = self._directory.find(record.principal)
        if owner is None:
            return None
        self.used({record.key_id: now})
        return principal_of(owner, record)

    @verb
    def list(self) -> tuple[KeyRecord, ...]:
        """Return the records of all keys, ordered by id."""
        return tuple(map(self._uses.with_use, self._all()))

    @verb
    def page(self, limit: int, cursor: str | None) -> Page[KeyRecord]:
        """Return a page of the records of keys, ordered by id."""
        page = self._records.list(API_KEYS, limit=limit, cursor=cursor)
        return Page(tuple(self._uses.with_use(read_key(one.body)) for one in page.items), page.next_cursor)

    @verb
    def get(self, key_id: str) -> KeyRecord:
        """Return the record of one key.

        Raises:
            NotFound: there is no such key.
        """
        return self._uses.with_use(self._known(key_id)[0])

    def allowed(self) -> Mapping[str, tuple[KeyRecord, Principal, Secret]]:
        """Return what each valid secret allows, by its digest, for the gateways to compare with."""
        now, found = self._clock.now(), {}
        owners = {owner.name: owner for owner in self._directory.list()}
        for record in self._all():
            if (owner := owners.get(record.principal)) is not None:
                for secret in record.valid_secrets(now):
                    found[secret.digest] = (record, principal_of(owner, record), secret)
        return found

    @change
    def revoke(self, key_id: str) -> None:
        """Revoke a key: it is no longer valid.

        Raises:
            NotFound: there is no such key.
            Conflict: it is the key in the state directory.
        """
        with self._records.batch():
            if self._known(key_id)[0].from_file:
                raise Conflict(
                    f"the key {key_id} is in the file {self._file or 'api-key'}, and commands on that machine use it: "
                    "rotate it instead, which writes the new key there (a grace of 0 ends the present one at once)"
                )
            self._delete(key_id)
            keep(None)
        self._changed()

    @change
    def rotate(self, key_id: str, grace_s: float = ROTATION_GRACE_S) -> tuple[str, KeyRecord]:
        """Give a key a new secret; return its plain text, which is not stored anywhere, and the stored record.

        Only the key in the state directory is stored there as well.

        Args:
            key_id: the id of the key, which stays.
            grace_s: for so many seconds the present secret is valid as well, at most 90 days; 0: it is refused at once.

        Raises:
            NotFound: there is no such key.
            InvalidInput: the grace is out of range.
            Conflict: the key has expired.
            StorageFailed: the file in the state directory cannot be written.
        """
        if not 0 <= grace_s <= LONGEST_GRACE_S:
            raise InvalidInput(f"the grace must be 0 to {LONGEST_GRACE_S:g} seconds, not {grace_s:g}")
        with self._records.batch():
            record, revision = self._known(key_id)
            now, plaintext = self._clock.now(), new_plaintext(key_id)
            if record.expires_at is not None and now >= record.expires_at:
                raise Conflict(f"the key {key_id} has expired, and so would the new one: create another key")
            old = tuple(replace(one, until=now + grace_s) for one in record.valid_secrets(now)[:1] if grace_s > 0)
            rotated = replace(record, secrets=(Secret(digest(plaintext), now), *old))
            self._put(rotated, revision)
            keep(("", rotated))
            if record.from_file and self._file is not None:
                # If the transaction fails after this, the file has a key that the next start adopts.
                replace_file(self._file, f"{plaintext}\n".encode(), mode=0o600)
        self._changed()
        return plaintext, rotated

    # --- when keys were used ------------------------------------------------------------------------------------------

    def used(self, at: Mapping[str, float]) -> None:
        """Note when valid keys were last used, by key id, in seconds since the epoch. Only in memory; never waits."""
        self._uses.note(at)

    def write_uses(self) -> None:
        """Store what was noted, to within a minute."""
        self._uses.write()

    # --- when they are due for rotation -------------------------------------------------------------------------------

    def warn_due(self, journal: Journal, days: float) -> tuple[str, ...]:
        """Warn about keys that are due for rotation, at most once a day: in the log, and with an event in the journal.

        Args:
            journal: the platform's journal; the event is in its stream `KEY_EVENTS`.
            days: from this age on a key is due.

        Returns:
            The ids of the keys; none if there are none, or if this was said in the last day.
        """
        now = self._clock.now()
        newest = journal.read(KEY_EVENTS, limit=1, newest_first=True).items
        if newest and now - newest[0].at < DAY_S:
            return ()
        due = [one for one in self._all() if one.valid_secrets(now) and one.due_for_rotation(now, days)]
        if not due:
            return ()
        named = ", ".join(f"{one.key_id} of {one.principal}" for one in due[:20])
        _log.warning(
            "%d API keys are %g days old or older, and should be rotated (`streamb keys rotate ID`): %s%s",
            *(len(due), days, named, ", …" if len(due) > 20 else ""),
        )
        ids = tuple(one.key_id for one in due)
        journal.append(KEY_EVENTS, {"event": "rotation_due", "days": days, "keys": list(ids[:100]), "count": len(ids)})
        return ids

    def sweep(self) -> int:
        """Delete keys that expired more than `FORGET_S` ago, and the jobs that they belonged to; return how many."""
        before = self._clock.now() - FORGET_S
        old = [one for one in self._all() if one.expires_at is not None and one.expires_at < before]
        for one in old:
            self._delete(one.key_id)
            owner = self._directory.find(one.principal)
            if owner is not None and owner.kind is Kind.JOB:  # its end was not seen
                self._records.delete(PRINCIPALS, owner.name)
        return len(old)

    # --- the store ----------------------------------------------------------------------------------------------------

    def _all(self) -> tuple[KeyRecord, ...]:
        return tuple(read_key(one.body) for one in every_record(self._records, API_KEYS))

    def _find(self, key_id: str) -> KeyRecord | None:
        stored = self._records.get(API_KEYS, key_id)
        return None if stored is None else read_key(stored.body)

    def _known(self, key_id: str) -> tuple[KeyRecord, int]:
        """Return a key and its revision, which a change must still find (`NotFound` if there is none)."""
        stored = self._records.get(API_KEYS, key_id)
        if stored is None:
            raise NotFound(f"no API key has the id {key_id}")
        return read_key(stored.body), stored.revision

    def _put(self, record: KeyRecord, expected: int | None) -> None:
        self._records.put(API_KEYS, record.key_id, to_plain(record), expected=expected)

    def _delete(self, key_id: str) -> None:
        self._records.delete(API_KEYS, key_id)
        self._records.delete(KEY_USES, key_id)
        self._uses.forget(key_id)
