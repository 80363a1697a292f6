"""The last push of each source and its time, so that a push is counted once and a silent source is noticed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from streamb.monitoring.collection.push import Member, SourceName, VersionKey


@dataclass(frozen=True, slots=True)
class SourceState:
    """The last push of one source.

    Attributes:
        member: the push.
        at: when it arrived, in seconds since the epoch.
    """

    member: Member
    at: float


class Sources:
    """All sources that pushed recently. Not thread-safe.

    Sources that have not left are also kept by version, since there may be thousands of versions, which are all looked
    up every few seconds.
    """

    def __init__(self, states: Iterable[SourceState] = ()) -> None:
        self._states: dict[SourceName, SourceState] = {}
        self._present: dict[VersionKey, dict[SourceName, float]] = {}
        for state in states:
            self.note(state.member, state.at)

    def __len__(self) -> int:
        return len(self._states)

    def counted(self, member: Member) -> bool:
        """Return whether this push, or a later one of its source, was counted."""
        known = self._states.get(member.name)
        return known is not None and member.sequence <= known.member.sequence

    def note(self, member: Member, at: float) -> None:
        """Record that this push was counted; if it is `leaving`, the source has left."""
        name = member.name
        self._states[name] = SourceState(member, at)
        if member.leaving:
            self._gone(member.key, name)
        else:
            self._present.setdefault(member.key, {})[name] = at

    def states(self) -> tuple[SourceState, ...]:
        """Return the last push of every source, including those that have left."""
        return tuple(self._states.values())

    def present(self) -> list[SourceState]:
        """Return the last push of every source that has not left, sorted by name."""
        found = [one for one in self._states.values() if not one.member.leaving]
        return sorted(found, key=lambda one: (one.member.source, one.at))

    def heard_at(self, key: VersionKey) -> float | None:
        """Return when a source of this version that has not left last pushed; None if there is no such source."""
        return max(self._present.get(key, {}).values(), default=None)

    def versions(self) -> list[VersionKey]:
        """Return the versions of all sources that have not left; ("", "") for gateways."""
        return list(self._present)

    def forget(self, before: float) -> list[SourceName]:
        """Forget the sources whose last push was before a time; returns their names."""
        silent = [name for name, one in self._states.items() if one.at < before]
        for name in silent:
            self._gone(self._states.pop(name).member.key, name)
        return silent

    def rewind(self, at: float) -> None:
        """Move later times to this one, because the clock was set back to it."""
        for name, one in self._states.items():
            if one.at > at:
                self._states[name] = replace(one, at=at)
        for present in self._present.values():
            present.update({name: at for name, heard in present.items() if heard > at})

    def _gone(self, key: VersionKey, name: SourceName) -> None:
        present = self._present.get(key, {})
        present.pop(name, None)
        if not present:
            self._present.pop(key, None)
